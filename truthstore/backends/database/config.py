"""Options of the database store, and how its URL is read and shown. Importing this needs no database library."""

from __future__ import annotations

import importlib.util
import os
import re
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, Final

from truthstore.errors import StoreConfigError, echoed
from truthstore.store.config import StoreConfig, Text

if TYPE_CHECKING:
    from sqlalchemy import URL

__all__ = ["DatabaseConfig", "PoolingConfig", "options_of_url"]

MAX_NAMESPACE: Final = 128
MAX_PREFIX: Final = 20
DRIVERS: Final = {
    "postgresql": {"psycopg": "psycopg", "psycopg2": "psycopg2"},
    "mysql": {"pymysql": "pymysql", "mysqldb": "MySQLdb"},
    "sqlite": {"pysqlite": "sqlite3"},
}
"""The drivers of each kind of database, the preferred one first: SQLAlchemy's name and the module."""
ALIASES: Final = {"postgres": "postgresql", "mariadb": "mysql"}

_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")


@dataclass(frozen=True, slots=True, kw_only=True)
class PoolingConfig:
    """Options of connections: how they are kept, checked and given up.

    Attributes:
        pool_size: number of connections that are kept open.
        max_overflow: number of connections beyond these, opened when they are needed and closed afterwards.
        pool_timeout: seconds to wait for a free connection.
        pool_recycle: connections older than so many seconds are replaced; -1 for never.
        pool_pre_ping: ask each connection whether it lives before it is used. Without it a dead one is found too, and the
            operation repeated.
        enable_circuit_breaker: after several failures to reach the server in a row, fail at once for a while.
        enable_health_checks: `is_healthy` asks the server; without it, it says how the last operation went.
        enable_retry: repeat an operation after a transient failure, where that is safe.
        max_retries: number of repetitions at most; ten times as many if another writer was quicker.
        retry_base_delay: seconds before the first repetition, doubled at each further one, with some chance in it.
        failure_threshold: number of failures in a row after which the circuit opens.
        recovery_timeout: seconds after which an open circuit lets one operation try again.

    Raises:
        ValueError: a number that makes no sense.
    """

    pool_size: int = 5
    max_overflow: int = 10
    pool_timeout: float = 30.0
    pool_recycle: int = 3600
    pool_pre_ping: bool = False
    enable_circuit_breaker: bool = True
    enable_health_checks: bool = True
    enable_retry: bool = True
    max_retries: int = 3
    retry_base_delay: float = 0.1
    failure_threshold: int = 5
    recovery_timeout: float = 30.0

    def __post_init__(self) -> None:
        if self.pool_size < 1 or self.max_overflow < 0 or self.pool_timeout <= 0:
            raise ValueError("pool_size is at least 1, max_overflow at least 0, pool_timeout more than 0")
        if self.max_retries < 0 or self.retry_base_delay < 0:
            raise ValueError("max_retries and retry_base_delay are at least 0")
        if self.failure_threshold < 1 or self.recovery_timeout < 0:
            raise ValueError("failure_threshold is at least 1, recovery_timeout at least 0")


@dataclass(frozen=True, slots=True, kw_only=True)
class DatabaseConfig(StoreConfig):
    """Options of the database store.

    Attributes:
        connection_url: where the database is, as SQLAlchemy writes it: ``sqlite:///path``, ``postgresql://…``,
            ``mysql://…``, ``mariadb://…``; without a driver's name the installed one is used.
        user, password, host, port, database: the same as parts of `connection_url`, as they are, without any escapes.
        table_prefix: what table names begin with.
        pool_size: number of connections that are kept open.
        max_overflow: number of connections beyond these, opened when they are needed.
        echo: log every statement, without its values.
        create_tables: make and extend tables when they are needed. Without it they must be there.
        pooling: everything about connections; wins over `pool_size` and `max_overflow`.
    """

    connection_url: str = field(default="sqlite:///.truthstore/store.db", repr=False)
    user: str | None = None
    password: str | None = field(default=None, repr=False)
    host: str | None = None
    port: int | None = None
    database: str | None = None
    table_prefix: str = ""
    pool_size: int = 5
    max_overflow: int = 10
    echo: bool = False
    create_tables: bool = True
    pooling: PoolingConfig | None = None

    def __post_init__(self) -> None:
        StoreConfig.__post_init__(self)
        if self.algorithm is not None:
            raise StoreConfigError("the database store does not compress: put a CompressedStore on top of it")
        for name in ("connection_url", "table_prefix", "user", "password", "host", "database"):
            if not isinstance(getattr(self, name), str | None):
                raise TypeError(f"{name} is a string, not {type(getattr(self, name)).__name__}")
        if not isinstance(self.pooling, PoolingConfig | None):
            raise TypeError(f"pooling is a PoolingConfig, not {type(self.pooling).__name__}")
        for name in ("namespace", "prefix", "connection_url", "database"):
            if found := _CONTROL.search(getattr(self, name) or ""):
                raise StoreConfigError(f"{name} holds U+{ord(found[0]):04X}: control characters are not allowed")
        if "@" in (self.host or ""):
            raise StoreConfigError("host holds an @: give user= and password= apart")
        if len(self.space) > MAX_NAMESPACE:
            raise StoreConfigError(f"namespace and prefix have more than {MAX_NAMESPACE} characters")
        if not re.fullmatch(r"([a-z][a-z0-9_]*)?", self.table_prefix) or len(self.table_prefix) > MAX_PREFIX:
            raise StoreConfigError(
                f"table_prefix is [a-z][a-z0-9_]*, at most {MAX_PREFIX} characters, not {echoed(self.table_prefix)}"
            )
        _ = self.connections  # checks the numbers

    @property
    def space(self) -> str:
        """Return the value of the column ``namespace``: the namespace, and the prefix if there is one."""
        # No namespace holds a control character, so no two pairs come out alike.
        return f"{self.namespace}\x1f{self.prefix}" if self.prefix else self.namespace

    @property
    def connections(self) -> PoolingConfig:
        """Return the options of connections."""
        return self.pooling or PoolingConfig(pool_size=self.pool_size, max_overflow=self.max_overflow)


