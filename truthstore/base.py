"""The names that backends, wrappers and their users share."""

from __future__ import annotations

from truthstore.errors import (
    StoreBulkError,
    StoreClosedError,
    StoreConfigError,
    StoreConflictError,
    StoreConnectionError,
    StoreCorruptError,
    StoreError,
    StoreKeyError,
    StoreNotFoundError,
    StoreNotSupportedError,
    StoreOverloadedError,
    StoreQueryError,
    StoreReadError,
    StoreWriteError,
    VersionConflictError,
)
from truthstore.model.collection import Collection
from truthstore.model.fields import Field
from truthstore.model.query import StoreQuery
from truthstore.model.record import ABSENT, ANY, NONE, Change, Expect, Meta, Options, Record, Revision
from truthstore.store.config import StoreConfig
from truthstore.store.health import Health, Verification
from truthstore.store.records import RecordStore, conflict
from truthstore.store.store import BaseStore
from truthstore.store.wrapper import WrapperStore

ValidationStore = BaseStore
"""The name in type hints: every store is one."""

__all__ = [
    "ABSENT",
    "ANY",
    "NONE",
    "BaseStore",
    "Change",
    "Collection",
    "Expect",
    "Field",
    "Health",
    "Meta",
    "Options",
    "Record",
    "RecordStore",
    "Revision",
    "StoreBulkError",
    "StoreClosedError",
    "StoreConfig",
    "StoreConfigError",
    "StoreConflictError",
    "StoreConnectionError",
    "StoreCorruptError",
    "StoreError",
    "StoreKeyError",
    "StoreNotFoundError",
    "StoreNotSupportedError",
    "StoreOverloadedError",
    "StoreQuery",
    "StoreQueryError",
    "StoreReadError",
    "StoreWriteError",
    "ValidationStore",
    "Verification",
    "VersionConflictError",
    "WrapperStore",
    "conflict",
]
