"""A store below that counts calls, can be down, and rejects items."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from typing import Any

from truthstore import WrapperStore
from truthstore.backends.memory import MemoryStore
from truthstore.errors import StoreBulkError, StoreConnectionError, StoreError, StoreWriteError
from truthstore.model.record import ANY, NONE, Expect, Options, Record
from truthstore.testing.sample import SAMPLES, Sample
from truthstore.testing.suite.concurrency import start_child

DOWN = StoreConnectionError("s3", "no route to host")


class Base(WrapperStore[Sample]):
    """Passes calls on to another store, by default one in memory.

    Attributes:
        down: raised by every call, if it is an error.
        never: ids that are rejected.
        calls: ids of each write, in order.
    """

    name = "base"

    def __init__(self, base: Any = None) -> None:
        super().__init__(MemoryStore(collection=SAMPLES) if base is None else base)
        self.down: Exception | None = None
        self.never: dict[str, StoreError] = {}
        self.calls: list[list[str]] = []

    def _fail(self) -> None:
        if self.down is not None:
            raise self.down.with_traceback(None)

    def initialize(self) -> None:
        self._fail()
        super().initialize()

    def put_record(self, record: Record, *, collection: Any, expect: Expect = ANY, options: Options = NONE) -> Record:
        self.calls.append([record.id])
        self._fail()
        if record.id in self.never:
            raise self.never[record.id]
        return self._base.put_record(record, collection=collection, expect=expect, options=options)

    def put_records(
        self, records: Sequence[Record], *, collection: Any, expect: Expect = ANY, options: Options = NONE
    ) -> list[Record]:
        self.calls.append([record.id for record in records])
        self._fail()
        good = [record for record in records if record.id not in self.never]
        heads = self._base.put_records(good, collection=collection, expect=expect, options=options)
        failed = {record.id: self.never[record.id] for record in records if record.id in self.never}
        if failed:
            raise StoreBulkError([head.id for head in heads], failed)
        return heads

    def get_record(self, id: str, *, collection: Any, options: Options = NONE) -> Record:
        self._fail()
        return self._base.get_record(id, collection=collection, options=options)

    def delete_record(self, id: str, *, collection: Any, expect: Expect = ANY, options: Options = NONE) -> bool:
        self._fail()
        return self._base.delete_record(id, collection=collection, expect=expect, options=options)

    def scan(self, query: Any, *, collection: Any, bodies: bool = False, options: Options = NONE) -> Any:
        self._fail()
        return self._base.scan(query, collection=collection, bodies=bodies, options=options)


def too_large() -> StoreWriteError:
    return StoreWriteError("the item is too large")


def in_child(work: Callable[[], object]) -> int:
    """Run some work in a forked process and return its exit status, negative for a signal."""
    _, status = os.waitpid(start_child(work), 0)
    return os.waitstatus_to_exitcode(status)
