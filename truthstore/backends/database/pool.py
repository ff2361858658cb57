"""Run statements: SQLAlchemy's pool of connections, repetition, a circuit breaker, and errors explained.

Connections commit by themselves, so that a read is one round trip; what needs several statements says BEGIN.
"""

from __future__ import annotations

import os
import random
import threading
import time
import weakref
from collections import Counter
from collections.abc import Callable, Generator
from contextlib import contextmanager, nullcontext, suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeVar

from sqlalchemy import exc

from truthstore.backends.database import failures
from truthstore.backends.database.config import DatabaseConfig, read_url, shown_url
from truthstore.backends.database.engine import PoolMetrics, is_memory, make_engine, said
from truthstore.errors import (
    StoreConfigError,
    StoreConnectionError,
    StoreError,
    StoreOverloadedError,
    StoreReadError,
    StoreWriteError,
)
from truthstore.runtime.circuit import CircuitBreaker, CircuitConfig
from truthstore.runtime.forks import before_fork, fork_gate, in_child
from truthstore.storage.leftovers import remove_leftovers

if TYPE_CHECKING:
    from sqlalchemy import URL, Connection, Pool

    from truthstore.backends.database.rows import Rows

__all__ = ["Database", "PoolMetrics"]

T = TypeVar("T")

NAME: Final = "database"
RACES_PER_RETRY: Final = 10
"""Losing a race against another writer is no failure of the database: it is repeated more often."""

_of_parents: Final[list[Pool]] = []
"""The connections of the processes that this one was forked from: kept untouched, without a word to the server."""


