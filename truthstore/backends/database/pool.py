"""Connections: SQLAlchemy's pool, repetition by tenacity, a circuit breaker, and what errors mean.

Connections commit by themselves, so that a read is one round trip; whatever needs several statements says BEGIN.
"""

from __future__ import annotations

import os
import random
import threading
import weakref
from collections.abc import Callable, Generator
from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any, Final, TypeVar

import tenacity
from sqlalchemy import exc

from truthstore.backends.database.config import DatabaseConfig, kind_of, read_url, without_password
from truthstore.backends.database.engine import Counts, PoolMetrics, execute, is_memory, make_engine
from truthstore.backends.database.failures import (
    FAILURES,
    AmbiguousError,
    UnreachableError,
    advice,
    is_lost,
    is_unreachable,
    judges_item,
    passes,
    without_secret,
)
from truthstore.errors import (
    StoreConfigError,
    StoreConnectionError,
    StoreError,
    StoreOverloadedError,
    StoreQueryError,
    StoreReadError,
    StoreWriteError,
)
from truthstore.runtime.circuit import CircuitBreaker, CircuitConfig
from truthstore.runtime.forks import Gate, Rank, watch_forks

if TYPE_CHECKING:
    from sqlalchemy import URL, Connection, Engine

__all__ = ["Database", "PoolMetrics"]

T = TypeVar("T")

NAME: Final = "database"


