"""The object interface under the file-like backends: named bytes, conditional writes, ordered lists."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, TypeAlias, runtime_checkable

from truthstore.errors import StoreConflictError, StoreNotSupportedError
from truthstore.model.record import ABSENT, ANY, Condition, new_revision

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

__all__ = [
    "BlobExpect",
    "Blobs",
    "Discarding",
    "InParts",
    "Tag",
    "probe_conditional_deletes",
    "probe_conditional_writes",
]

Tag: TypeAlias = str
"""Name of one content of one key: an etag, a generation, a digest. Only the driver that made it can read it."""

BlobExpect: TypeAlias = Condition | Tag
"""`ANY`, `ABSENT`, or the tag that must be stored now."""


@runtime_checkable
class Blobs(Protocol):
    """Named bytes. Keys are relative paths of plain ASCII, parts separated by ``/``.

    Every call is atomic: a reader sees the old bytes or the new ones, never a mixture, and of two conditional writes
    with the same expectation one fails. A call that raised anything but a conflict, or a `StoreConnectionError` that is
    not retryable, may have happened.
    """

    def get(self, key: str) -> tuple[bytes, Tag]:
        """Return the bytes and their tag.

        Raises:
            StoreNotFoundError: there is no such key.
        """
        ...

    def put(self, key: str, data: bytes, *, expect: BlobExpect = ANY) -> Tag:
        """Store bytes, durably, and return their tag.

        Raises:
            StoreConflictError: `expect` did not hold; nothing was written.
        """
        ...

    def delete(self, key: str, *, expect: BlobExpect = ANY) -> bool:
        """Remove a key; return False if there was none.

        Raises:
            StoreConflictError: `expect` is a tag that is not stored now.
        """
        ...

    def list(self, prefix: str, *, after: str | None = None) -> Iterator[str]:
        """List the keys that start with a prefix, in ascending order, those after a given one.

        Folders are no limit. The list is not a snapshot: keys written or removed meanwhile may be there or not.
        """
        ...

    def close(self) -> None:
        """Close connections."""
        ...


@runtime_checkable
class Discarding(Protocol):
    """Optional beside `Blobs`: removing many keys at once, without an answer on which of them were there."""

    def discard(self, keys: Sequence[str]) -> None:
        """Remove keys; those that are not there are no error."""
        ...


@runtime_checkable
class InParts(Protocol):
    """Optional beside `Blobs`: a driver that sends large objects in another way than small ones."""

    def put_in_parts(self, key: str, data: bytes, *, expect: BlobExpect = ANY) -> Tag:
        """Store bytes of any size in the way of large ones; else as `Blobs.put`."""
        ...


def probe_conditional_writes(blobs: Blobs) -> bool:
    """Return True if a service honours conditions. Some ignore them in silence, and two writers then undo each other unseen.

    Write an object under a name of its own, try to overwrite it against a condition, and remove it; once more in the way of
    large objects.
    """
    puts = [blobs.put, blobs.put_in_parts] if isinstance(blobs, InParts) else [blobs.put]
    return all(_honours_conditions(blobs, put) for put in puts)


def _honours_conditions(blobs: Blobs, put: Callable[..., Tag]) -> bool:
    key = f"_truthstore/probe-{new_revision()}"
    try:
        first = put(key, b"1", expect=ABSENT)
        second = put(key, b"2", expect=first)
        return second != first and all(_is_refused(put, key, expect) for expect in (ABSENT, first))
    except (StoreConflictError, StoreNotSupportedError):
        return False
    finally:
        blobs.delete(key)


def probe_conditional_deletes(blobs: Blobs) -> bool:
    """Return True if a service honours the condition of a delete, by trying it on an object of its own."""
    key = f"_truthstore/probe-{new_revision()}"
    first = blobs.put(key, b"1")
    blobs.put(key, b"2", expect=first)
    try:
        blobs.delete(key, expect=first)
    except StoreConflictError:
        return True
    except StoreNotSupportedError:
        return False
    else:
        return False
    finally:
        blobs.delete(key)


def _is_refused(put: Callable[..., Tag], key: str, expect: BlobExpect) -> bool:
    try:
        put(key, b"3", expect=expect)
    except StoreConflictError:
        return True
    return False
