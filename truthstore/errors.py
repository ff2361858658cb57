"""The errors of truthstore.

    StoreError
    ├── StoreNotFoundError        no such item (a LookupError too)
    ├── StoreConflictError        `expect` did not hold
    │   └── VersionConflictError  `expected_version` did not hold
    ├── StoreConnectionError      the backend cannot be reached or opened (a ConnectionError too)
    ├── StoreReadError            a read failed
    ├── StoreWriteError           a write failed, or the item cannot be stored
    ├── StoreBulkError            some items of a bulk operation failed
    ├── StoreCorruptError         stored bytes are damaged
    ├── StoreKeyError             the id cannot be used
    ├── StoreQueryError           the query makes no sense for this collection
    ├── StoreConfigError          a bad option, format or missing dependency
    ├── StoreOverloadedError      back-pressure gave up at its deadline
    ├── StoreClosedError          the store was closed
    └── StoreNotSupportedError    this backend cannot do that

Misuse of Python itself (an unknown keyword, an object of the wrong type) is a plain `TypeError` or `ValueError`.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

__all__ = [
    "StoreBulkError",
    "StoreClosedError",
    "StoreConfigError",
    "StoreConflictError",
    "StoreConnectionError",
    "StoreCorruptError",
    "StoreError",
    "StoreKeyError",
    "StoreNotFoundError",
    "StoreNotSupportedError",
    "StoreOverloadedError",
    "StoreQueryError",
    "StoreReadError",
    "StoreWriteError",
    "VersionConflictError",
]

MAX_NAME: Final = 80
"""A longer text is no misspelt name."""


def shown(identifier: str, limit: int = 80) -> str:
    """Return an id as error messages show it: quoted, escaped, at most `limit` characters of it."""
    text = identifier if len(identifier) <= limit else identifier[:limit] + "…"
    return ascii(text) if not text.isprintable() else repr(text)


class StoreError(Exception):
    """Base of all errors of this library.

    Attributes:
        backend: name of the backend that failed, or None.
        collection: name of the collection concerned, or None.
        identifier: id of the item concerned, or None.
        retryable: whether the same call may succeed when it is simply repeated.
        store_unavailable: whether the store is the trouble, such as a full disk or a missing permission, and not the item:
            once that is put right, the same item can be stored.
    """

    retryable = False
    store_unavailable = False

    def __init__(
        self,
        message: str = "",
        *,
        backend: str | None = None,
        collection: str | None = None,
        identifier: str | None = None,
        retryable: bool | None = None,
        store_unavailable: bool | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.backend = backend
        self.collection = collection
        self.identifier = identifier
        if retryable is not None:
            self.retryable = retryable
        if store_unavailable is not None:
            self.store_unavailable = store_unavailable

    def __str__(self) -> str:
        return self.message

    def __reduce__(self) -> tuple[object, ...]:
        # Exceptions with required arguments must still cross process boundaries.
        return _empty, (type(self),), {**vars(self), "args": self.args}


def _empty(kind: type[StoreError]) -> StoreError:
    return kind.__new__(kind)


class StoreNotFoundError(StoreError, LookupError):
    """There is no such item.

    Args:
        item_type: what was looked for, for example ``"results"``.
        identifier: its id, also readable as `item_id`.
    """

    def __init__(self, item_type: str, identifier: str, *, backend: str | None = None, collection: str | None = None):
        super().__init__(
            f"{item_type} {shown(identifier)} not found",
            backend=backend,
            collection=collection or item_type,
            identifier=identifier,
        )
        self.item_type = item_type

    @property
    def item_id(self) -> str:
        """The id that was looked for."""
        return self.identifier or ""


class StoreConflictError(StoreError):
    """The item was not in the state that `expect` named; nothing was written."""


class VersionConflictError(StoreConflictError):
    """The item was not at the version that `expected_version` named; nothing was written.

    Args:
        expected: the version that the caller saw.
        actual: the version that is stored, or None if there is none.
    """

    def __init__(self, item_id: str, expected: object, actual: object, *, collection: str | None = None):
        super().__init__(
            f"{shown(item_id)} is at version {actual}, not {expected}: read it again and repeat the change",
            identifier=item_id,
            collection=collection,
        )
        self.item_id = item_id
        self.expected_version = expected
        self.actual_version = actual


class StoreConnectionError(StoreError, ConnectionError):
    """The backend cannot be reached or opened."""

    retryable = True
    store_unavailable = True

    def __init__(self, backend: str, message: str, *, retryable: bool | None = None):
        super().__init__(message, backend=backend, retryable=retryable)


class StoreReadError(StoreError):
    """A read failed for a reason other than the item's absence."""


