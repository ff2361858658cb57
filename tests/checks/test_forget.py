"""A personal value that is to be forgotten: where it is looked for, and what is left of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.checks.runs import HOUR, OPENERS, UNIQUE, check, run
from truthstore import RESULTS, BaseStore, StoreConnectionError, StoreQuery, StoreWriteError
from truthstore.backends.filesystem import FileSystemStore
from truthstore.backends.memory import MemoryStore
from truthstore.batching import BatchedStore
from truthstore.caching import CachedStore
from truthstore.checks import Trace
from truthstore.recording import record
from truthstore.retention import CustomPolicy, RetentionStore
from truthstore.versioning import VersionedStore

JANE = "jane@example.org"


def told(run_id: str = "a", **fields: Any) -> Any:
    one = check(
        "unique",
        "failure",
        message=f"2 values failed, such as '{JANE}'",
        observed=JANE,
        details={"sample_values": ["x", JANE], "by_value": {JANE: 2}},
    )
    return run(run_id, 1, check("first"), one, metadata={"note": f"asked {JANE}."}, tags={"by": JANE}, **fields)


def test_it_is_removed_from_every_part_that_holds_data(store: BaseStore[Any]):
    store.save_many([told(), run("b", 1, "success")])
    before = {id: store.head(id).revision for id in "ab"}
    (trace,) = [trace for trace in store.forget(JANE) if trace.place == "results"]
    assert (trace.id, trace.kept) == ("a", ())
    assert set(trace.removed) == {
        "metadata.note",
        "tags.by",
        "results[1].message",
        "results[1].observed",
        "results[1].details.sample_values[1]",
        "results[1].details.by_value (a key)",
    }
    found = store.get("a")
    assert found.results[1].message == "2 values failed, such as '[forgotten]'"
    assert found.results[1].details == {"sample_values": ["x", "[forgotten]"], "by_value": {"[forgotten]": 2}}
    assert (found.metadata, found.tags) == ({"note": "asked [forgotten]."}, {"by": "[forgotten]"})
    assert store.head("a").revision != before["a"]
    assert store.head("b").revision == before["b"]
    assert store.query(StoreQuery(text="jane")) == []
    assert [one.observed for one in store.checks.history(UNIQUE)] == [None, "[forgotten]"]
    assert store.forget(JANE) == []


def test_what_names_something_is_left_and_listed(store: BaseStore[Any]):
    store.save(run("jane", 1, check(column="jane", owner="jane", check_id="of jane"), asset="of jane"))
    (trace,) = store.forget("jane")
    kept = {"run_id", "data_asset", "results[0].column", "results[0].owner", "results[0].check_id"}
    assert (set(trace.kept), trace.removed) == (kept, ())
    assert store.get("jane").data_asset == "of jane"


@pytest.mark.parametrize(
    ("value", "text", "left"),
    [
        ("ann", "ann, Ann, anna and joann", "[forgotten], Ann, anna and joann"),
        ("a.b", "a.b and axb", "[forgotten] and axb"),
        (4711, "order 4711, not 47110", "order [forgotten], not 47110"),
        ("Müller GmbH", "(Müller GmbH)", "([forgotten])"),
    ],
)
def test_words_are_whole(value: object, text: str, left: str):
    store = MemoryStore()
    store.save(run("a", 1, check(message=text)))
    store.forget(value)
    assert store.get("a").results[0].message == left


def test_a_number_is_found_as_a_number_and_as_text():
    store = MemoryStore()
    sample = [4711, 4711.5, "4711", True, None, 47]
    store.save(run("a", 1, check("failing", "failure", details={"sample": sample}, count=4711)))
    store.forget(4711, replacement="?")
    (one,) = store.get("a").results
    assert (one.details["sample"], one.count) == (["?", 4711.5, "?", True, None, 47], 4711)


@pytest.mark.parametrize("value", ["", "  ", None])
def test_nothing_cannot_be_forgotten(value: object):
    with pytest.raises(ValueError, match="not empty"):
        MemoryStore().forget(value)


def test_the_replacement_must_not_hold_it():
    with pytest.raises(ValueError, match="holds the value"):
        MemoryStore().forget("x", replacement="x")


def test_older_versions_forget_too(tmp_path: Path):
    base = FileSystemStore(base_path=tmp_path, durability="os")
    store = VersionedStore(base, require_message=True)
    store.save(told(), message="first")
    store.save(run("a", 1, "success"), message="second")
    store.save(told("gone"), message="first")
    store.delete("gone")
    traces = store.forget(JANE)
    assert {(trace.id, trace.place) for trace in traces} == {("a", "version 1"), ("gone", "version 1")}
    assert store.list_versions("a") == [2, 1]
    assert store.get("a", version=1).results[1].details["sample_values"] == ["x", "[forgotten]"]
    assert store.get_version_info("a", 1).message == "first"
    assert store.verify().ok
    store.rollback("gone", 1, message="back")
    assert store.get("gone").tags == {"by": "[forgotten]"}
    store.save(told("b"), message="first")
    places = [trace.place for trace in store.forget(JANE)]
    assert places == ["results", "version 1"]
    assert store.get_version_info("b", 2).message == "a value was forgotten"
    assert JANE not in "".join(path.read_text() for path in tmp_path.rglob("*.json"))


def test_what_is_set_aside_or_archived_forgets_too(tmp_path: Path):
    archive = VersionedStore(MemoryStore())
    for action in ("quarantine", "archive"):
        policy = CustomPolicy(lambda _: False, "nothing")
        store = RetentionStore(
            MemoryStore(), policy, default_action=action, archive_store=archive, preserve_latest=False
        )
        store.save(told(action))
        store.run_cleanup()
        assert next((trace.id, trace.place) for trace in store.forget(JANE)) == (action, action)
        assert store.forget(JANE) == []
        if action == "quarantine":
            store.release(action)
            assert store.get(action).tags == {"by": "[forgotten]"}
    assert archive.get("archive").metadata == {"note": "asked [forgotten]."}


class Refusing(MemoryStore[Any]):
    """Takes some runs only, once it can be reached."""

    refused = "no"
    is_down = False

    def put_records(self, records: Any, **options: Any) -> Any:
        if self.is_down:
            raise StoreConnectionError("refusing", "it is down")
        if any(record.id == self.refused for record in records):
            raise StoreWriteError("too large")
        return super().put_records(records, **options)


def test_saves_that_a_queue_holds_or_that_were_rejected_forget_too(tmp_path: Path):
    base = Refusing()
    options: Any = {"durable": True, "path": tmp_path / "queue.db", "flush_interval_seconds": None}
    with BatchedStore(base, **options) as store:
        store.save(told("no"))
        with pytest.raises(StoreWriteError, match="too large"):
            store.flush()
        store.save(told("yes"))
        assert JANE.encode() in (tmp_path / "queue.db-wal").read_bytes()
        traces = store.forget(JANE)
        assert [(trace.id, trace.place) for trace in traces] == [("yes", "results"), ("no", "rejected save")]
        assert "metadata.note" in traces[1].removed
        (item,) = store.rejected()
        assert item.load().results[1].observed == "[forgotten]"
        base.refused = ""
        assert store.retry_rejected() == 1
        assert store.get("no").tags == {"by": "[forgotten]"}
        assert store.forget(JANE) == []
        base.is_down = True
        store.save(told("waits"))
        with pytest.raises(StoreWriteError, match="wait in the queue"):  # and forgets nothing by half
            store.forget(JANE)
        found: list[tuple[str, str]] = []
        store.change_copies(lambda place, item: found.append((place, item.id)), collection=RESULTS)
        assert found == [("queued save", "waits")]
        base.is_down = False


def test_what_a_recorder_still_holds_is_kept_and_forgotten_once_it_is_in_the_store(tmp_path: Path):
    store, journal = Refusing(), tmp_path / "journal.db"
    store.is_down = True
    with record(store, "orders", path=journal) as running:
        running.check("unique", passed=False, failed=1, message=f"such as {JANE}")
    store.is_down = False
    assert store.forget(JANE) == []
    with record(store, "orders", path=journal) as running:
        running.check("unique", passed=True)
    assert [trace.place for trace in store.forget(JANE)] == ["results"]


def test_a_cache_forgets_too():
    below = MemoryStore()
    store, other = CachedStore(below), CachedStore(below)
    store.save(told())
    for cached in (store, other):
        assert JANE in repr(cached.get("a"))
    store.forget(JANE)
    for cached in (store, other):
        assert JANE not in repr(cached.get("a"))


def test_notes_forget_too(store: BaseStore[Any]):
    store.save(run("a", 1, "failure"))
    store.acknowledge(UNIQUE, HOUR, by=JANE, reason=f"{JANE} asked for it")
    (trace,) = store.forget(JANE)
    assert (trace.place, trace.removed) == ("notes", ("by", "reason"))
    (note,) = store.checks.notes()
    assert (note.by, note.reason) == ("[forgotten]", "[forgotten] asked for it")


def test_an_item_that_cannot_be_read_is_named(tmp_path: Path):
    store = FileSystemStore(base_path=tmp_path, durability="os")
    store.save_many([told("a"), told("b")])
    next(tmp_path.rglob("a.json")).write_text("{")
    damaged, other = store.forget(JANE)
    assert damaged == Trace(id="a", place="results", kept=("body",))
    assert other.id == "b"


def test_a_writer_that_is_faster_is_not_overwritten(monkeypatch: pytest.MonkeyPatch):
    store = MemoryStore()
    store.save(told())
    save = MemoryStore.put_record
    raced: list[bool] = []

    def put(self: Any, record: Any, **call: Any) -> Any:
        if not raced:
            raced.append(True)
            other = told()
            other.metadata["more"] = JANE
            store.save(other)
        return save(self, record, **call)

    monkeypatch.setattr(MemoryStore, "put_record", put)
    (trace,) = store.forget(JANE)
    assert "metadata.more" in trace.removed
    assert store.get("a").metadata["more"] == "[forgotten]"
    assert len(trace.removed) == len(set(trace.removed))


@pytest.mark.parametrize("kind", ["memory", "stack on files"])
def test_figures_stay(kind: str, tmp_path: Path):
    with OPENERS[kind](tmp_path) as store:
        store.save(told(counted=False))
        before = store.get("a").statistics
        store.forget(JANE)
        assert store.get("a").statistics == before
