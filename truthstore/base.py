"""The names that backends, wrappers and their users share."""

from __future__ import annotations

from truthstore import errors
from truthstore.errors import *
from truthstore.model.collection import Collection
from truthstore.model.fields import Field
from truthstore.model.projection import Projection
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
    "Projection",
    "Record",
    "RecordStore",
    "Revision",
    "StoreConfig",
    "StoreQuery",
    "ValidationStore",
    "Verification",
    "WrapperStore",
    "conflict",
]
__all__ += errors.__all__
