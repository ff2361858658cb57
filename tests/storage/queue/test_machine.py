"""Any order of calls, against a list."""

from __future__ import annotations

import shutil
import tempfile
from typing import TYPE_CHECKING

from hypothesis import HealthCheck, settings, strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from truthstore.errors import StoreWriteError
from truthstore.storage.queue import DurableQueue, Entry

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

KEYS = st.sampled_from("abc")
ERRORS = {
    "ok": None,
    "later": StoreWriteError("later", retryable=True),
    "never": StoreWriteError("never"),
}


class Queues(RuleBasedStateMachine):
    """One topic of two handles of one file, and beside it another topic that nothing may touch."""

    @initialize()
    def open(self) -> None:
        self.folder = tempfile.mkdtemp()
        self.queues = [DurableQueue(f"{self.folder}/queue.db", durability="os") for _ in range(2)]
        (self.next,) = self.queues[0].append("beside", [("a", b"untouched")])
        self.waiting: list[Entry] = []
        self.rejected: list[tuple[Entry, bool]] = []

    @rule(keys=st.lists(KEYS, max_size=4), handle=st.integers(0, 1))
    def append(self, keys: Sequence[str], handle: int) -> None:
        payload = b"%d" % self.next
        numbers = self.queues[handle].append("t", [(key, payload) for key in keys])
        assert all(number > self.next for number in numbers)
        self.next = max([self.next, *numbers])
        self.waiting += [Entry(number, "t", key, payload) for number, key in zip(numbers, keys, strict=True)]

    @rule(
        outcome=st.dictionaries(KEYS, st.sampled_from(list(ERRORS))), batch=st.integers(1, 3), handle=st.integers(0, 1)
    )
    def deliver(self, outcome: Mapping[str, str], batch: int, handle: int) -> None:
        sent: list[Entry] = []

        def send(entries: Sequence[Entry]) -> dict[int, Exception]:
            sent.extend(entries)
            errors = {entry.number: ERRORS[outcome.get(entry.key, "ok")] for entry in entries}
            return {number: error for number, error in errors.items() if error is not None}

        delivery = self.queues[handle].deliver("t", send, batch=batch)
        left: list[Entry] = []
        delivered = 0
        for entry in self.waiting:
            match outcome.get(entry.key, "ok"):
                case "later":
                    left.append(entry)
                case "never":
                    self.rejected.append((entry, False))
                case _:
                    delivered += 1
                    self.rejected = [(e, outdated or e.key == entry.key) for e, outdated in self.rejected]
        for key in "abc":
            numbers = [entry.number for entry in sent if entry.key == key]
            assert numbers == sorted(numbers)
        assert (delivery.delivered, delivery.waiting) == (delivered, len(left))
        self.waiting = left

    @rule(data=st.data(), handle=st.integers(0, 1))
    def retry(self, data: st.DataObject, handle: int) -> None:
        numbers = [entry.number for entry, _ in self.rejected]
        chosen = data.draw(st.lists(st.sampled_from(numbers), unique=True)) if numbers else []
        back: list[Entry] = []
        staying: list[tuple[Entry, bool]] = []
        for entry, outdated in reversed(self.rejected):
            later = [e for e in self.waiting if e.key == entry.key and e.number > entry.number]
            later += [e for e, _ in staying if e.key == entry.key]
            if outdated or later or entry.number not in chosen:
                staying.insert(0, (entry, outdated))
            else:
                back.insert(0, entry)
        assert self.queues[handle].retry_rejected("t", chosen) == len(back)
        self.rejected = staying
        queued = self.queues[handle].pending("t", after=self.next)
        assert [(e.key, e.payload) for e in queued] == [(e.key, e.payload) for e in back]
        self.waiting += queued
        self.next = max([self.next, *(entry.number for entry in queued)])

    @rule(handle=st.integers(0, 1))
    def discard(self, handle: int) -> None:
        assert self.queues[handle].discard_rejected("t") == len(self.rejected)
        self.rejected = []

    @rule(key=KEYS, handle=st.integers(0, 1))
    def supersede(self, key: str, handle: int) -> None:
        self.queues[handle].supersede("t", [key])
        self.rejected = [(entry, outdated or entry.key == key) for entry, outdated in self.rejected]

    @rule(handle=st.integers(0, 1))
    def reopen(self, handle: int) -> None:
        self.queues[handle].close()
        self.queues[handle] = DurableQueue(f"{self.folder}/queue.db", durability="os")

    @invariant()
    def agrees(self) -> None:
        for queue in self.queues:
            assert queue.pending("t") == self.waiting
            assert [rejected.entry for rejected in queue.rejected("t")] == [entry for entry, _ in self.rejected]
            assert queue.count("t") == len(self.waiting)
            assert queue.size("t") == sum(len(entry.payload) for entry in self.waiting)
            assert [entry.payload for entry in queue.pending("beside")] == [b"untouched"]

    def teardown(self) -> None:
        for queue in self.queues:
            queue.close()
        shutil.rmtree(self.folder)


TestQueues = Queues.TestCase
TestQueues.settings = settings(
    stateful_step_count=20, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much]
)
