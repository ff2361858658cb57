"""A trail that grows: verified while others write, and opened at the same cost however long it is."""

from __future__ import annotations

import itertools
import os
import secrets
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any

import pytest

from truthstore.backends.memory import MemoryStore
from truthstore.model.query import StoreQuery
from truthstore.observability import AuditConfig
from truthstore.observability.audit import (
    AuditBackend,
    AuditEvent,
    AuditEventType,
    AuditLogger,
    FileAuditBackend,
    InMemoryAuditBackend,
    StoreAuditBackend,
    verify_events,
)
from truthstore.observability.audit.event import decode_event, encode_event
from truthstore.observability.audit.store import AUDIT


@pytest.fixture(autouse=True)
def own_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def event(item: str = "a") -> AuditEvent:
    return AuditEvent(event_type=AuditEventType.SAVE, operation="save", item=item)


def run(sink: AuditBackend, *items: str, mode: Any = "batch") -> None:
    """What one process does."""
    logger = AuditLogger(sink, AuditConfig(mode=mode))
    for item in items:
        logger.log(event(item))
    logger.close()


def named_chains(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    names_left = iter(names)
    monkeypatch.setattr(secrets, "token_hex", lambda _: next(names_left))


def while_reading(sink: AuditBackend, behind: int, work: Callable[[], object]) -> None:
    """Something is done when so many events of the next look at everything were read."""
    read, looks = sink.read, itertools.count()

    def interrupted() -> Iterator[AuditEvent]:
        is_first = not next(looks)
        for number, one in enumerate(read(), 1):
            yield one
            if is_first and number == behind:
                work()

    sink.read = interrupted  # type: ignore[method-assign]


class Unordered(InMemoryAuditBackend):
    """Reads chains by their names, as they are at that moment."""

    in_order = False

    def read(self) -> Iterator[AuditEvent]:
        seen: set[tuple[str, int]] = set()
        while rest := [e for e in self._events if not seen or (e.chain, e.sequence) > max(seen)]:
            first = min(rest, key=lambda e: (e.chain, e.sequence))
            seen.add((first.chain, first.sequence))
            yield first


@pytest.mark.parametrize("kind", ["store", "unordered"])
def test_a_chain_that_is_written_while_another_is_read_is_no_problem(monkeypatch, kind):
    sink: AuditBackend = StoreAuditBackend(MemoryStore()) if kind == "store" else Unordered()
    named_chains(monkeypatch, "b", "c", "a", "d")
    run(sink, "1", "2", mode="sync")
    run(sink, "3", mode="sync")

    def others() -> None:  # the first is never read, the second names its head
        run(sink, "4")
        run(sink, "5")

    while_reading(sink, 1, others)
    found = sink.verify_chain()
    assert found.ok, found.problems
    assert found.unclosed == ()


def test_what_is_missing_at_the_second_look_too_is_a_problem(monkeypatch):
    sink = Unordered()
    named_chains(monkeypatch, "a", "b", "c", "d")
    run(sink, "1", "2")
    run(sink, "3", mode="sync")
    sink._events = [e for e in sink._events if e.chain != "a"]

    def others() -> None:
        run(sink, "4")

    while_reading(sink, 1, others)
    assert sink.verify_chain().problems == ("chain a lacks the head that b-0 names",)


def test_a_second_look_reads_only_what_was_doubtful():
    events: list[AuditEvent] = []
    sink = InMemoryAuditBackend()
    for items in ("ab", "c", "d"):
        run(sink, *items)
    events = sink.events
    first = events[0].chain
    asked: list[Collection[str]] = []

    def again(chains: Collection[str]) -> Sequence[AuditEvent]:
        asked.append(set(chains))
        return [e for e in events if e.chain in chains]

    assert verify_events(events[:2] + events[3:], again=again).ok
    assert verify_events([e for e in events if e.chain != first], again=again).ok
    assert asked == [{first}, {first}]
    changed = AuditEvent.from_dict({**events[2].to_dict(), "actor": "somebody else"})
    assert not verify_events(events[:2] + events[3:], again=lambda _: [changed])


def test_a_file_is_verified_while_it_rotates():
    sink = FileAuditBackend("a.jsonl", max_bytes=1_500)
    run(sink, *"abcdef", mode="sync")
    assert os.path.exists("a.jsonl.1")
    while_reading(sink, 2, lambda: run(sink, *"ghijklmnopq", mode="sync"))
    found = sink.verify_chain()
    assert (found.ok, found.checked, found.chains) == (True, 8, 1)
    again = FileAuditBackend("a.jsonl").verify_chain()
    assert (again.ok, again.checked, again.chains) == (True, 21, 2)


def test_a_copy_of_a_trail_can_be_verified_by_whoever_may_only_read_it(tmp_path):
    run(FileAuditBackend("a.jsonl"), "a")
    os.unlink("a.jsonl.lock")
    copy = FileAuditBackend(tmp_path / "a.jsonl")
    assert copy.verify_chain().checked == 3
    assert copy.heads()
    assert not os.path.exists("a.jsonl.lock")
    nowhere = FileAuditBackend(tmp_path / "none" / "a.jsonl")
    assert (list(nowhere.read()), nowhere.heads(), nowhere.last("x")) == ([], {}, -1)
    assert not os.path.exists(tmp_path / "none")


class Counting:
    """Counts the bytes that are read from files."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.bytes = 0
        real = os.pread

        def pread(handle: int, size: int, place: int) -> bytes:
            data = real(handle, size, place)
            self.bytes += len(data)
            return data

        monkeypatch.setattr(os, "pread", pread)


class Rows(StoreAuditBackend):
    """Counts the records that are asked for."""

    def __init__(self, store: Any) -> None:
        super().__init__(store)
        self.rows = 0
        scan = store.scan

        def counted(*args: Any, **options: Any) -> Iterator[Any]:
            for record in scan(*args, **options):
                self.rows += 1
                yield record

        store.scan = counted


@pytest.mark.parametrize("kind", ["file", "rotating", "store"])
def test_opening_costs_the_same_however_many_runs_there_were(monkeypatch, kind):
    counting = Counting(monkeypatch)
    rows = Rows(MemoryStore())
    sink: AuditBackend = (
        rows if kind == "store" else FileAuditBackend("a.jsonl", max_bytes=3_000 if kind == "rotating" else 10**8)
    )
    cost: list[tuple[int, int]] = []
    for number in range(120):
        before = counting.bytes + rows.rows
        logger = AuditLogger(sink)
        logger.log(event(f"{number:03d}"))
        logger.flush()
        cost.append((counting.bytes + rows.rows - before, len(encode_event(linked_open(sink, logger)))))
        logger.close()
    earlier, later = (tuple(map(max, zip(*part, strict=True))) for part in (cost[60:90], cost[90:]))
    assert later == earlier
    assert later[0] < 20_000
    assert later[1] < (5_000 if kind == "store" else 600)


def linked_open(sink: AuditBackend, logger: AuditLogger) -> AuditEvent:
    return next(iter(sink.of_chains({logger._state.tip.chain})))


def heads(sink: AuditBackend) -> set[str]:
    """The items, or kinds, of the events that would be named."""
    by_hash = {e.hash: e for e in sink.read()}
    return {str(by_hash[hash].item or by_hash[hash].event_type) for hash in sink.heads().values()}


class Own(AuditBackend):
    """A sink of somebody who wrote two methods."""

    def __init__(self) -> None:
        self.events: list[AuditEvent] = []

    def write(self, events: Sequence[AuditEvent]) -> None:
        self.events.extend(events)

    def read(self) -> Iterator[AuditEvent]:
        return iter(reversed(self.events))


@pytest.mark.parametrize("make", [InMemoryAuditBackend, Own, lambda: FileAuditBackend("a.jsonl")])
def test_only_heads_that_nobody_named_are_named(make):
    sink = make()
    assert heads(sink) == set()
    run(sink, "a")
    assert heads(sink) == {"close"}
    first, second = AuditLogger(sink, AuditConfig(mode="sync")), AuditLogger(sink, AuditConfig(mode="sync"))
    first.log(event("b"))  # names the run before
    assert heads(sink) == {"b"}
    second.log(event("c"))  # names b
    assert heads(sink) == {"c"}
    first.log(event("d"))
    assert heads(sink) == {"c", "d"}
    first.close()  # names c
    assert heads(sink) == {"close"}
    second.close()
    assert len(sink.heads()) == 1
    assert sink.verify_chain().ok


@pytest.mark.parametrize("kind", ["file", "store", "memory"])
def test_whichever_whole_chain_is_removed_it_is_found(kind):
    sink: AuditBackend = {
        "file": lambda: FileAuditBackend("a.jsonl", max_bytes=2_000),
        "store": lambda: StoreAuditBackend(MemoryStore()),
        "memory": InMemoryAuditBackend,
    }[kind]()
    steady = AuditLogger(sink, AuditConfig(mode="sync"))
    steady.log(event("steady"))
    for number in range(40):
        run(sink, f"{number}")
        steady.log(event("steady"))
    steady.close()
    run(sink, "last")
    events = list(sink.read())
    chains = list(dict.fromkeys(e.chain for e in sorted(events, key=lambda e: (e.timestamp, e.sequence))))
    assert len(chains) == 42
    last = next(e.chain for e in events if e.item == "last")
    for chain in chains:
        found = verify_events([e for e in events if e.chain != chain])
        assert found.ok is (chain == last), chain  # nobody came after the last one
        end = max(e.sequence for e in events if e.chain == chain)
        found = verify_events([e for e in events if (e.chain, e.sequence) != (chain, end)])
        assert found.ok is (chain == last)
        assert found.ok is False or found.unclosed


def test_a_chain_that_writes_much_does_not_hide_those_that_wrote_little():
    for sink in (StoreAuditBackend(MemoryStore()), FileAuditBackend("a.jsonl")):
        steady = AuditLogger(sink, AuditConfig(mode="sync"))
        steady.log(event("steady"))
        run(sink, "little")
        for _ in range(150):
            steady.log(event("steady"))
        little = next(e.chain for e in sink.read() if e.item == "little")
        assert little in sink.heads()
        run(sink, "later")
        assert "lacks the head" in "".join(verify_events([e for e in sink.read() if e.chain != little]).problems)
        steady.close()


def test_lines_of_any_length_are_read_backwards(monkeypatch):
    sink = FileAuditBackend("a.jsonl", max_bytes=300_000)
    run(sink, *("x" * size for size in (10, 20_000, 1, 70_000, 16_384, 5, 250_000, 3)))
    lines = list(sink._backwards())
    assert [decode_event(line) for line in reversed(lines)] == list(sink.read())
    for most in (1, 500, 20_000, 100_000):
        some = list(sink._backwards(most))
        assert some == lines[: len(some)]
        assert sum(map(len, some)) <= most


def test_the_chain_of_a_short_run_beside_many_long_ones_cannot_be_removed_unnoticed():
    store = MemoryStore()
    sink = StoreAuditBackend(store)
    config = AuditConfig(mode="sync")
    long = [AuditLogger(sink, config) for _ in range(17)]

    def run(item: str) -> None:
        logger = AuditLogger(sink, config)
        logger.log(event(item))
        logger.close()
        for one in long:
            one.log(event("beside"))

    for number in range(5):
        run(f"short {number}")
    for one in long:
        one.close()
    (victim,) = {e.chain for e in sink.read() if e.item == "short 0"}
    assert sink.verify_chain().ok
    for head in list(store.scan(StoreQuery(where={"chain": victim}), collection=AUDIT)):
        store.delete_record(head.id, collection=AUDIT)
    assert not sink.verify_chain().ok


def test_a_chain_that_cannot_read_the_heads_of_others_says_so():
    class Blind(InMemoryAuditBackend):
        def heads(self) -> dict[str, str]:
            raise PermissionError("no reading here")

    sink = Blind()
    logger = AuditLogger(sink)
    logger.log(event())
    logger.close()
    opened, _, closed = sink.events
    for mark in (opened, closed):
        assert (mark.metadata["heads"], mark.metadata["heads_unread"]) == ({}, "PermissionError")
    assert sink.verify_chain().ok
    assert "no reading here" not in str(sink.events), "what an error says may be a secret"
