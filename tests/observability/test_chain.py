"""Tamper evidence: every edit of a trail is found, also in one that grows, and a chain is opened at a small cost."""

from __future__ import annotations

import glob
import itertools
import os
import random
import secrets
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest

from tests.observability.doubles import Own, event, linked, make_sink, observed, run, verify_events
from truthstore.backends.filesystem import FileSystemStore
from truthstore.backends.memory import MemoryStore
from truthstore.model.query import StoreQuery
from truthstore.observability import AuditConfig
from truthstore.observability.audit import (
    AUDIT,
    AuditBackend,
    AuditEvent,
    AuditLogger,
    FileAuditBackend,
    InMemoryAuditBackend,
    StoreAuditBackend,
    Stored,
    chain as chains_module,
    file as file_module,
)
from truthstore.testing import SAMPLES, Sample


def chained() -> list[AuditEvent]:
    """Build the events of two chains, the second of which names the head of the first."""
    sink = InMemoryAuditBackend()
    for number in range(2):
        run(sink, *(f"{number}-{item}" for item in range(3)))
    return sink.events


def problems(events: Sequence[AuditEvent], *, in_order: bool = False) -> str:
    return "; ".join(verify_events(events, in_order=in_order).problems)


def test_every_kind_of_tampering_is_found():
    events = chained()
    assert not problems(events, in_order=True)
    changed = [*events]
    changed[2] = AuditEvent.from_dict({**events[2].to_dict(), "actor": "another"})
    assert "was changed" in problems(changed)
    changed[2] = changed[2].sealed()  # with a hash that fits
    assert "does not follow" in problems(changed)
    for gone in range(len(events)):
        rest = [*events[:gone], *events[gone + 1 :]]
        assert problems(rest) or verify_events(rest).unclosed
    assert "head" in problems(events[5:])  # the whole first chain
    assert "head" in problems([*events[:3], *events[5:]])  # its end
    swapped = [events[1], events[0], *events[2:]]
    assert not problems(swapped)
    assert "not in its place" in problems(swapped, in_order=True)


def test_the_same_event_again_is_repeated_and_another_one_in_its_place_is_a_problem():
    events = chained()
    found = verify_events([*events, events[1]], in_order=True)
    assert found
    assert (found.repeated, found.checked) == (1, len(events) + 1)
    other = AuditEvent.from_dict({**events[1].to_dict(), "actor": "another"})
    for again in (other, other.sealed()):
        assert "twice" in problems([*events, again])
        assert "twice" in problems([events[0], again, *events[1:]])
    assert "was changed" in problems([other, other])  # a forgery is not genuine for being there twice


EDITS: dict[str, Callable[[random.Random, bytes], bytes]] = {
    "a byte is another": lambda r, line: _edit(
        line, at := r.randrange(len(line)), 1, bytes([line[at] ^ r.randint(1, 255)])
    ),
    "a byte is gone": lambda r, line: _edit(line, r.randrange(len(line)), 1, b""),
    "a byte is added": lambda r, line: _edit(line, r.randrange(len(line) + 1), 0, bytes([r.randrange(256)])),
    "an unknown member": lambda r, line: line.replace(b"{", b'{"note":%d,' % r.randrange(9), 1),
    "an unknown member at the end": lambda r, line: line.replace(b'"}\n', b'","x":%d}\n' % r.randrange(9), 1),
    "a duplicate key": lambda r, line: line.replace(b"{", b'{"item":"i%d",' % r.randrange(9), 1),
    "a duplicate hash": lambda r, line: line.replace(b"{", b'{"hash":"%064x",' % r.getrandbits(256), 1),
    "a space": lambda r, line: line.replace(b":", b": ", 1),
    "another item": lambda r, line: line.replace(b'"item":"i', b'"item":"j', 1),
    "it is gone": lambda r, line: b"",
}


def _edit(line: bytes, start: int, length: int, by: bytes) -> bytes:
    return line[:start] + by + line[start + length :]


@pytest.mark.parametrize("edit", EDITS)
def test_any_single_edit_of_a_line_is_found(edit):
    rng = random.Random(edit)
    sink = FileAuditBackend("audit.jsonl")
    run(sink, *(f"i{number}" for number in range(4)))
    run(sink, *(f"i{number}" for number in range(4)))
    with open("audit.jsonl", "rb") as file:
        lines = file.read().splitlines(keepends=True)
    tried = 0
    while tried < 50:
        number = rng.randrange(len(lines))
        line = EDITS[edit](rng, lines[number])
        if line == lines[number]:
            continue
        tried += 1
        with open("audit.jsonl", "wb") as file:
            file.writelines([*lines[:number], line, *lines[number + 1 :]])
        found = sink.verify_chain()
        assert found.problems or found.unclosed, (number, line)
        assert found.problems or (number == len(lines) - 1 and not line), (number, line)


