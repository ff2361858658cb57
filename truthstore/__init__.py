"""truthstore keeps the results of data validation: save them in one line, anywhere, and ask for their history later.

``store = get_store("filesystem", base_path=".truthstore/store")`` opens a store, ``store.save(result)`` keeps a result, and
``store.query(StoreQuery(data_asset="customers.csv", status="failure"))`` gives the history back.
"""

from __future__ import annotations

import logging

from truthstore.base import (
    ABSENT,
    ANY,
    BaseStore,
    Change,
    Collection,
    Expect,
    Field,
    Health,
    Meta,
    Record,
    RecordStore,
    Revision,
    StoreBulkError,
    StoreClosedError,
    StoreConfig,
    StoreConfigError,
    StoreConflictError,
    StoreConnectionError,
    StoreCorruptError,
    StoreError,
    StoreKeyError,
    StoreNotFoundError,
    StoreNotSupportedError,
    StoreOverloadedError,
    StoreQuery,
    StoreQueryError,
    StoreReadError,
    StoreWriteError,
    ValidationStore,
    Verification,
    VersionConflictError,
    WrapperStore,
)
from truthstore.factory import (
    get_store,
    is_backend_available,
    list_available_backends,
    open_store,
    register_store,
    stack,
)
from truthstore.items.checks import ResultStatistics, ResultStatus, ValidatorResult
from truthstore.items.expectations import SUITES, Expectation, ExpectationSuite
from truthstore.items.results import RESULTS, ValidationResult

__version__ = "0.1.0"

# A program that sets up no logging sees none of ours.
logging.getLogger("truthstore").addHandler(logging.NullHandler())

__all__ = [
    "ABSENT",
    "ANY",
    "RESULTS",
    "SUITES",
    "BaseStore",
    "Change",
    "Collection",
    "Expect",
    "Expectation",
    "ExpectationSuite",
    "Field",
    "Health",
    "Meta",
    "Record",
    "RecordStore",
    "ResultStatistics",
    "ResultStatus",
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
    "ValidationResult",
    "ValidationStore",
    "ValidatorResult",
    "Verification",
    "VersionConflictError",
    "WrapperStore",
    "__version__",
    "get_store",
    "is_backend_available",
    "list_available_backends",
    "open_store",
    "register_store",
    "stack",
]
