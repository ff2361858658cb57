"""Find the ids in which two stores differ, by digests: equal stores cost 64 numbers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from truthstore.model.collection import Collection
    from truthstore.replication.members import Member

__all__ = ["differences"]

FEW: Final = 64
"""So many records of a place are listed; of more, the digests below it are asked for."""
AT_ONCE: Final = 512
"""Places that one question names."""


def differences(one: Member, other: Member, collection: Collection[Any]) -> Iterator[str]:
    """Iterate over the ids of which two stores hold different revisions, or one of them none."""
    yield from _below(one, other, collection, [""])


def _below(one: Member, other: Member, collection: Collection[Any], prefixes: Sequence[str]) -> Iterator[str]:
    here, there = (
        member.call(lambda store: store.digest_records(prefixes, collection=collection)) for member in (one, other)
    )
    different = [place for place in sorted({*here, *there}) if here.get(place) != there.get(place)]
    few: list[str] = []
    many: list[str] = []
    for place in different:
        counts = [found[place].records for found in (here, there) if place in found]
        (few if max(counts) <= FEW else many).append(place)
    for places in _parts(few):
        ours, theirs = (
            member.call(lambda store, at=places: store.revision_records(at, collection=collection))  # type: ignore[misc]
            for member in (one, other)
        )
        yield from (id for id in {**ours, **theirs} if ours.get(id) != theirs.get(id))
    for places in _parts(many):
        yield from _below(one, other, collection, places)


def _parts(places: Sequence[str]) -> Iterator[list[str]]:
    rest = iter(places)
    while part := list(islice(rest, AT_ONCE)):
        yield part
