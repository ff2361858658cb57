"""The names that backends, wrappers and their users share."""

from __future__ import annotations

from truthstore.collection import Collection
from truthstore.configuration import StoreConfig
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
from truthstore.fields import Field
from truthstore.health import Health, Verification
from truthstore.protocol import RecordStore, ValidationStore
from truthstore.query import StoreQuery
from truthstore.record import ABSENT, ANY, Change, Expect, Meta, Record, Revision
from truthstore.record_operations import conflict
from truthstore.store import BaseStore
from truthstore.wrapper import WrapperStore

__all__ = [
    "ABSENT",
    "ANY",
    "BaseStore",
    "Change",
    "Collection",
    "Expect",
    "Field",
    "Health",
    "Meta",
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
