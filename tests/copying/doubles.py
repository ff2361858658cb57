"""What a copy is tested with: a store that holds something of everything, and what two stores hold."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from truthstore import BaseStore, Collection, Record, WrapperStore
from truthstore.checks.notes import notes_of
from truthstore.expectations import SUITES, ExpectationSuite
from truthstore.items.parts import parts_of
from truthstore.model.query import StoreQuery
from truthstore.model.record import AS_STORED
from truthstore.observability import AuditConfig, ObservabilityConfig, ObservableStore
from truthstore.observability.audit.store import AUDIT
from truthstore.observability.config import MetricsConfig
from truthstore.results import RESULTS, ResultStatus, ValidationResult, ValidatorResult
from truthstore.versioning import VersionedStore
from truthstore.versioning.meta import history_of

NOON = datetime(2026, 5, 4, 12, tzinfo=UTC)
OF_RESULTS = (RESULTS, history_of(RESULTS), parts_of(RESULTS), notes_of(RESULTS))
CARRIED = (*OF_RESULTS, SUITES, AUDIT)


def result(number: int, **changes: Any) -> ValidationResult:
    """One of many results."""
    check = ValidatorResult(
        "not_null", success=number % 3 > 0, column="id", message=f"row {number} is empty", count=number
    )
    given: dict[str, Any] = {"tags": {"team": f"team-{number % 2}"}, "results": [check], **changes}
    status = ResultStatus.SUCCESS if number % 3 else ResultStatus.FAILURE
    return ValidationResult(f"run-{number:04d}", NOON + timedelta(minutes=number), "orders", status, **given)


def versioned(base: BaseStore[Any]) -> Any:
    """A stack that keeps versions and an audit trail."""
    metrics = MetricsConfig(enabled=False)
    config = ObservabilityConfig(audit=AuditConfig(backend="store"), metrics=metrics)
    return ObservableStore(VersionedStore(base), config)


def fill(store: BaseStore[Any], count: int = 12) -> None:
    """Save results with versions, one of them deleted, a streamed run, an acknowledgement and a suite."""
    store.save_many(result(number) for number in range(count))
    for number in range(0, count, 4):
        store.save(result(number, suite_name="again"), message="again")
    store.delete("run-0001")
    with store.open_run("streamed", "large.csv", run_time=NOON) as run:
        for number in range(5):
            run.add(ValidatorResult(f"check {number}", success=True))
    check = store.checks.latest("orders")[0]
    store.acknowledge(check.check_id, timedelta(days=3), "me", "known")
    store.collection(SUITES).save(ExpectationSuite.create("orders suite", "orders"))


def held(store: BaseStore[Any], collections: Iterable[Collection[Any]] = CARRIED) -> dict[tuple[str, str], Any]:
    """Everything that a store holds: bodies, revisions and heads, tombstones too."""
    everything = StoreQuery(include_deleted=True, order_by="id")
    found: dict[tuple[str, str], Any] = {}
    for collection in collections:
        for head in store.scan(everything, collection=collection):
            record = store.get_records([head.id], collection=collection, options=AS_STORED)[head.id]
            found[collection.name, head.id] = (record.revision, record.body, record.meta)
    return found


class Meanwhile(WrapperStore[Any]):
    """Does something once, before the first write."""

    def __init__(self, base: BaseStore[Any], work: Callable[[BaseStore[Any]], object]) -> None:
        super().__init__(base)
        self._work = [work]

    def put_records(self, records: Any, **options: Any) -> Any:
        while self._work:
            self._work.pop()(self._base)
        return self._base.put_records(records, **options)


class Killing(WrapperStore[Any]):
    """Kills the process at a step: before an operation of the store below.

    Attributes:
        steps: counts the steps of all such stores.
    """

    steps: Iterator[int] = iter(())

    def __init__(self, base: BaseStore[Any]) -> None:
        super().__init__(base)

    @classmethod
    def at(cls, step: int) -> None:
        """Let the process die at a step, counted from 0."""
        cls.steps = iter(range(step))

    @classmethod
    def step(cls) -> None:
        """Die, if this is the step."""
        if next(cls.steps, None) is None:
            os.kill(os.getpid(), signal.SIGKILL)


def _killing(name: str) -> Any:
    def operation(self: Any, *args: Any, **options: Any) -> Any:
        self.step()
        return getattr(WrapperStore, name)(self, *args, **options)

    return operation


for _name in ("put_records", "get_records", "delete_record"):
    setattr(Killing, _name, _killing(_name))


class Spoiling(WrapperStore[Any]):
    """Stores one body otherwise than it was given."""

    def put_records(self, records: Any, **options: Any) -> Any:
        spoilt = [Record(r.meta, (r.body or b"").replace(b"orders", b"orderz"), r.revision) for r in records]
        return self._base.put_records(spoilt, **options)
