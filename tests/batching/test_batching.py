"""Saves that wait, over both queues: seen by every read, stored in order, kept when they fail."""

from __future__ import annotations

import gc
import logging
import threading
import time
import weakref
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.batching.doubles import DOWN, too_large
from truthstore import ABSENT, RESULTS, StoreQuery, get_store, open_store
from truthstore.backends.filesystem import FileSystemStore
from truthstore.backends.memory import MemoryStore
from truthstore.batching import BatchConfig, BatchedStore
from truthstore.errors import (
    StoreClosedError,
    StoreConfigError,
    StoreConflictError,
    StoreConnectionError,
    StoreNotFoundError,
    StoreNotSupportedError,
    StoreWriteError,
)
from truthstore.runtime import exits as runtime_exits
from truthstore.testing import SAMPLES, Sample
from truthstore.versioning import VersionedStore


def test_a_batch_is_stored_with_one_call(make, base):
    store = make()
    for id in "abc":
        assert store.save(Sample(id)) == id
    assert base.calls == []
    assert (store.pending, store.figures()["pending"]) == (3, 3)
    store.flush()
    assert base.calls == [["a", "b", "c"]]
    assert store.pending == 0
    store.flush()
    assert base.calls == [["a", "b", "c"]]


def test_a_full_batch_in_memory_is_stored_at_once(base):
    store = BatchedStore(base, max_batch_size=3, flush_interval_seconds=None)
    for id in "abcd":
        store.save(Sample(id))
    assert base.calls == [["a", "b", "c"]]
    store.save_many([Sample(id) for id in "xyz"])
    assert base.calls[1:] == [["d"], ["x", "y", "z"]]
    small = BatchedStore(base, max_memory_mb=0.001, flush_interval_seconds=None)
    small.save(Sample("e"))
    assert small.pending == 1
    small.save(Sample("f", note="x" * 1000))
    assert small.pending == 0


def test_reads_see_what_waits(make, base):
    store = make()
    store.save(Sample("a", count=1))
    store.save(Sample("b"))
    store.flush()
    store.save(Sample("a", count=2))
    store.save(Sample("a", count=3))
    store.save(Sample("c"))
    revision = store.head("a").revision
    assert store.get("a").count == 3
    assert (store.exists("c"), store.exists("d")) == (True, False)
    assert list(store.get_many(["c", "b", "a"])) == ["c", "b", "a"]
    with pytest.raises(StoreNotFoundError):
        store.get("d")
    assert store.pending == 3
    assert sorted(store.list_ids()) == ["a", "b", "c"]
    assert (store.pending, store.head("a").revision, base.head("a").revision) == (0, revision, revision)


@pytest.mark.parametrize(
    "ask",
    [
        lambda store: store.count(),
        lambda store: len(store.query(StoreQuery(where={"count": 1}))),
        lambda store: store.aggregate()[0]["count"],
        lambda store: len(store.list_ids()),
        lambda store: len(list(store.entries())),
        lambda store: len(list(store.iter_query())),
        lambda store: store.stats()["items"],
        lambda store: store.verify().checked,
        lambda store: len(store.distinct("count")),
    ],
)
def test_questions_store_what_waits_first(make, ask):
    store = make()
    store.save(Sample("a", count=1))
    assert ask(store) == 1


def test_saves_of_one_id_are_stored_in_order(base, mode):
    versioned = VersionedStore(base)
    store = BatchedStore(versioned, **mode)
    for count in range(5):
        store.save(Sample("a", count=count))
        store.save(Sample(f"other {count}"))
    store.flush()
    assert [versioned.get("a", version=version).count for version in (1, 2, 3, 4, 5)] == [0, 1, 2, 3, 4]
    store.close()


def test_conditional_saves_store_what_waits_for_their_id_and_go_through(make, base):
    store = make()
    store.save(Sample("a", count=1))
    revision = store.head("a").revision
    with pytest.raises(StoreConflictError):
        store.save(Sample("a", count=2), expect=ABSENT)
    store.save(Sample("a", count=3), expect=revision)
    assert (base.get("a").count, store.get("a").count, store.pending) == (3, 3, 0)
    store.save(Sample("new"), expect=ABSENT)
    assert base.exists("new")


def test_deletes_store_what_waits_for_their_id_and_go_through(make, base):
    store = make()
    store.save(Sample("a"))
    assert store.delete("a")
    assert not store.delete("a")
    store.save_many([Sample("b"), Sample("c")])
    assert store.delete_many(["b", "c", "d"]) == 2
    store.flush()
    assert (store.count(), base.count()) == (0, 0)