class Database:
    """An engine per process, and everything that is done with its connections.

    Args:
        config: the options.

    Attributes:
        url: where the database is, with the driver.
        shown: the URL as messages show it.
        kind: ``sqlite``, ``postgresql`` or ``mysql``.
        path: a SQLite file, or None.
        lock: held while tables are made; a child of a fork has a lock of its own.
        rows: the rows of the collections whose tables are ready, by name and declaration.
        healthy: whether the database could be reached when it was last tried.
    """

    def __init__(self, config: DatabaseConfig) -> None:
        self._pooling = pooling = config.connections
        self.url: URL = read_url(config)
        self.kind = self.url.get_backend_name()
        self.shown = shown_url(self.url)
        self.lock = threading.RLock()
        self.rows: dict[tuple[str, str], Rows] = {}
        self.healthy = True
        self._counts: Counter[str] = Counter()
        self._file: tuple[int, int] | None = None
        self.circuit = CircuitBreaker(
            CircuitConfig(failure_threshold=pooling.failure_threshold, recovery_timeout=pooling.recovery_timeout)
        )
        self._engine = make_engine(self.url, config, self._counts)
        # A store that is forgotten without being closed leaves no connection behind.
        weakref.finalize(self, self._engine.dispose)
        self._is_file = self.kind == "sqlite" and not is_memory(self.url)
        named = self._is_file and not str(self.url.database).startswith("file:")
        self.path = os.path.abspath(str(self.url.database)) if named else None
        if self._is_file:
            before_fork(self.close)
        in_child(self._begin_in_child)

    def _begin_in_child(self) -> None:
        self.lock = threading.RLock()
        _of_parents.append(self._engine.pool)
        self._engine.dispose(close=False)
        self.circuit.reset()

    def make_folder(self) -> None:
        """Make the folder of a SQLite file.

        Raises:
            StoreConnectionError: it cannot be made.
        """
        if self.path is None:
            return
        folder = os.path.dirname(self.path)
        try:
            os.makedirs(folder, exist_ok=True)
        except OSError as error:
            message = f"cannot make the folder {folder}: {error.strerror}"
            raise StoreConnectionError(NAME, message, retryable=False) from error

    def follow_file(self) -> None:
        """Let go of a SQLite file that was removed or replaced, for no one else would see what is written to it."""
        if self.path is None:
            return
        try:
            found = os.stat(self.path)
            file = found.st_dev, found.st_ino
        except OSError:
            file = None
            with suppress(OSError):  # the next statement says what is wrong with the folder
                remove_leftovers(self.path)
        if file != self._file:
            self._file = file
            self.rows.clear()
            self._engine.dispose()

    @contextmanager
    def _connect(self) -> Generator[Connection]:
        with fork_gate if self._is_file else nullcontext():
            try:
                connection = self._engine.connect()
            except exc.DBAPIError as error:
                raise failures.UnreachableError from error
            except (AttributeError, OSError, TypeError, ValueError) as error:  # such as a file of certificates
                raise StoreConfigError(
                    f"{self.shown}: {said(error, self.url)}: correct the options in connection_url", backend=NAME
                ) from None
            with connection:
                yield connection

    def read(self, work: Callable[[Connection], T]) -> T:
        """Run statements that change nothing; again on another connection if this one was lost."""
        return self._run(work, StoreReadError)

    def prepare(self, work: Callable[[Connection], T]) -> T:
        """Run statements that make tables, in a transaction. They must be safe to repeat."""
        self.follow_file()  # which may just have been made
        return self._run(partial(self._transact, work), StoreConfigError)

    def write(
        self,
        work: Callable[[Connection], T],
        again: Callable[[], None] | None = None,
        *,
        alone: bool = False,
        kind: type[StoreError] = StoreWriteError,
    ) -> T:
        """Run statements in a transaction, and all of them again after a transient failure.

        Args:
            work: the statements. It must be safe to repeat, also after it was committed.
            again: called when the transaction may have been committed before it is repeated.
            alone: there is one statement, which is its own transaction.
            kind: raised if the database refuses a statement.

        Raises:
            AmbiguousError: it may have been committed, and repeating it did not help.
        """
        return self._run(partial(_commit if alone else self._transact, work), kind, again)

    def _transact(self, work: Callable[[Connection], T], connection: Connection) -> T:
        """BEGIN … COMMIT, or ROLLBACK if anything is raised."""
        connection.exec_driver_sql("BEGIN IMMEDIATE" if self.kind == "sqlite" else "BEGIN")
        try:
            result = work(connection)
            _commit(lambda connection: connection.exec_driver_sql("COMMIT"), connection)
        except BaseException:
            if not connection.invalidated:
                with suppress(exc.DBAPIError):  # the error that is being raised says more
                    connection.exec_driver_sql("ROLLBACK")
            raise
        return result

    def _run(
        self, work: Callable[[Connection], T], kind: type[StoreError], again: Callable[[], None] | None = None
    ) -> T:
        """Make an attempt, and if it fails for a transient reason, more of them."""
        if self._pooling.enable_circuit_breaker and not self.circuit.allow():
            raise StoreConnectionError(
                NAME,
                f"{self.shown} could not be reached several times in a row: it is tried again in "
                f"{self.circuit.retry_after:.0f} s",
            )
        attempts = 0
        in_doubt = False
        while True:
            try:
                with self._connect() as connection:
                    result = work(connection)
            except failures.FAILURES as error:
                attempts += 1
                is_ambiguous = isinstance(error, failures.AmbiguousError)
                in_doubt = in_doubt or is_ambiguous
                if failures.is_table_missing(error):
                    self.rows.clear()  # the next operation looks for the tables, and makes them where all were dropped
                if not self._may_repeat(error, attempts):
                    cause = failures.driver_error(error).with_traceback(None)  # SQLAlchemy's frames fill a screen
                    if not in_doubt:
                        is_shown = said(cause, self.url) == " ".join(str(cause).split())
                        raise self.explained(error, kind) from (cause if is_shown else None)
                    self._count(reached=False)
                    raise failures.AmbiguousError(NAME, f"{self.shown}: {cause}") from cause
                if is_ambiguous and again is not None:
                    again()
                delay = self._wait(error, attempts)
            except StoreError:
                self._count(reached=True)
                raise
            else:
                self._count(reached=True)
                return result
            time.sleep(delay)
            self._counts["retries"] += 1

    def _count(self, *, reached: bool) -> None:
        self.healthy = reached
        self._counts["failures"] += not reached
        if self._pooling.enable_circuit_breaker:
            if reached:
                self.circuit.succeeded()
            else:
                self.circuit.failed()

    def _may_repeat(self, error: Exception, attempts: int) -> bool:
        most = self._pooling.max_retries if self._pooling.enable_retry else 0
        return failures.is_transient(error) and attempts <= most * (RACES_PER_RETRY if failures.is_race(error) else 1)

    def _wait(self, error: Exception, attempts: int) -> float:
        """Return the seconds to wait after so many attempts, the last of which failed."""
        if attempts == 1 and failures.is_lost(error):
            return 0.0  # a connection that died while it was idle says nothing about the server
        delay = self._pooling.retry_base_delay * 2 ** (attempts - 1)
        if failures.is_race(error):
            # The other writer is done soon; chance keeps the two from meeting again.
            delay = min(delay, self._pooling.retry_base_delay * 8) / 10
        return float(delay * random.uniform(0.5, 1.5))  # noqa: S311  # not for secrets

    def explained(self, error: Exception, kind: type[StoreError] = StoreReadError) -> StoreError:
        """Return the error of this library for one of SQLAlchemy's."""
        if isinstance(error, exc.TimeoutError):
            return StoreOverloadedError(
                f"no connection was free within {self._pooling.pool_timeout:g} s: raise pool_size and max_overflow",
                backend=NAME,
            )
        hint = failures.HINTS.get(failures.code_of(error))
        text = said(failures.driver_error(error), self.url)[:500]
        message = f"{self.shown}: {text}" + (f" ({hint})" if hint else "")
        if failures.is_unreachable(error):
            self._count(reached=False)
            return StoreConnectionError(NAME, message, retryable=failures.is_transient(error))
        self._count(reached=True)
        return kind(
            message,
            backend=NAME,
            retryable=failures.is_transient(error),
            store_unavailable=not failures.is_item_error(error),
        )

    def metrics(self) -> PoolMetrics:
        """Return figures of the pool of this process."""
        pool: Any = self._engine.pool
        return PoolMetrics(
            size=pool.size(),
            checked_in=pool.checkedin(),
            checked_out=pool.checkedout(),
            overflow=max(0, pool.overflow()),
            **{name: self._counts[name] for name in ("opened", "invalidated", "retries", "failures")},
            circuit=self.circuit.state.value,
        )

    def recycle(self) -> int:
        """Close idle connections; those in use are closed when they are given back. Return how many were idle."""
        if is_memory(self.url):
            return 0
        idle: int = self._engine.pool.checkedin()  # type: ignore[attr-defined]  # a QueuePool
        self._engine.dispose()
        return idle

    def close(self) -> None:
        """Close all idle connections of this process, and the others when they are given back; the next use opens one."""
        self._engine.dispose()


def _commit(work: Callable[[Connection], T], connection: Connection) -> T:
    """Run a statement that commits.

    Raises:
        AmbiguousError: the connection was lost in it: it may have been committed.
    """
    try:
        return work(connection)
    except exc.DBAPIError as error:
        if error.connection_invalidated:
            raise failures.AmbiguousError(NAME, "the connection was lost during COMMIT") from error
        raise