@pytest.fixture
def lines():
    run(FileAuditBackend("audit.jsonl"), *(f"i{number}" for number in range(5)), mode="sync")
    with open("audit.jsonl", "rb") as file:
        return file.read().splitlines(keepends=True)


@pytest.mark.parametrize(
    ("line", "old", "new", "problem"),
    [
        (2, b'"i1"', b'"\xff\xfe"', "line 3"),
        (2, b"{", b"x", "line 3"),
        (2, b"{", b'{"metadata":[],', "line 3"),
        (0, b'"heads":{}', b'"heads":["x"]', "-0"),
        (0, b'"heads":{}', b'"heads":"x"', "-0"),
        (0, b'"heads":{}', b'"heads":{"c":["x"]}', "-0"),
        (2, b'Z"', b'"', "-2"),  # a naive time
        (2, b"{", b'{"metadata":{"n":' + b"[" * 900 + b"]" * 900 + b"},", "-2"),
        (6, b"\n", b"", "line 7"),
    ],
)
def test_a_damaged_line_is_named_and_a_query_goes_on_behind_it(lines, line, old, new, problem):
    lines[line] = lines[line].replace(old, new, 1)
    with open("audit.jsonl", "wb") as file:
        file.writelines(lines)
    sink = FileAuditBackend("audit.jsonl")
    found = sink.verify_chain()
    assert any(problem in one for one in found.problems), found
    assert [e.item for e in sink.query(item="i3")] == ["i3"]
    assert len(sink.query()) == 7
    assert sink.heads()


def removed(path: str, data: bytes) -> None:
    os.unlink(path)


def written(change: Any) -> Any:
    def write(path: str, data: bytes) -> None:
        with open(path, "wb") as file:
            file.write(change(data))

    return write


@pytest.mark.parametrize(
    "tamper",
    [written(lambda data: data.replace(b"i1", b"i9")), written(lambda data: data[:40]), removed],
    ids=["edited", "truncated", "removed"],
)
def test_a_damaged_record_is_named_and_a_query_goes_on_behind_it(tmp_path, tamper):
    def opened() -> FileSystemStore[Sample]:
        return FileSystemStore(base_path=tmp_path / "s", collection=SAMPLES, durability="os")

    with observed(None, opened(), mode="sync") as store:
        for number in range(3):
            store.save(Sample(f"i{number}"))
    path = next(
        path
        for path in sorted(glob.glob(str(tmp_path / "s" / "**" / "*"), recursive=True))
        if "audit" in path and path.endswith("000000000002.json")
    )
    with open(path, "rb") as file:
        data = file.read()
    tamper(path, data)
    sink = StoreAuditBackend(opened())
    found = sink.verify_chain()
    assert any("-000000000002" in one for one in found.problems), found
    assert found.checked == 5
    assert [e.item for e in sink.query(item="i0")] == ["i0"]
    with observed(None, opened(), mode="sync") as store:
        store.save(Sample("later"))
        assert [e.item for e in store.audit.query(item="i2")] == ["i2"]