def test_saves_with_options_of_layers_below_go_through(base, mode):
    versioned = VersionedStore(base)
    store = BatchedStore(versioned, **mode)
    store.save(Sample("a", count=1))
    store.save(Sample("a", count=2), message="the second")
    assert [info.message for info in versioned.get_version_history("a")] == ["the second", None]
    assert store.get("a", version=1).count == 1
    with pytest.raises(TypeError, match="no option"):
        store.save(Sample("a"), massage="x")
    store.close()


def test_a_store_that_is_down_fails_no_save(make, base):
    store = make()
    base.down = DOWN
    store.save(Sample("a"))
    store.save_many([Sample("b"), Sample("c")])
    assert store.get("a") == Sample("a")
    for ask in (store.flush, store.count, store.list_ids, store.maintain):
        with pytest.raises(StoreWriteError, match=r"3 items could not be stored, first 'a': .*no route.*they wait in"):
            ask()
    with pytest.raises(StoreWriteError, match="wait"):
        store.delete("b")
    assert store.stats()["batching"]["last_error"] == "StoreConnectionError: no route to host"
    assert store.stats()["batching"]["pending"] == 3
    assert store.figures()["pending_bytes"] > 100
    base.down = None
    assert store.count() == 3
    assert store.stats()["batching"] == {
        "pending": 0, "pending_bytes": 0, "rejected": 0, "delivered": 3, "last_error": None
    }  # fmt: skip


def test_a_batch_in_memory_that_is_full_takes_nothing_more(base):
    store = BatchedStore(base, max_batch_size=2, flush_interval_seconds=None)
    base.down = DOWN
    store.save(Sample("a"))
    store.save(Sample("b"))
    with pytest.raises(StoreWriteError, match="not saved: the batch in memory is full") as caught:
        store.save(Sample("c"))
    assert caught.value.retryable
    assert store.pending == 2
    with pytest.raises(StoreWriteError, match="2 items"):
        store.close()
    with pytest.raises(StoreWriteError, match="2 items"):
        store.close()
    base.down = None
    store.save(Sample("c"))
    store.close()
    assert sorted(base._base._lifecycle.closed and base.calls[-1]) == ["c"]


@pytest.mark.parametrize("error", [ValueError("unforeseen"), StoreConflictError("another writer was faster")])
def test_what_does_not_judge_an_item_keeps_it_waiting_and_holds_up_no_other(make, base, error):
    store = make()
    base.never["b"] = error
    for id in "abc":
        store.save(Sample(id))
    with pytest.raises(StoreWriteError, match=f"1 items could not be stored, first 'b': {type(error).__name__}"):
        store.flush()
    assert (store.pending, store.rejected()) == (1, [])
    assert base.list_ids(StoreQuery(order_by="id", ascending=True)) == ["a", "c"]
    base.never.clear()
    assert store.count() == 3


def test_what_the_store_rejects_is_listed_logged_and_raised_once(make, base, caplog):
    store = make()
    base.never["b"] = too_large()
    for id in "abc":
        store.save(Sample(id))
    with caplog.at_level(logging.ERROR, "truthstore"):
        assert store.count() == 2
        with pytest.raises(
            StoreWriteError, match=r"1 items .* 'b': StoreWriteError: the item is too large: rejected\(\)"
        ) as caught:
            store.flush()
        assert not caught.value.retryable
        store.flush()
    assert [
        record.getMessage().startswith("batching: the store will not take samples") for record in caplog.records
    ] == [True]
    (item,) = store.rejected()
    assert (item.id, item.error, item.load()) == ("b", "StoreWriteError: the item is too large", Sample("b"))
    assert store.figures()["rejected"] == 1
    assert store.retry_rejected(["a"]) == 0
    assert store.retry_rejected() == 1
    with pytest.raises(StoreWriteError, match="too large"):
        store.flush()
    base.never.clear()
    assert store.retry_rejected(["b"]) == 1
    assert (store.get("b"), store.count(), store.rejected()) == (Sample("b"), 3, [])


def test_closing_tells_of_what_was_rejected(make, base, mode):
    store = make()
    base.never["a"] = too_large()
    store.save(Sample("a"))
    with pytest.raises(StoreWriteError, match="too large"):
        store.close()
    store.close()
    with pytest.raises(StoreClosedError):
        base.list_ids()