class StoreWriteError(StoreError):
    """A write failed, or the item cannot be stored. The message says whether it may have happened."""


class StoreBulkError(StoreError):
    """Some items of a bulk operation failed.

    Args:
        stored: ids that were written (or read, or deleted) before and beside the failure, in order.
        failed: the error for each id that was not.
    """

    def __init__(
        self,
        stored: Sequence[str],
        failed: Mapping[str, Exception],
        *,
        backend: str | None = None,
        collection: str | None = None,
    ):
        first = next(iter(failed.items()), None)
        detail = f"; first: {shown(first[0])}: {first[1]}" if first else ""
        super().__init__(
            f"{len(failed)} of {len(stored) + len(failed)} items failed{detail}", backend=backend, collection=collection
        )
        self.stored = tuple(stored)
        self.failed = dict(failed)


class StoreCorruptError(StoreError):
    """Stored bytes are damaged, or were changed in a way that cannot be read."""


class StoreKeyError(StoreError):
    """The id cannot be used: empty, too long, or with control characters."""


class StoreQueryError(StoreError):
    """The query names a field that the collection lacks, or combines conditions that exclude each other."""


class StoreConfigError(StoreError):
    """A bad option, a store of another format, or a missing dependency."""

    store_unavailable = True


class StoreOverloadedError(StoreError):
    """The backend did not take the call before its deadline."""

    retryable = True
    store_unavailable = True


class StoreClosedError(StoreError):
    """The store was closed."""

    store_unavailable = True


class StoreNotSupportedError(StoreError):
    """The store does not offer the operation."""

    store_unavailable = True


def nearest(name: str, known: Iterable[str], otherwise: str = "it takes") -> str:
    """Return the end of an error message: the known name that is nearest, or all of them behind the words `otherwise`."""
    names = sorted({*known})
    if near := _near(name, names):
        return f"did you mean {near!r}?"
    return f"{otherwise} {', '.join(names) or 'none'}"


def echoed(value: object, known: Iterable[str] = ()) -> str:
    """Return what was given for an option, for a message: a text that resembles none of those known may be a secret."""
    if isinstance(value, str):
        return repr(value) if _near(value, sorted({*known})) else "'…'"
    is_plain = value is None or isinstance(value, bool | int | float)
    return f"{value!r:.20}" if is_plain else f"a {type(value).__name__}"


def one_of(option: str, value: object, known: Iterable[object]) -> str:
    """Return the message for an option whose value is none of those known."""
    names = [str(choice) for choice in known]
    return f"{option} is one of {', '.join(names)}, not {echoed(value, names)}"


def no_option(owner: str, name: str, known: Iterable[str]) -> str:
    """Return the message for an option that there is not. Of its name more is shown: it comes from programs, as a rule."""
    names = {*known}
    shown_name = repr(name) if re.fullmatch("[A-Za-z_]{1,40}", name) else echoed(name, names)
    return f"{owner} has no option {shown_name}: {nearest(name, names)}"


def _near(name: str, known: list[str]) -> str | None:
    import difflib

    return next(iter(difflib.get_close_matches(name, known, 1)), None) if len(name) <= MAX_NAME else None
