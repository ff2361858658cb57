"""The errors: their kinds among Python's own, and their way to other processes."""

from __future__ import annotations

import copy
import pickle

import pytest

from truthstore import errors
from truthstore.errors import (
    StoreBulkError,
    StoreConfigError,
    StoreConnectionError,
    StoreError,
    StoreNotFoundError,
    StoreWriteError,
    VersionConflictError,
)
from truthstore.versioning.base import VersionNotFoundError

ALL = [
    StoreNotFoundError("results", "x", backend="memory"),
    VersionNotFoundError("x", 3),
    VersionConflictError("x", 1, 2),
    StoreConnectionError("database", "it is down", retryable=False),
    StoreBulkError(["a"], {"b": StoreWriteError("refused")}),
    StoreConfigError("wrong", backend="memory", store_unavailable=False),
]


@pytest.mark.parametrize("error", ALL, ids=lambda error: type(error).__name__)
def test_an_error_crosses_processes(error: StoreError):
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        again = pickle.loads(pickle.dumps(error, protocol))
        assert (type(again), str(again), again.args) == (type(error), str(error), error.args)
        assert str(vars(again)) == str(vars(error))
        assert repr(copy.copy(error)) == repr(error)


def test_an_error_is_what_python_calls_it():
    for name in errors.__all__:
        kind = getattr(errors, name)
        assert issubclass(kind, LookupError) == (name == "StoreNotFoundError")
        assert issubclass(kind, ConnectionError) == (name == "StoreConnectionError")
        assert issubclass(kind, OSError) == (name == "StoreConnectionError")
    assert str(StoreConnectionError("database", "it is down")) == "it is down"