def test_a_retry_does_not_undo_what_came_later(make, base):
    store = make()
    for id in "abc":
        base.never[id] = too_large()
        store.save(Sample(id, count=1))
    assert store.count() == 0
    base.never.clear()
    store.save(Sample("a", count=2))
    assert store.get("a").count == 2
    store.save(Sample("b", count=2), expect=ABSENT)
    assert not store.delete("c")
    store.count()
    assert store.retry_rejected() == 0
    assert [item.id for item in store.rejected()] == ["a", "b", "c"]
    assert store.discard_rejected(["a", "c"]) == 2
    assert [item.load().count for item in store.rejected()] == [1]
    assert store.discard_rejected() == 1
    assert {sample.id: sample.count for sample in store.query()} == {"a": 2, "b": 2}


def test_a_block_is_stored_with_one_call_at_its_end(base):
    store = BatchedStore(base, max_batch_size=2, flush_interval_seconds=None)
    store.save(Sample("before"))
    with store.batch():
        for id in "abcd":
            store.save(Sample(id))
        with store.batch():
            store.save_many([Sample("e"), Sample("f")])
        assert base.calls == []
        assert store.get("a") == Sample("a")
        assert list(store.get_many(["f", "before"])) == ["f", "before"]
    assert base.calls == [["before"], ["a", "b", "c", "d", "e", "f"]]


def test_nothing_of_a_block_that_raises_is_saved(make, base):
    store = make()

    def save_half() -> None:
        with store.batch():
            store.save(Sample("a"))
            raise KeyError

    with pytest.raises(KeyError):
        save_half()
    assert (store.pending, store.exists("a"), store.count()) == (0, False, 0)
    with store.batch():
        store.save(Sample("b"))
    assert store.list_ids() == ["b"]


def test_a_block_refuses_what_it_could_not_take_back(make):
    store = make()
    store.save(Sample("a"))
    with store.batch():
        store.save(Sample("b"))
        for use in (
            store.count,
            lambda: store.delete("a"),
            lambda: store.save(Sample("c"), expect=ABSENT),
            store.query,
        ):
            with pytest.raises(StoreNotSupportedError, match=r"within batch\(\)"):
                use()
    assert store.count() == 2


def test_a_block_belongs_to_its_thread(make):
    store = make()
    with store.batch():
        store.save(Sample("inside"))
        thread = threading.Thread(target=lambda: store.save(Sample("beside")))
        thread.start()
        thread.join()
        assert store.pending == 1
    assert store.count() == 2


def test_a_thread_stores_what_waits(base):
    store = BatchedStore(base, flush_interval_seconds=0.01)
    stored = threading.Event()

    def watch(changes):
        stored.set()

    store.subscribe(watch)
    store.save(Sample("a"))
    assert stored.wait(60)
    store.close()


def test_threads_save_while_a_thread_stores(base):
    store = BatchedStore(base, flush_interval_seconds=0.001, max_batch_size=7)

    def work(thread: int) -> None:
        for count in range(30):
            store.save(Sample(f"{thread} {count % 5}", count=count))
            assert store.get(f"{thread} {count % 5}").count == count
            if count % 10 == 9:
                assert store.count(StoreQuery(ids=[f"{thread} {count % 5}"])) == 1

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(work, range(6)))
    counts = {sample.id: sample.count for sample in store.query()}
    assert counts == {f"{thread} {n}": 25 + n for thread in range(6) for n in range(5)}
    assert sum(len(call) for call in base.calls) == 180
    store.close()


def test_collections_wait_side_by_side(make, base):
    store = make()
    results = store.collection(RESULTS)
    results.save(result := get_result())
    store.save(Sample("a"))
    assert (results.get(result.run_id), results.count(), store.pending) == (result, 1, 1)
    store.flush()
    assert base.collection(RESULTS).count() == base.count() == 1


def get_result():
    from truthstore.results import ValidationResult

    return ValidationResult.from_dict(
        {"run_id": "r", "run_time": "2026-05-04T12:00:00Z", "data_asset": "orders", "status": "success"}
    )


