"""Entries that a receiver will never take: kept beside the queue until the user retries or discards them."""

from __future__ import annotations

import sqlite3
from typing import NamedTuple

from truthstore.errors import StoreError, StoreReadError

__all__ = ["Entry", "Rejected", "is_item_error"]


class Entry(NamedTuple):
    """A payload in the queue.

    Attributes:
        number: its place in the queue; never used twice.
        topic: the receiver, such as a store and one of its collections.
        key: entries of one key are delivered in order.
        payload: the bytes.
    """

    number: int
    topic: str
    key: str
    payload: bytes


class Rejected(NamedTuple):
    """An entry that its receiver rejected.

    Attributes:
        entry: the entry.
        error: class name and message of the receiver's error.
    """

    entry: Entry
    error: str


def is_item_error(error: BaseException) -> bool:
    """Return True if a receiver judged the item itself, so that sending it again cannot succeed.

    All causes of the error count too: a layer may report in its own words that the disk is full.
    """
    cause: BaseException | None = error
    while cause is not None:
        if _is_transient(cause):
            return False
        cause = cause.__cause__
    return isinstance(error, StoreError)


def _is_transient(error: BaseException) -> bool:
    if isinstance(error, StoreError):
        # A read that failed on the way to a write says nothing about the item that is written.
        return error.retryable or error.store_unavailable or isinstance(error, StoreReadError)
    if isinstance(error, sqlite3.Error):
        return not isinstance(error, sqlite3.DataError | sqlite3.IntegrityError)
    return isinstance(error, OSError)