def named_chains(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    names_left = iter(names)
    monkeypatch.setattr(secrets, "token_hex", lambda _: next(names_left))


def while_reading(sink: AuditBackend, behind: int, work: Callable[[], object]) -> None:
    """Do something when so many events of the next look at everything were read."""
    stored, looks = sink.stored, itertools.count()

    def interrupted(since: object = None) -> Iterator[Stored]:
        is_first = not next(looks)
        for number, one in enumerate(stored(), 1):
            yield one
            if is_first and number == behind:
                work()

    sink.stored = interrupted  # type: ignore[method-assign]


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
    while_reading(sink, 1, lambda: run(sink, "4"))
    assert set(sink.verify_chain().problems) == {f"chain a lacks the head that b-{place} names" for place in (0, 2)}


def test_a_file_is_verified_while_it_rotates():
    sink = FileAuditBackend("a.jsonl", max_bytes=1_500)
    run(sink, *"abcdef", mode="sync")
    assert os.path.exists("a.jsonl.1")
    while_reading(sink, 2, lambda: run(sink, *"ghijklmnopq", mode="sync"))
    found = sink.verify_chain()
    assert (found.ok, found.checked, found.chains) == (True, 8, 1)
    again = FileAuditBackend("a.jsonl").verify_chain()
    assert (again.ok, again.checked, again.chains) == (True, 21, 2)


def heads(sink: AuditBackend) -> set[str]:
    """The items, or kinds, of the events that would be named."""
    by_hash = {e.hash: e for e in sink.read()}
    return {str(by_hash[hash].item or by_hash[hash].event_type) for hash in sink.heads().values()}


@pytest.mark.parametrize("kind", ["memory", "own", "file", "store"])
def test_the_newest_event_of_each_chain_is_named(tmp_path, kind):
    sink = make_sink(kind, tmp_path)
    assert heads(sink) == set()
    run(sink, "a")
    assert heads(sink) == {"close"}
    first, second = AuditLogger(sink, AuditConfig(mode="sync")), AuditLogger(sink, AuditConfig(mode="sync"))
    first.log(event("b"))
    second.log(event("c"))
    first.log(event("d"))
    assert heads(sink) == {"close", "c", "d"}
    first.close()
    second.close()
    assert len(sink.heads()) == 3
    assert sink.verify_chain().ok


@pytest.mark.parametrize("kind", ["rotating", "store", "memory"])
def test_whichever_whole_chain_is_removed_it_is_found(tmp_path, kind):
    sink = make_sink(kind, tmp_path)
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
        assert found.ok is (chain == last), chain  # none came after the last one
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


def test_a_short_chain_beside_many_long_ones_cannot_be_removed_unnoticed():
    store = MemoryStore()
    sink = StoreAuditBackend(store)
    long = [AuditLogger(sink, AuditConfig(mode="sync")) for _ in range(17)]
    for number in range(5):
        run(sink, f"short {number}", mode="sync")
        for one in long:
            one.log(event("beside"))
    for one in long:
        one.close()
    (victim,) = {e.chain for e in sink.read() if e.item == "short 0"}
    assert sink.verify_chain().ok
    for head in list(store.scan(StoreQuery(where={"chain": victim}), collection=AUDIT)):
        store.delete_record(head.id, collection=AUDIT)
    assert not sink.verify_chain().ok


@pytest.mark.parametrize("kind", ["file", "rotating", "store"])
def test_opening_looks_at_the_same_number_of_events_however_many_runs_there_were(tmp_path, monkeypatch, kind):
    sink = make_sink(kind, tmp_path)
    looked: list[int] = []
    if isinstance(sink, StoreAuditBackend):
        scan = sink._store.scan

        def counted(*args: Any, **options: Any) -> Iterator[Any]:
            for record in scan(*args, **options):
                looked.append(1)
                yield record

        monkeypatch.setattr(sink._store, "scan", counted)
    else:
        decode = Stored.decode

        def decoded(stored: Stored) -> AuditEvent:
            looked.append(1)
            return decode(stored)

        monkeypatch.setattr(Stored, "decode", decoded)
    cost: list[tuple[int, int]] = []
    for number in range(120):
        looked.clear()
        logger = AuditLogger(sink)
        logger.log(event(f"{number:03d}"))
        logger.flush()
        looks = len(looked)
        chain = logger._last.chain if logger._last else ""
        opened = next(e for e in sink.read() if e.event_type == "open" and e.chain == chain)
        cost.append((looks, len(opened.metadata["heads"])))
        logger.close()
    assert max(cost[60:90]) == max(cost[90:]) <= (200, 40)


def test_the_tail_of_a_file_is_read_backwards_in_whole_lines(monkeypatch):
    sink = FileAuditBackend("a.jsonl", max_bytes=300_000)
    run(sink, *("x" * size for size in (10, 20_000, 1, 70_000, 16_384, 5, 250_000, 3)))
    lines = [stored.data for stored in sink.stored()]

    def tail() -> list[bytes]:
        with sink._opened() as files:
            return list(file_module._tail(files))

    assert tail() == lines[::-1]
    for most in (1, 500, 20_000, 100_000):
        monkeypatch.setattr(file_module, "TAIL", most)
        some = tail()
        assert some == lines[::-1][: len(some)]
        assert sum(map(len, some)) <= most


def test_a_chain_that_cannot_read_the_heads_of_others_says_so():
    class Blind(InMemoryAuditBackend):
        def heads(self) -> dict[str, str]:
            raise PermissionError("no reading here")

    sink = Blind()
    run(sink, "a")
    opened, _, closed = sink.events
    for mark in (opened, closed):
        assert (mark.metadata["heads"], mark.metadata["heads_unread"]) == ({}, "PermissionError")
    assert sink.verify_chain().ok
    assert "no reading here" not in str(sink.events), "the text of an error may hold a secret"


def test_a_chain_names_a_bounded_number_of_heads():
    sink = Own()
    loggers = [AuditLogger(sink, AuditConfig(mode="sync")) for _ in range(40)]
    for logger in loggers:
        logger.log(event())
    for logger in loggers:
        logger.log(event())
    assert len(sink.heads()) == chains_module.MAX_HEADS
    assert linked("a")[0].metadata["heads"] == {}