def test_a_closed_store_says_so(make):
    store = make()
    store.save(Sample("a"))
    store.close()
    for use in (store.flush, store.rejected, store.retry_rejected, store.discard_rejected, store.stats, store.maintain):
        with pytest.raises(StoreClosedError):
            use()
    with pytest.raises(StoreClosedError), store.batch():
        pass


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"max_batch_size": 0}, ValueError, "positive"),
        ({"max_batch_size": 1.5}, TypeError, "max_batch_size"),
        ({"max_memory_mb": 0}, ValueError, "max_memory_mb"),
        ({"flush_interval_seconds": float("inf")}, ValueError, "finite"),
        ({"flush_interval_seconds": "1"}, TypeError, "float"),
        ({"durable": 1}, TypeError, "durable"),
        ({"durable": True, "durability": "some"}, StoreConfigError, "durability"),
        ({"path": "queue.db"}, StoreConfigError, "durable=True"),
        ({"durable": True, "path": 5}, TypeError, "path"),
        ({"max_batch": 5}, TypeError, "max_batch_size"),
    ],
)
def test_options_that_make_no_sense_are_refused(base, options, error, message):
    with pytest.raises(error, match=message):
        BatchedStore(base, **options)


def test_a_configuration_may_be_given_whole(base):
    config = BatchConfig(max_batch_size=2, flush_interval_seconds=None)
    store = BatchedStore(base, config)
    store.save(Sample("a"))
    assert base.calls == []
    store.close()
    assert base.calls == [["a"]]


def test_a_layer_of_a_yaml_file(tmp_path):
    path = tmp_path / "truthstore.yaml"
    path.write_text("backend: filesystem\nbase_path: results\nlayers:\n  - {layer: batching, durable: true}\n")
    with open_store(path) as store:
        store.save(get_result())
        assert store.layer(BatchedStore).pending == 1
    with get_store("filesystem", base_path="results") as plain:
        assert plain.list_ids() == ["r"]


class Nameless(MemoryStore[Sample]):
    name = "nameless"


def test_a_durable_queue_needs_a_name(tmp_path):
    with pytest.raises(StoreConfigError, match=r"Nameless.*path="):
        BatchedStore(Nameless(collection=SAMPLES), durable=True)
    BatchedStore(Nameless(collection=SAMPLES), durable=True, path=tmp_path / "queue.db").close()


def test_a_store_that_is_down_is_opened_where_a_durable_queue_stands_before_it(base, mode):
    base.down = StoreConnectionError("s3", "down")
    store = BatchedStore(base, **mode)
    if not mode.get("durable"):
        with pytest.raises(StoreConnectionError):
            store.initialize()
        return
    with store:
        store.save(Sample("a"))
        assert store.pending == 1
    again = BatchedStore(base, **mode)
    assert again.get("a") == Sample("a")
    again.close()


def test_two_stores_do_not_share_a_queue_by_accident(tmp_path, monkeypatch):
    """Each default file is named after its store, and lies where the program was when it made the store."""
    made = tmp_path / "made"
    made.mkdir()
    monkeypatch.chdir(made)
    one, other = (
        BatchedStore(FileSystemStore(base_path=name, collection=SAMPLES), durable=True, flush_interval_seconds=None)
        for name in ("one", "other")
    )
    monkeypatch.chdir(tmp_path)
    one.save(Sample("a"))
    other.save(Sample("b"))
    assert len(list((made / ".truthstore" / "queue").glob("*.db"))) == 2
    assert not (tmp_path / ".truthstore").exists()
    assert (one.list_ids(), other.list_ids()) == (["a"], ["b"])
    one.close()
    other.close()


def test_stores_that_share_a_file_take_only_their_own(tmp_path):
    options: dict[str, Any] = {"durable": True, "path": tmp_path / "queue.db", "flush_interval_seconds": None}
    one, other = (
        BatchedStore(FileSystemStore(base_path=tmp_path / name, collection=SAMPLES), **options) for name in "ab"
    )
    one.save(Sample("a"))
    assert (other.pending, other.exists("a"), other.count()) == (0, False, 0)
    assert one.count() == 1
    one.close()
    other.close()


@pytest.mark.parametrize("interval", [3_600, None])
def test_a_store_that_is_dropped_without_closing_stores_what_waits(base, interval):
    """Soon by its thread, or at the end of the process."""
    store = BatchedStore(base, flush_interval_seconds=interval)
    store.save(Sample("a"))
    outbox = weakref.ref(store._outbox)
    del store
    gc.collect()
    if interval is None:
        runtime_exits._run()
    deadline = time.monotonic() + 60
    while not base.exists("a"):
        assert time.monotonic() < deadline, "it was lost"
        time.sleep(0.01)
    while outbox() is not None:
        assert time.monotonic() < deadline, "it is kept for ever"
        gc.collect()
        time.sleep(0.01)
