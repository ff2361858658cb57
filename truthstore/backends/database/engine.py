"""Make SQLAlchemy's engine: how each kind of database is connected to and set up; run SQL text."""

from __future__ import annotations

import inspect
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import TYPE_CHECKING, Any, Final

import msgspec
from sqlalchemy import create_engine, event, exc
from sqlalchemy.pool import QueuePool

from truthstore.backends.database.config import DatabaseConfig, shown_url
from truthstore.errors import StoreConfigError, no_option
from truthstore.store.urls import without_secret

if TYPE_CHECKING:
    import psycopg
    from sqlalchemy import URL, Connection, CursorResult, Engine
    from sqlalchemy.pool import ConnectionPoolEntry

__all__ = ["PoolMetrics", "execute", "execute_many", "is_memory", "make_engine", "said"]

NAME: Final = "database"
BUSY_SECONDS: Final = 60.0
CONNECT_SECONDS: Final = 10
PREPARE_THRESHOLD: Final = 5
"""A statement is prepared when it is run more often, where the server itself is at the other end."""
SETTINGS: Final = {
    "sqlite": "PRAGMA journal_mode = WAL",
    "postgresql": "SELECT set_config('TimeZone', 'UTC', false), pg_backend_pid()",
    # Without this, MariaDB cuts what is too long and sorts by the first kilobyte.
    "mysql": "SET SESSION sql_mode = 'STRICT_ALL_TABLES', max_sort_length = 8388, time_zone = '+00:00'",
}
OPTIONS: Final[Mapping[str, Any]] = {
    # psycopg
    "prepare_threshold": int | None,
    # PyMySQL
    "max_allowed_packet": int,
    "ssl_disabled": bool,
    "ssl_verify_cert": bool,
    "ssl_verify_identity": bool,
}
"""Drivers' options that are no text, beside those that SQLAlchemy converts."""
SQLITE_OPTIONS: Final = frozenset({"cached_statements", "check_same_thread", "detect_types", "timeout", "uri"})
SQLITE_FILE_OPTIONS: Final = frozenset({"cache", "immutable", "mode", "nolock", "psow", "vfs"})
"""Those of SQLite itself, which it reads in ``sqlite:///file:path?uri=true``."""
BY_SQLALCHEMY: Final = frozenset({"ssl_capath", "ssl_check_hostname", "ssl_cipher"})
"""Options of MySQL and MariaDB of which SQLAlchemy makes what the driver takes."""
ENCODINGS: Final[Mapping[str, frozenset[str]]] = {
    "charset": frozenset({"utf8mb4"}),
    "use_unicode": frozenset({"1", "true"}),
    "client_encoding": frozenset({"utf8", "utf-8", "unicode"}),
}
"""Options by which a driver would not take every text, and the values with which it does."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolMetrics:
    """Figures of the connections of this process.

    Attributes:
        size: connections that are kept open at most.
        checked_in: connections that wait to be used.
        checked_out: connections in use.
        overflow: connections beyond `size`.
        opened: number of connections opened so far.
        invalidated: number of connections given up because they were dead.
        retries: number of attempts beyond the first.
        failures: number of operations that failed because the database could not be reached.
        circuit: ``closed``, ``open`` or ``half_open``.
    """

    size: int
    checked_in: int
    checked_out: int
    overflow: int
    opened: int
    invalidated: int
    retries: int
    failures: int
    circuit: str


class OwnPool(QueuePool):
    """Close also the connections that were in use when the pool was given up, once they come back."""

    _is_given_up = False

    def dispose(self) -> None:
        """Close the idle connections; the engine has another pool from now on."""
        self._is_given_up = True
        super().dispose()

    def _do_return_conn(self, record: ConnectionPoolEntry) -> None:
        super()._do_return_conn(record)
        if self._is_given_up:
            super().dispose()


def is_memory(url: URL) -> bool:
    """Return whether it is a database in memory, which lives as long as its one connection."""
    return url.get_backend_name() == "sqlite" and url.database in {None, "", ":memory:"}


def make_engine(url: URL, config: DatabaseConfig, counts: Counter[str]) -> Engine:
    """Make an engine, which connects when it is first used.

    Raises:
        StoreConfigError: the driver is not installed, or does not take the options in the URL.
    """
    pooling = config.connections
    alone = is_memory(url)
    kind = url.get_backend_name()
    arguments = _arguments(url)
    may_prepare = url.get_driver_name() == "psycopg" and "prepare_threshold" not in url.query
    try:
        _check_options(url)
        engine = create_engine(
            url,
            connect_args=arguments,
            poolclass=OwnPool,
            pool_size=1 if alone else pooling.pool_size,
            max_overflow=0 if alone else pooling.max_overflow,
            pool_timeout=pooling.pool_timeout,
            pool_recycle=-1 if alone else pooling.pool_recycle,
            pool_pre_ping=pooling.pool_pre_ping,
            # Every transaction is ended where it is begun: nothing is left to be rolled back.
            pool_reset_on_return=None,
            isolation_level="AUTOCOMMIT",
            echo=config.echo,
            hide_parameters=True,
        )
    except ImportError as error:
        raise StoreConfigError(
            f"the driver {url.drivername} is not installed: install it, or leave it out of the URL, "
            "for pip install 'truthstore[db]' brings one",
            backend=NAME,
        ) from error
    except (exc.ArgumentError, TypeError, ValueError) as error:
        raise StoreConfigError(f"cannot use {shown_url(url)}: {said(error, url)}", backend=NAME) from None

    # The listeners hold no reference to the store, so that it can be freed.
    def connected(connection: Any, _record: Any) -> None:
        counts["opened"] += 1
        cursor = connection.cursor()
        cursor.execute(SETTINGS[kind])
        # A pooler says a number of its own when a client connects. It may hand each transaction to another connection
        # of the server, on which what this one prepared does not exist, or is a statement of another client.
        if may_prepare and cursor.fetchone()[1] == connection.info.backend_pid:
            connection.prepare_threshold = PREPARE_THRESHOLD
        cursor.close()

    def invalidated(*_: Any) -> None:
        counts["invalidated"] += 1

    event.listen(engine, "connect", connected)
    event.listen(engine, "invalidate", invalidated)
    return engine


def _check_options(url: URL) -> None:
    """Refuse options that the driver would ignore, or refuse when it connects, where it tells which it takes.

    Raises:
        StoreConfigError: there is no such option.
    """
    driver = url.get_driver_name()
    if driver == "pysqlite":
        taken = SQLITE_OPTIONS | (SQLITE_FILE_OPTIONS if str(url.database).startswith("file:") else frozenset())
    elif driver == "psycopg":
        from psycopg.pq import Conninfo

        taken = frozenset({"prepare_threshold", *(option.keyword.decode() for option in Conninfo.get_defaults())})
    elif driver == "pymysql":
        from pymysql.connections import Connection as Driver

        taken = BY_SQLALCHEMY | inspect.signature(Driver).parameters.keys()
    else:
        return
    ours = {option.name for option in fields(DatabaseConfig)}
    for name in url.query:
        if name in ours - taken:
            raise StoreConfigError(
                f"{name} in connection_url is an option of the store: give {name}= apart", backend=NAME
            )
        if name not in taken:
            raise StoreConfigError(no_option(f"connection_url for {driver}", name, ours | taken), backend=NAME)


def said(error: BaseException, url: URL) -> str:
    """Return the text of an error in one line, without values of options in a URL: a secret may be in the wrong place."""
    text = " ".join(str(error).split())
    for value in url.query.values():
        for one in [value] if isinstance(value, str) else value:
            text = without_secret(text, one)
    return text


def _arguments(url: URL) -> dict[str, Any]:
    """Return the driver's arguments: ours that the URL does not name, and its own that no one else makes of text.

    Raises:
        StoreConfigError: a value in the URL that is not of the option's type.
    """
    ours: dict[str, Any] = {"connect_timeout": CONNECT_SECONDS}
    if url.get_backend_name() == "sqlite":
        ours = {"timeout": BUSY_SECONDS, "check_same_thread": False}
    elif url.get_driver_name() == "psycopg":
        ours |= {"cursor_factory": _binary_cursor, "prepare_threshold": None}
    for name, text in url.query.items():
        if name in ENCODINGS and str(text).lower() not in ENCODINGS[name]:
            raise StoreConfigError(
                f"option {name} in connection_url: not every text could be kept so: leave it out", backend=NAME
            )
        ours.pop(name, None)
        if name in OPTIONS:
            try:
                # msgspec says null for None.
                ours[name] = msgspec.convert("null" if text in {"none", "None"} else text, OPTIONS[name], strict=False)
            except msgspec.ValidationError as error:
                raise StoreConfigError(f"option {name} in connection_url: {error}", backend=NAME) from error
    return ours


def _binary_cursor(connection: psycopg.Connection, **options: Any) -> psycopg.Cursor:
    """Return a cursor that receives bodies as they are, not as hexadecimal text."""
    from psycopg import Cursor
    from psycopg.pq import Format

    cursor = Cursor(connection, **options)
    cursor.format = Format.BINARY
    return cursor


def execute(connection: Connection, sql: str, parameters: Sequence[Any] = ()) -> CursorResult[*tuple[Any, ...]]:
    """Run SQL text, whose placeholders are question marks."""
    return connection.exec_driver_sql(_placed(connection, sql), tuple(parameters))


def execute_many(connection: Connection, sql: str, rows: list[tuple[Any, ...]]) -> None:
    """Run SQL text once for each row of parameters."""
    connection.exec_driver_sql(_placed(connection, sql), rows)


def _placed(connection: Connection, sql: str) -> str:
    return sql if connection.dialect.paramstyle == "qmark" else sql.replace("?", "%s")
