"""A run that is recorded while it goes on."""

from __future__ import annotations

import contextlib
import logging
import os
import platform
import traceback
from collections.abc import Generator, Iterable, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, Literal

from truthstore.errors import StoreError
from truthstore.items.checks import VALIDATOR_ERROR, ResultStatus, ValidatorResult
from truthstore.items.conversion import given, provenance
from truthstore.items.results import ValidationResult
from truthstore.items.run_ids import new_run_id
from truthstore.model.fields import check_id as checked_id
from truthstore.model.values import storable_mapping, text_of
from truthstore.recording.journal import Journal, ended
from truthstore.store.store import BaseStore

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

__all__ = ["OnError", "Run", "keep", "record", "surviving"]

OnError = Literal["queue", "raise"]
TRACEBACK_LENGTH: Final = 2_000
CI_NAMES: Final = ("BUILD_", "BUILDKITE_", "CI_", "CIRCLE_", "GITHUB_", "GIT_")
"""How variables begin in which CI systems say what they build."""

log: Final = logging.getLogger("truthstore.recording")


@contextlib.contextmanager
def surviving(on_error: OnError, what: str) -> Generator[None]:
    """Log what the block raises instead of raising it, unless that is asked for."""
    try:
        yield
    except Exception as error:
        if on_error == "raise":
            raise
        _note(what, error)


def _note(what: str, error: Exception) -> None:
    unforeseen = None if isinstance(error, StoreError) else error
    log.error("%s: %s: %s", what, type(error).__name__, error, exc_info=unforeseen)


class Run:
    """A run under way: a context manager, made by `record`.

    Attributes:
        run_id: the id under which it will be stored.
        tags: for queries; may be changed until the block ends.
        metadata: whatever else belongs to the run; likewise.
        total_rows: rows of the table, if you know.
    """

    def __init__(
        self,
        store: BaseStore[Any],
        data_asset: str,
        *,
        tags: Mapping[str, str] | None = None,
        metadata: Mapping[str, Any] | None = None,
        suite_name: str | None = None,
        run_id: str | None = None,
        on_error: OnError = "queue",
        path: str | os.PathLike[str] | None = None,
    ) -> None:
        if on_error not in {"queue", "raise"}:
            raise ValueError(f"on_error is 'queue' or 'raise', not {on_error!r:.80}")
        if not isinstance(data_asset, str) or not data_asset:
            raise ValueError(f"data_asset names what is checked, such as 'orders', not {data_asset!r:.80}")
        kind = object
        if isinstance(store, BaseStore):
            kind = store._collection.type  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]  # as layers do
        if not issubclass(kind, ValidationResult):
            raise TypeError(f"a run is kept in a store of validation results, not in {store!r:.80}")
        self._started = datetime.now(UTC)
        self.run_id = new_run_id(self._started) if run_id is None else checked_id(run_id)
        self.tags: dict[str, Any] = dict(tags or {})
        self.metadata: dict[str, Any] = dict(metadata or {})
        self.total_rows = 0
        self._store = store
        self._kind = kind
        self._data_asset = data_asset
        self._suite_name = suite_name
        self._on_error: OnError = on_error
        self._path = path
        self._pid = os.getpid()
        self._journal: Journal | None = None
        self._place: int | None = None
        self._checks: list[tuple[int, ValidatorResult]] = []
        """With their numbers in the journal; 0 if they are not in it."""

    def _surviving(self, what: str) -> contextlib.AbstractContextManager[None]:
        return surviving(self._on_error, f"recording {self.run_id} of {self._data_asset}: {what}")

    def __enter__(self) -> Self:
        with self._surviving("goes on in memory"):
            self._journal = Journal(self._store, self._path)
            self._place = self._journal.begin(self._result(()))
        if self._journal is not None:
            with surviving("queue", "recording: what an earlier process left stays where it is"):
                self._journal.recover()
        return self

    def check(
        self,
        name: str,
        *,
        passed: bool | None,
        column: str | None = None,
        failed: int | None = None,
        checked: int | None = None,
        severity: str | None = None,
        message: str | None = None,
        details: Mapping[str, Any] | None = None,
        **fields: Any,
    ) -> None:
        """Record the result of a check, durably.

        Args:
            name: of the check.
            passed: whether the data passed; None if the check has no outcome: it counts as not evaluated.
            column: the column checked; None for the whole table.
            failed: number of values, or rows, that failed.
            checked: number of those that were looked at.
            severity: ``critical``, ``high``, ``medium`` or ``low``.
            message: the fault, for people.
            details: further values.
            **fields: further fields of `ValidatorResult`.
        """
        try:
            if passed is None:
                fields.setdefault("status", "not_evaluated")
            success = bool(passed)
            values: dict[str, Any] = {
                "column": column,
                "count": failed if failed is not None else 0,
                "checked": checked,
                "severity": severity,
                "message": message,
                "details": storable_mapping(details or {}),
                **fields,
            }
            result = ValidatorResult(text_of(name), success, **storable_mapping(values))
            ValidationResult("x", self._started, "x", ResultStatus.SUCCESS, [result])  # which refuses contradictions
        except Exception as error:
            if self._on_error == "raise":
                raise
            message = f"the result could not be recorded: {type(error).__name__}: {error}"
            result = ValidatorResult(text_of(name), success=False, issue_type=VALIDATOR_ERROR, message=message)
        self.add(result)

    def add(self, result: ValidatorResult) -> None:
        """Record the result of a check, as it is, durably."""
        number = 0
        try:
            with self._surviving(f"{result.validator_name} is kept in memory alone"):
                if self._journal is not None:
                    number = self._journal.add(self.run_id, result)
        finally:
            self._checks.append((number, result))

    def _result(self, results: Iterable[ValidatorResult]) -> ValidationResult:
        found = list(results)
        environment = {name: value for name, value in os.environ.items() if name.startswith(CI_NAMES)}
        result = self._kind(
            run_id=self.run_id,
            run_time=self._started,
            data_asset=self._data_asset,
            # Where nothing was checked, nothing is known of the data.
            status=ResultStatus.of(found) if found else ResultStatus.ERROR,
            results=found,
            tags={text_of(name): text_of(value) for name, value in self.tags.items()},
            metadata=storable_mapping(self.metadata),
            suite_name=self._suite_name,
            runtime_environment=given(
                **provenance(environment) | {"host": platform.node(), "python": platform.python_version()}
            ),
        )
        result.statistics.total_rows = self.total_rows
        result.statistics.execution_time_ms = (datetime.now(UTC) - self._started).total_seconds() * 1_000
        return result

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if os.getpid() != self._pid:
            return  # a forked child leaves the run to its parent
        if error is not None:
            self._on_error = "queue"  # the error of the block is the one to see
            for result in _raised(error, self._data_asset):
                self.add(result)
        with self._surviving("was not stored"):
            self._end()

    def _end(self) -> None:
        own, numbers = [check for _, check in self._checks], {number for number, _ in self._checks}
        journal, self._journal = self._journal, None
        if journal is None:
            self._store.save(self._result(own))
            return
        try:
            noted = journal.checks(self.run_id).items()
            # Beside this process, its forked children may have noted some.
            journal.end(self._result([*own, *(check for number, check in noted if number not in numbers)]))
        except (StoreError, OSError):  # of the journal, and not of the store
            log.warning("recording %s: the journal does not take it, the store is asked at once", self.run_id)
            self._store.save(self._result(own))
        finally:
            if self._place is not None:
                journal.leave(self._place)
            journal.close()