def shown_url(url: URL) -> str:
    """Return a URL for messages: without the password, and without options, one of which may be a password too."""
    return url.create(url.drivername, url.username, None, url.host, url.port, url.database).render_as_string()


def read_url(config: DatabaseConfig) -> URL:
    """Return where the database is, with the driver; ``mysql`` for MariaDB too.

    Raises:
        StoreConfigError: it is no URL, another kind of database, or no driver for it is installed.
    """
    from sqlalchemy import make_url
    from sqlalchemy.exc import ArgumentError

    try:
        url = make_url(config.connection_url)
    except (ArgumentError, ValueError):
        # Its text, its message and the chained error's may hold a password anywhere.
        raise StoreConfigError(
            "connection_url is no database URL: write dialect://user:password@host/database"
        ) from None
    is_file = url.drivername.startswith("sqlite")
    before, at, _ = config.connection_url.rpartition("@")
    if not is_file and at and ("@" in before or "?" in before or url.username is None):
        # It is open what is the password and what the host, which messages show.
        raise StoreConfigError(
            "user or password in connection_url hold a sign that ends them: write %40 for @, %2F for /, %3F for ?, "
            "or give them apart as user= and password="
        )
    user, password, host, port = config.user, config.password, config.host, config.port
    if is_file and (user, password, host, port) != (None, None, None, None):
        raise StoreConfigError("user, password, host and port are for a server: add connection_url='postgresql://'")
    url = url.set(username=user, password=password, host=host, port=port, database=config.database)
    if not is_file and (found := re.search("[;=?]", url.database or "")):
        raise StoreConfigError(
            f"the name of the database holds a {found[0]}: options stand apart, or behind a ? of the URL"
        )
    if is_file and url.database:
        url = url.set(database=os.path.expanduser(url.database))
    kind, _, driver = url.drivername.partition("+")
    kind = ALIASES.get(kind, kind)
    if kind not in DRIVERS:
        raise StoreConfigError(
            f"the database store supports SQLite, PostgreSQL, MariaDB and MySQL, not {kind}: use another store for it"
        )
    installed = [name for name, module in DRIVERS[kind].items() if importlib.util.find_spec(module) is not None]
    if not driver and not installed:
        raise StoreConfigError(f"no driver for {kind} is installed: pip install 'truthstore[db]'")
    return url.set(drivername=f"{kind}+{driver or installed[0]}")


def options_of_url(url: str) -> dict[str, Any]:
    """Return the options of the store in a URL; the rest of its query is for the driver."""
    from urllib.parse import parse_qsl, urlencode

    known = {option.name for option in fields(DatabaseConfig)} - {"user", "password", "host", "port", "database"}
    address, _, query = url.partition("?")
    if "@" in query and not url.startswith("sqlite"):
        return {"connection_url": url}  # which is refused: the ? may belong to a password
    given = parse_qsl(query, keep_blank_values=True)
    options = {name: Text(value) for name, value in given if name in known}
    rest = urlencode([(name, value) for name, value in given if name not in known])
    return {"connection_url": f"{address}?{rest}" if rest else address, **options}
