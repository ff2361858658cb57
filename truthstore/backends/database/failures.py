"""Errors of drivers: which are transient, what to do about them, and their text without the password."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from sqlalchemy import exc

if TYPE_CHECKING:
    from sqlalchemy import URL

__all__ = [
    "FAILURES",
    "AmbiguousError",
    "UnreachableError",
    "advice",
    "is_item_error",
    "is_lost",
    "is_race",
    "is_transient",
    "is_unreachable",
    "without_secret",
]

# Codes of failures that a repetition of the transaction gets over: writers that raced for one id, deadlocks,
# serialization failures; then tables that are being made or changed, lock timeouts; a server that starts or stops.
RACES: Final = frozenset({"23505", "40001", "40P01", 1020, 1062, 1213})
TRANSIENT: Final = RACES | {"42710", "42P07", "55P03", "57014", 1205, 1412}
STARTING_STATES: Final = frozenset({"57P01", "57P02", "57P03", "53300"})
HINTS: Final[Mapping[str | int, str]] = {
    "28P01": "check user and password in connection_url",
    "28000": "check user and password in connection_url, and what the server's pg_hba.conf allows",
    "3D000": "create the database, or correct its name in connection_url",
    "42501": "grant the user SELECT, INSERT, UPDATE, DELETE on the tables, and CREATE on the schema to make them",
    "53300": "the server has too many connections: lower pool_size and max_overflow, or raise its max_connections",
    1045: "check user and password in connection_url",
    1044: "grant the user rights on the database",
    1049: "create the database, or correct its name in connection_url",
    1142: "grant the user SELECT, INSERT, UPDATE, DELETE, and CREATE, ALTER, INDEX to make tables",
    1040: "the server has too many connections: lower pool_size and max_overflow, or raise its max_connections",
    2003: "check host and port in connection_url, and that the server runs",
}


# Messages of libpq and SQLite that come without a code.
TEXT_HINTS: Final[Mapping[str, str]] = {
    "password authentication failed": HINTS["28P01"],
    "no pg_hba.conf entry": HINTS["28000"],
    "no password supplied": HINTS["28P01"],
    "does not exist": HINTS["3D000"],
    "connection refused": HINTS[2003],
    "could not translate host name": "check the host in connection_url",
    "name or service not known": "check the host in connection_url",
    "unable to open database file": "check that the folder exists and can be written",
    "file is not a database": "check the path: the file was made by something else, or is damaged",
}
LASTING: Final = frozenset(
    {HINTS["28P01"], HINTS["28000"], HINTS["3D000"], HINTS["42501"], HINTS[1045], HINTS[1044], HINTS[1049], HINTS[1142]}
    | {TEXT_HINTS["file is not a database"], TEXT_HINTS["unable to open database file"]}
)

# Codes for an item that no database of this kind takes: too large a row, or a packet above the limit.
TOO_LARGE_STATES: Final = "54"
TOO_LARGE_NUMBERS: Final = frozenset({1118, 1153})


class UnreachableError(Exception):
    """No connection could be made; the cause says why."""


class AmbiguousError(Exception):
    """The connection was lost when the transaction may have been committed already."""


FAILURES: Final = (exc.SQLAlchemyError, AmbiguousError, UnreachableError)


def code_of(error: BaseException | None) -> str | int | None:
    """Return the database's own code of an error: the number of MySQL and MariaDB, or PostgreSQL's SQLSTATE."""
    cause = getattr(error, "orig", None)
    arguments = getattr(cause, "args", ())
    # The number first: drivers for MySQL name an SQLSTATE too, which is the same for many numbers.
    if arguments and isinstance(arguments[0], int):
        return arguments[0]
    state = getattr(cause, "sqlstate", None) or getattr(cause, "pgcode", None)
    return str(state) if state else None


def is_lost(error: BaseException | None) -> bool:
    """Return whether the connection was lost in the middle of something."""
    return isinstance(error, AmbiguousError) or bool(getattr(error, "connection_invalidated", False))


def is_unreachable(error: BaseException) -> bool:
    """Return whether the error says that the server cannot be reached, not that it refused a statement."""
    return isinstance(error, UnreachableError) or is_lost(error) or code_of(error) in STARTING_STATES


def is_transient(error: BaseException) -> bool:
    """Return whether the same may succeed when it is repeated."""
    if is_lost(error):
        return True
    if isinstance(error, UnreachableError):
        return advice(error) not in LASTING
    if not isinstance(error, exc.DBAPIError):
        return False
    code = code_of(error)
    return code in TRANSIENT or code in STARTING_STATES or "database is locked" in str(error.orig)


def is_race(error: BaseException | None) -> bool:
    """Return whether another writer was quicker: two created one id at once, or a deadlock was resolved."""
    return isinstance(error, exc.DBAPIError) and not is_lost(error) and code_of(error) in RACES


def is_item_error(error: BaseException) -> bool:
    """Return whether an error is about the item that was to be written, and not about the database.

    Everything else, a full disk, a database that can only be read, a missing permission, is put right without the item.
    """
    if not isinstance(error, exc.StatementError):
        return False
    if not isinstance(error, exc.DBAPIError):
        return True  # a value that the driver was never given
    if isinstance(error, exc.DataError | exc.IntegrityError):
        return True
    code = code_of(error)
    return code in TOO_LARGE_NUMBERS if isinstance(code, int) else str(code).startswith(TOO_LARGE_STATES)


def advice(error: BaseException) -> str | None:
    """Return the advice for an error, if there is any."""
    unreachable = isinstance(error, UnreachableError)
    cause = error.__cause__ if unreachable else error
    code = code_of(cause)
    if code is not None and code in HINTS:
        return HINTS[code]
    text = str(getattr(cause, "orig", cause)).lower()
    if "readonly database" in text:
        return "check that the file and its folder can be written"
    return next((hint for part, hint in TEXT_HINTS.items() if part in text), None) if unreachable else None


def without_secret(error: BaseException, url: URL) -> str:
    """Return an error's text in one line, without the password."""
    cause = error.__cause__ if isinstance(error, UnreachableError) and error.__cause__ is not None else error
    text = " ".join(str(getattr(cause, "orig", None) or cause).split())
    return (text.replace(str(url.password), "***") if url.password else text)[:500]