def _raised(error: BaseException, data_asset: str) -> list[ValidatorResult]:
    """Return the checks of an error that a known tool raised, such as pandera; else the one that says that it came."""
    from truthstore.interop import importer_of
    from truthstore.observability.audit import DataRedactor

    try:
        found = importer_of(error).convert(error, data_asset=data_asset)
        return [check for result in (found if isinstance(found, list) else [found]) for check in result.results]
    except Exception:  # noqa: BLE001  # nobody knows it
        redact = DataRedactor().redact_text
        trace = "".join(traceback.format_exception(error))[-TRACEBACK_LENGTH:]
        message = f"{type(error).__name__}: {error}"
        return [ended(redact(message), exception=type(error).__qualname__, exception_traceback=redact(trace))]


def record(
    store: BaseStore[Any],
    data_asset: str,
    *,
    tags: Mapping[str, str] | None = None,
    metadata: Mapping[str, Any] | None = None,
    suite_name: str | None = None,
    run_id: str | None = None,
    on_error: OnError = "queue",
    path: str | os.PathLike[str] | None = None,
) -> Run:
    """Return the block of a run that is recorded while it goes on.

    ``with record(store, "orders") as run: run.check("no nulls", passed=True)``. The result is stored when the block ends; also when it raises, with an error that carries the exception, which goes
    on. Each check is durable when it was made: of a process that is killed, the next that records for this store ends the
    run, as an error.

    Args:
        store: where the result is kept.
        data_asset: the data checked.
        tags: for queries.
        metadata: whatever else belongs to the run.
        suite_name: name of the suite, schema or contract that is checked.
        run_id: the id to store it under; a new one if None.
        on_error: ``queue``: what cannot be stored now is logged, and waits in a file for the next that records for this
            store; nothing is raised. ``raise``: that is raised at the end of the block, and waits all the same.
        path: that file; by default one named after the store in ``.truthstore/recording`` below the current folder.

    Raises:
        ValueError: `on_error` or `data_asset` make no sense.
        StoreKeyError: `run_id` cannot be used.
    """
    return Run(
        store,
        data_asset,
        tags=tags,
        metadata=metadata,
        suite_name=suite_name,
        run_id=run_id,
        on_error=on_error,
        path=path,
    )


def keep(
    store: BaseStore[Any],
    *results: ValidationResult,
    on_error: OnError = "queue",
    path: str | os.PathLike[str] | None = None,
) -> None:
    """Store results that are there already, such as those of an importer, and never fail the job.

    Without results, it stores what earlier recorders of the store left.

    Args:
        store: where they are kept.
        *results: the results.
        on_error: see `record`.
        path: see `record`.
    """
    with surviving(on_error, f"recording {len(results)} results"):
        journal = Journal(store, path)
        try:
            for result in results:
                with surviving(on_error, f"recording {result.run_id} of {result.data_asset}"):
                    journal.put(result)
            journal.recover()
        finally:
            journal.close()
