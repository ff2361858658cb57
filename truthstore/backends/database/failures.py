"""Errors of drivers: which are transient, what to do about them, and their text without the password."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from sqlalchemy import exc

from truthstore.errors import StoreConnectionError, StoreWriteError

__all__ = [
    "FAILURES",
    "HINTS",
    "AmbiguousError",
    "UnreachableError",
    "code_of",
    "doubtful",
    "driver_error",
    "is_item_error",
    "is_lost",
    "is_race",
    "is_table_missing",
    "is_transient",
    "is_unreachable",
]

UNREACHED: Final = "08001"
OPTION: Final = "08004"

# Codes of failures that a repetition of the transaction gets over: writers that raced for one id, deadlocks,
# serialization failures; a server that starts or stops; then tables that are being made or changed, lock timeouts.
RACES: Final = frozenset({"23505", "40001", "40P01", 1020, 1062, 1213})
STARTING: Final = frozenset({"57P01", "57P02", "57P03", "53300"})
TRANSIENT: Final = RACES | STARTING | {"42710", "42P07", "55P03", "57014", 1205, 1412, "SQLITE_BUSY", "SQLITE_LOCKED"}
TABLE_MISSING: Final = frozenset({"42P01", 1146})
# An item that the database does not take: too large a row, a packet above the limit, a check of the user's own.
NOT_TAKEN: Final = frozenset({"54000", "54001", "54011", "54023", 1118, 1153, 3819, 4025})

MARKS: Final[Mapping[str, str]] = {
    "password authentication failed": "28P01",
    "no password supplied": "28P01",
    "no pg_hba.conf entry": "28000",
    "does not exist": "3D000",
    'connection option "': OPTION,
    "invalid sslmode value": OPTION,
    "bad value for": OPTION,
}
"""The codes of what libpq says, without a code, when it cannot connect."""

_LOGIN: Final = "check user and password in connection_url"
_DATABASE: Final = "create the database, or correct its name in connection_url"
_FULL: Final = "the server has too many connections: lower pool_size and max_overflow, or raise its max_connections"
_TABLES: Final = (
    "the table was dropped, or is out of the search path: restore it from a backup, or use another table_prefix; "
    "if all tables were dropped, try again: they are made"
)
_ADDRESS: Final = "check host and port in connection_url, and that the server runs"
LASTING: Final[Mapping[str | int | None, str]] = {
    "28P01": _LOGIN,
    1045: _LOGIN,
    "28000": f"{_LOGIN}, and what the server's pg_hba.conf allows",
    "3D000": _DATABASE,
    1049: _DATABASE,
    "42501": "grant the user SELECT, INSERT, UPDATE, DELETE on the tables, and CREATE on the schema to make them",
    1142: "grant the user SELECT, INSERT, UPDATE, DELETE, and CREATE, ALTER, INDEX to make tables",
    1044: "grant the user rights on the database",
    "42P01": _TABLES,
    1146: _TABLES,
    OPTION: "correct the options in connection_url",
    "SQLITE_READONLY": "check that the file and its folder can be written",
    "SQLITE_CANTOPEN": "check that the folder exists and can be written",
    "SQLITE_NOTADB": "check the path: the file was made by something else, or is damaged",
}
"""What to do about failures that stay until it is done."""
HINTS: Final = {**LASTING, "53300": _FULL, 1040: _FULL, 2003: _ADDRESS, UNREACHED: _ADDRESS}


class UnreachableError(Exception):
    """No connection could be made; the cause says why."""


class AmbiguousError(StoreConnectionError):
    """The connection was lost when the transaction may have been committed already."""


FAILURES: Final = (exc.SQLAlchemyError, AmbiguousError, UnreachableError)


def driver_error(error: BaseException) -> BaseException:
    """Return the error of the driver itself, without the way that it took through SQLAlchemy."""
    while not isinstance(error, exc.DBAPIError) and error.__cause__ is not None:
        error = error.__cause__
    return getattr(error, "orig", None) or error


def code_of(error: BaseException) -> str | int | None:
    """Return the database's own code of an error: an SQLSTATE, a number of MySQL and MariaDB, or a name of SQLite."""
    cause = driver_error(error)
    # The number first: drivers for MySQL name an SQLSTATE too, which is the same for many numbers.
    if cause.args and isinstance(cause.args[0], int):
        return cause.args[0]
    if str(cause).startswith("no such table"):  # which has no number on SQLite
        return "42P01"
    if name := getattr(cause, "sqlite_errorname", None):
        return "_".join(name.split("_")[:2])  # SQLITE_READONLY_DIRECTORY is a kind of SQLITE_READONLY
    code: str | None = getattr(cause, "sqlstate", None) or getattr(cause, "pgcode", None)
    if code is None and isinstance(error, UnreachableError):
        text = str(cause)
        return next((code for mark, code in MARKS.items() if mark in text), UNREACHED)
    return code


def is_lost(error: BaseException) -> bool:
    """Return whether the connection was lost in the middle of something."""
    return isinstance(error, AmbiguousError) or bool(getattr(error, "connection_invalidated", False))


def is_unreachable(error: BaseException) -> bool:
    """Return whether the error says that the server cannot be reached, not that it refused a statement."""
    return isinstance(error, UnreachableError) or is_lost(error) or code_of(error) in STARTING


def is_transient(error: BaseException) -> bool:
    """Return whether the same may succeed when it is repeated."""
    if isinstance(error, UnreachableError):
        return code_of(error) not in LASTING
    return is_lost(error) or code_of(error) in TRANSIENT


def is_race(error: BaseException) -> bool:
    """Return whether another writer was quicker: two created one id at once, or a deadlock was resolved."""
    return not is_lost(error) and code_of(error) in RACES


def is_table_missing(error: BaseException) -> bool:
    """Return whether a table is not there that was there when the store began to use it."""
    return code_of(error) in TABLE_MISSING


def is_item_error(error: BaseException) -> bool:
    """Return whether an error is about the item that was to be written, and not about the database.

    Everything else, a full disk, a database that can only be read, a missing permission, is put right without the item.
    """
    if isinstance(error, exc.DBAPIError):
        return isinstance(error, exc.DataError | exc.IntegrityError) or code_of(error) in NOT_TAKEN
    return isinstance(error, exc.StatementError)  # a value that the driver was never given


def doubtful(what: str, *, collection: str | None = None, identifier: str | None = None) -> StoreWriteError:
    """Return the error for what may have happened: the connection is to blame, not the item."""
    return StoreWriteError(
        f"{what}: the connection was lost while that was being committed; read it to find out",
        backend="database",
        collection=collection,
        identifier=identifier,
        store_unavailable=True,
    )
