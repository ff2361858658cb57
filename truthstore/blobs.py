"""The object interface under the file-like backends: named bytes, conditional writes, ordered lists."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol, TypeAlias, runtime_checkable

from truthstore.record import ANY, Condition

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["BlobExpect", "Blobs", "Tag"]

Tag: TypeAlias = str
"""Names one content of one key: an etag, a generation, a digest. Only the driver that made it can read it."""

BlobExpect: TypeAlias = Condition | Tag
"""`ANY`, `ABSENT`, or the tag that must be stored now."""


@runtime_checkable
class Blobs(Protocol):
    """Named bytes. Keys are relative paths of plain ASCII, parts separated by ``/``.

    Every call is atomic: a reader sees the old bytes or the new ones, never a mixture, and of two conditional writes
    with the same expectation one fails. A call that raised anything but a conflict may have happened.
    """

    def get(self, key: str) -> tuple[bytes, Tag]:
        """The bytes and their tag.

        Raises:
            StoreNotFoundError: there is no such key.
        """
        ...

    def put(self, key: str, data: bytes, *, expect: BlobExpect = ANY) -> Tag:
        """Stores bytes, durably, and returns their tag.

        Raises:
            StoreConflictError: `expect` did not hold; nothing was written.
        """
        ...

    def delete(self, key: str, *, expect: BlobExpect = ANY) -> bool:
        """Removes a key; False if there was none.

        Raises:
            StoreConflictError: `expect` is a tag that is not stored now.
        """
        ...

    def list(self, prefix: str, *, after: str | None = None) -> Iterator[str]:
        """Keys that start with a prefix, in ascending order, those after a given one.

        It goes down into every folder; it is not a snapshot: keys written or removed meanwhile may be there or not.
        """
        ...

    def close(self) -> None:
        """Gives up connections."""
        ...
