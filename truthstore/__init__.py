"""truthstore keeps the results of data validation: save them in one line, anywhere, and ask for their history later.

    from truthstore import StoreQuery, get_store

    store = get_store("filesystem", base_path=".truthstore/store")
    run_id = store.save(result)
    failures = store.query(StoreQuery(data_asset="customers.csv", status="failure", limit=10))
"""

from __future__ import annotations

from truthstore.base import (
    ABSENT,
    ANY,
    BaseStore,
    Change,
    Collection,
    Field,
    Health,
    Meta,
    Record,
    RecordStore,
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
from truthstore.expectations import SUITES, Expectation, ExpectationSuite
from truthstore.factory import (
    get_store,
    is_backend_available,
    list_available_backends,
    open_store,
    register_store,
    stack,
)
from truthstore.results import RESULTS, ResultStatistics, ResultStatus, ValidationResult, ValidatorResult

__version__ = "0.1.0"

__all__ = [
    "ABSENT",
    "ANY",
    "RESULTS",
    "SUITES",
    "BaseStore",
    "Change",
    "Collection",
    "Expectation",
    "ExpectationSuite",
    "Field",
    "Health",
    "Meta",
    "Record",
    "RecordStore",
    "ResultStatistics",
    "ResultStatus",
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
