"""Errors of drivers: which are about the item, which about the database, and which are transient."""

from __future__ import annotations

from pathlib import Path

import pymysql
import pytest
from sqlalchemy import exc

from truthstore import StoreWriteError
from truthstore.backends.database.config import DatabaseConfig
from truthstore.backends.database.failures import AmbiguousError, is_item_error, is_transient
from truthstore.backends.database.pool import Database


class CodedError(Exception):
    """An error of a driver, with the database's own code."""

    def __init__(self, code: str | int | None, text: str = "") -> None:
        super().__init__(*([code] if isinstance(code, int) else []), text)
        self.sqlstate = code if isinstance(code, str) else None


@pytest.fixture
def database(tmp_path: Path) -> Database:
    return Database(DatabaseConfig(connection_url=f"sqlite:///{tmp_path}/store.db"))


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        (exc.OperationalError, "53100"),  # PostgreSQL: the disk is full
        (exc.InternalError, "25006"),  # a transaction that can only read
        (exc.ProgrammingError, "42501"),  # no permission
        (exc.OperationalError, 1290),  # MySQL: --read-only
        (exc.OperationalError, 1021),  # the disk is full
        (exc.ProgrammingError, 1142),  # no permission
        (exc.OperationalError, None),  # SQLite: database or disk is full, readonly database
    ],
)
def test_a_database_that_cannot_write_is_not_the_item_s_fault(
    database: Database, kind: type[exc.DBAPIError], code: str | int | None
):
    error = kind("INSERT", {}, CodedError(code, "database or disk is full"))
    assert not is_item_error(error)
    assert database.explained(error, StoreWriteError).store_unavailable


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        (exc.DataError, "22001"),  # too long
        (exc.DataError, 1406),
        (exc.IntegrityError, "23514"),  # a check of the user's own
        (exc.OperationalError, "54000"),  # a row that is too large
        (exc.OperationalError, 1153),  # a packet that is too large
        (exc.DataError, None),  # SQLite: string or blob too big
    ],
)
def test_an_item_that_no_such_database_takes_is_at_fault(
    database: Database, kind: type[exc.DBAPIError], code: str | int | None
):
    error = kind("INSERT", {}, CodedError(code, "too large"))
    assert is_item_error(error)
    assert not database.explained(error, StoreWriteError).store_unavailable


def test_a_value_that_cannot_be_bound_is_the_item_s_fault():
    assert is_item_error(exc.StatementError("not a number", "INSERT", {}, ValueError("x")))
    assert not is_item_error(exc.InvalidRequestError("no transaction"))
    assert not is_item_error(AmbiguousError("database", "lost"))


@pytest.mark.parametrize("number", [1205, 1213, 1020, 1062])
def test_transient_failures_of_mariadb_are_known_by_their_numbers(number: int):
    cause = pymysql.err.OperationalError(number, "some text")
    cause.sqlstate = "HY000"  # as the driver sets it: the same for many numbers
    assert is_transient(exc.OperationalError("UPDATE", {}, cause))