class Database:
    """An engine per process, and everything that is done with its connections.

    Args:
        config: the options.
    """

    def __init__(self, config: DatabaseConfig) -> None:
        self._config = config
        self._pooling = config.connections
        self.url: URL = read_url(config.connection_url)
        self.kind = kind_of(self.url)
        self._lock = threading.Lock()
        self._gate: Gate | None = None
        if self.kind == "sqlite" and not is_memory(self.url):
            self._gate = Gate()
            watch_forks(self, Rank.CONNECTION)
        self._pid = 0
        self._engine: Engine | None = None
        self._abandoned: list[Engine] = []
        self._healthy = True
        self._counts = Counts()
        self._retries = self._failures = 0
        pooling = self._pooling
        self.circuit = CircuitBreaker(
            CircuitConfig(failure_threshold=pooling.failure_threshold, recovery_timeout=pooling.recovery_timeout)
        )

    @property
    def shown(self) -> str:
        """The URL without its password."""
        return without_password(self.url.render_as_string(hide_password=True))

    @property
    def engine(self) -> Engine:
        """This process's engine, made at the first use."""
        if self._engine is not None and self._pid == os.getpid():
            return self._engine
        if self._pid and self._pid != os.getpid():
            # A lock copied by a fork may be held by a thread that was not.
            self._lock = threading.Lock()
        with self._lock:
            if self._engine is None or self._pid != os.getpid():
                if self._engine is not None:
                    # The connections are the parent's: they are kept untouched, without a word to the server.
                    self._abandoned.append(self._engine)
                    self.circuit.reset()
                self._engine = make_engine(self.url, self._config, self._counts)
                self._pid = os.getpid()
                # A store that is forgotten without being closed leaves no connection behind.
                weakref.finalize(self, _dispose, self._engine, self._pid)
        return self._engine

    @contextmanager
    def _connect(self) -> Generator[Connection]:
        with self._gate or nullcontext():
            try:
                connection = self.engine.connect()
            except exc.DBAPIError as error:
                raise UnreachableError from error
            with connection:
                yield connection

    def before_fork(self) -> None:
        """Closes the connections to a SQLite file, whose locks a child would take for its own."""
        if self._gate is not None:
            self._gate.close()
        if self._engine is not None:
            _dispose(self._engine, self._pid)

    def after_fork(self, *, child: bool) -> None:
        """Lets operations go on."""
        if self._gate is None:
            return
        if child:
            self._gate.anew()
        else:
            self._gate.open()

    def read(self, work: Callable[[Connection], T]) -> T:
        """Runs statements that change nothing; again on another connection if this one was lost."""
        return self._run(lambda: self._attempt_read(work), StoreReadError)

    def _attempt_read(self, work: Callable[[Connection], T]) -> T:
        with self._connect() as connection:
            return work(connection)

    def prepare(self, work: Callable[[Connection], T]) -> T:
        """Runs what makes tables, which looks after its own transaction and is safe to repeat."""
        return self._run(lambda: self._attempt_read(work), StoreConfigError)

    def write(self, work: Callable[[Connection], T], again: Callable[[], None] | None = None) -> T:
        """Runs statements in a transaction, and all of them again after a failure that passes.

        Args:
            work: the statements. It must be safe to repeat, also after it was committed.
            again: called when the transaction may have been committed before it is repeated.

        Raises:
            AmbiguousError: it may have been committed, and repeating it did not help.
        """
        return self._run(lambda: self._attempt_write(work), StoreWriteError, again)

    def _attempt_write(self, work: Callable[[Connection], T]) -> T:
        with self._connect() as connection, self.transaction(connection):
            return work(connection)

    @contextmanager
    def transaction(self, connection: Connection) -> Generator[None]:
        """BEGIN … COMMIT, or ROLLBACK if anything is raised."""
        connection.exec_driver_sql("BEGIN IMMEDIATE" if self.kind == "sqlite" else "BEGIN")
        try:
            yield
        except BaseException:
            if not connection.invalidated:
                self._roll_back(connection)
            raise
        try:
            self.commit(connection, "COMMIT")
        except exc.DBAPIError:
            self._roll_back(connection)
            raise

    def _roll_back(self, connection: Connection) -> None:
        with self._quietly(connection):
            connection.exec_driver_sql("ROLLBACK")

    @staticmethod
    @contextmanager
    def _quietly(connection: Connection) -> Generator[None]:
        # What is being raised already says more than the failure of a rollback; the connection is given up.
        try:
            yield
        except exc.DBAPIError as error:
            if not error.connection_invalidated:
                connection.invalidate(error)

    def commit(self, connection: Connection, sql: str, parameters: tuple[Any, ...] = ()) -> Any:
        """Run a statement that commits.

        Raises:
            AmbiguousError: it may have been committed.
        """
        try:
            return execute(connection, sql, parameters)
        except exc.DBAPIError as error:
            if error.connection_invalidated:
                raise AmbiguousError from error
            raise

    def run_alone(self, sql: str, parameters: tuple[Any, ...], again: Callable[[], None]) -> Any:
        """Runs one statement that is its own transaction, and returns its first row."""

        def attempt() -> Any:
            with self._connect() as connection:
                return self.commit(connection, sql, parameters).first()

        return self._run(attempt, StoreWriteError, again)

    def _run(self, attempt: Callable[[], T], kind: type[StoreError], again: Callable[[], None] | None = None) -> T:
        """The first attempt, and if it fails for a reason that passes, more of them."""
        self._check_circuit()
        try:
            result = attempt()
        except FAILURES as error:
            result = self._repeat(error, attempt, kind, again)
        except StoreError:
            self._answered()
            raise
        self._answered()
        return result

    def _answered(self) -> None:
        self._healthy = True
        if self._pooling.enable_circuit_breaker:
            self.circuit.succeeded()

    def _repeat(
        self,
        first: Exception,
        attempt: Callable[[], T],
        kind: type[StoreError],
        again: Callable[[], None] | None,
    ) -> T:
        pending: list[Exception] = [first]
        ambiguous: list[Exception] = []

        def once() -> T:
            # The attempt that was made already is the first that tenacity sees.
            if pending:
                raise pending.pop()
            self._retries += 1
            return attempt()

        def note(state: tenacity.RetryCallState) -> None:
            error = _error_of(state)
            if isinstance(error, AmbiguousError):
                ambiguous.append(error)
                if again is not None:
                    again()

        retrying = tenacity.Retrying(
            stop=self._stops,
            wait=self._wait,
            retry=tenacity.retry_if_exception(passes),
            before_sleep=note,
            reraise=True,
        )
        try:
            return retrying(once)
        except FAILURES as error:
            if isinstance(error, AmbiguousError) or ambiguous:
                self._count_failure()
                raise AmbiguousError(without_secret(error.__cause__ or error, self.url)) from error
            raise self.explained(error, kind) from error

    def _stops(self, state: tenacity.RetryCallState) -> bool:
        pooling = self._pooling
        most = pooling.max_retries if pooling.enable_retry else 0
        return state.attempt_number > most

    def _wait(self, state: tenacity.RetryCallState) -> float:
        error = _error_of(state)
        if state.attempt_number == 1 and is_lost(error):
            return 0.0  # a connection that died while it was idle says nothing about the server
        return float(self._pooling.retry_base_delay * 2 ** (state.attempt_number - 1) * random.uniform(0.5, 1.5))  # noqa: S311

    def _check_circuit(self) -> None:
        if self._pooling.enable_circuit_breaker and not self.circuit.allow():
            raise StoreConnectionError(
                NAME,
                f"{self.shown} could not be reached several times in a row: it is tried again in "
                f"{self.circuit.retry_after:.0f} s",
            )

    def _count_failure(self) -> None:
        self._failures += 1
        self._healthy = False
        if self._pooling.enable_circuit_breaker:
            self.circuit.failed()

    def explained(self, error: Exception, kind: type[StoreError] = StoreReadError) -> StoreError:
        """The error of this library for one of SQLAlchemy's."""
        if isinstance(error, exc.StatementError) and isinstance(error.orig, StoreError):
            # A value that no column keeps: in a query, a mistake of the query.
            return StoreQueryError(str(error.orig), backend=NAME) if kind is StoreReadError else error.orig
        if isinstance(error, exc.TimeoutError):
            pooling = self._pooling
            return StoreOverloadedError(
                f"no connection was free within {pooling.pool_timeout:g} s: raise pool_size and max_overflow",
                backend=NAME,
            )
        hint = advice(error)
        message = f"{self.shown}: {without_secret(error, self.url)}" + (f" ({hint})" if hint else "")
        if is_unreachable(error):
            self._count_failure()
            return StoreConnectionError(NAME, message, retryable=passes(error))
        self._answered()
        return kind(message, backend=NAME, retryable=passes(error), store_trouble=not judges_item(error))

    @property
    def healthy(self) -> bool:
        """Whether the database could be reached when it was last tried."""
        return self._healthy

    def metrics(self) -> PoolMetrics:
        """Figures of the pool of this process."""
        pool: Any = self.engine.pool
        return PoolMetrics(
            size=pool.size(),
            checked_in=pool.checkedin(),
            checked_out=pool.checkedout(),
            overflow=max(0, pool.overflow()),
            opened=self._counts.opened,
            invalidated=self._counts.invalidated,
            retries=self._retries,
            failures=self._failures,
            circuit=self.circuit.state.value,
        )

    def recycle(self) -> int:
        """Closes idle connections; those in use are closed when they are given back. Returns how many were idle."""
        if is_memory(self.url):
            return 0
        idle: int = self.engine.pool.checkedin()  # type: ignore[attr-defined]  # a QueuePool
        self.engine.dispose()
        return idle

    def close(self) -> None:
        """Closes all connections of this process."""
        if self._engine is not None:
            _dispose(self._engine, self._pid)


def _error_of(state: tenacity.RetryCallState) -> BaseException | None:
    return state.outcome.exception() if state.outcome is not None else None


def _dispose(engine: Engine, pid: int) -> None:
    if pid == os.getpid():
        engine.dispose()
