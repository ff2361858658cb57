"""The names that backends, wrappers and their users share."""

from __future__ import annotations

from truthstore.collection import Collection, Field
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
from truthstore.health import Health, Verification
from truthstore.protocol import RecordStore, ValidationStore
from truthstore.query import StoreQuery
from truthstore.record import ABSENT, ANY, Change, Meta, Record
from truthstore.record_operations import conflict
from truthstore.store import BaseStore
from truthstore.wrapper import WrapperStore

__all__ = [
    "ABSENT",
    "ANY",
    "BaseStore",
    "Change",
    "Collection",
    "Field",
    "Health",
    "Meta",
    "Record",
    "RecordStore",
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
