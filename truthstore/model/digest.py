"""Digests of what a store holds: of ids and revisions alone, so that two stores are compared without reading one body.

Ids are placed by the characters of their hash, 64 places below each, as in a Merkle tree. The digest of a place is the
number of its records and the sum of a hash of each, so that it needs no order, and a database can compute it.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Collection as Several, Iterable
from typing import NamedTuple

__all__ = ["Digest", "digests", "hash_of", "key_of"]


class Digest(NamedTuple):
    """The digest of one place.

    Attributes:
        records: how many records are in it, tombstones too.
        sum: of the `hash_of` of each.
    """

    records: int
    sum: int


def key_of(id: str) -> str:
    """Return a hash of an id in 22 characters of URL-safe base64."""
    return base64.urlsafe_b64encode(hashlib.blake2b(id.encode(), digest_size=16).digest())[:22].decode()


def hash_of(key: str, revision: str) -> int:
    """Return 60 bits that stand for one record; databases compute the same."""
    return int(hashlib.md5(f"{key}{revision}".encode(), usedforsecurity=False).hexdigest()[:15], 16)


def digests(revisions: Iterable[tuple[str, str]], prefixes: Several[str]) -> dict[str, Digest]:
    """Return the digests of the places just below some prefixes of keys, which have one length, but for empty ones.

    Args:
        revisions: ids and revisions.
        prefixes: the beginnings of the keys of interest.
    """
    wanted = frozenset(prefixes)
    length = len(next(iter(wanted), ""))
    found: dict[str, Digest] = {}
    for id, revision in revisions:
        key = key_of(id)
        if key[:length] in wanted:
            count, total = found.get(key[: length + 1], (0, 0))
            found[key[: length + 1]] = Digest(count + 1, total + hash_of(key, revision))
    return found
