"""A store that is restored from a backup while machines still know what came after it: no ghosts, and nothing missing."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.storage.log.doubles import log_store
from truthstore import BaseStore, StoreCorruptError, get_store
from truthstore.model.record import ANY
from truthstore.storage.log import follower
from truthstore.storage.log.follower import OWN_ENTRIES
from truthstore.storage.log.store import LogStore
from truthstore.storage.objects.object_store import FORMAT_KEY
from truthstore.testing import SAMPLES, FaultyBlobs, ManualClock, Sample
from truthstore.testing.memory_blobs import MemoryBlobs

LOG = "_truthstore/log/samples/"
BACKUP = {"0": 0, "1": 1, "2": 2}


def content(store: BaseStore[Sample]) -> dict[str, int | None]:
    """Return the content of the store, which every view must agree on."""
    found = {id: store.get(id).count for id in store.list_ids()}
    assert {sample.id: sample.count for sample in store.query()} == found
    assert {head.id: head.meta.fields["count"] for head in store.entries()} == found
    assert store.verify().ok
    return found


def change(store: BaseStore[Sample]) -> None:
    """Do after the backup what a restored store must not show."""
    store.save(Sample("new", count=9))
    store.save(Sample("0", count=9))
    store.delete("1")
    store.save_many([Sample(f"more {i}", count=9) for i in range(3)])


class Place(MemoryBlobs):
    """Blobs that can be set back to how they were."""

    def backup(self) -> None:
        self._copy = dict(self._objects)

    def restore(self) -> None:
        self._objects.clear()
        self._objects.update(self._copy)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def place(clock: ManualClock) -> Place:
    place = Place()
    store = log_store(place, clock=clock)
    for id, count in BACKUP.items():
        store.save(Sample(id, count=count))
    place.backup()
    clock.advance(seconds=1)
    return place


@pytest.mark.parametrize("opened", ["open", "closed"])
@pytest.mark.parametrize("between", ["nothing", "compacted", "written", "compacted and written"])
def test_a_restored_place_has_no_ghosts(opened: str, between: str, place: Place, clock: ManualClock, tmp_path: Path):
    store = log_store(place, clock=clock, cache_dir=str(tmp_path))
    change(store)
    assert len(content(store)) == 6
    if between.startswith("compacted"):
        store.maintain()
        assert len(content(store)) == 6
    clock.advance(seconds=1)
    place.restore()
    wanted: dict[str, int | None] = dict(BACKUP)
    if between.endswith("written"):
        log_store(place, clock=clock).save_many([Sample("1", count=5), Sample("new", count=5)])
        wanted |= {"1": 5, "new": 5}
    if opened == "closed":
        store.close()
        store = log_store(place, clock=clock, cache_dir=str(tmp_path))
    assert content(store) == content(log_store(place, clock=clock)) == wanted
    store.save(Sample("newer", count=1))
    assert content(store) == content(log_store(place, clock=clock)) == {**wanted, "newer": 1}


def test_a_place_that_is_emptied_but_for_its_format_has_no_ghosts(place: Place, clock: ManualClock):
    store = log_store(place, clock=clock)
    assert content(store) == BACKUP
    for key in set(place._objects) - {FORMAT_KEY}:
        place.delete(key)
    assert content(store) == {}
    log_store(place, clock=clock).save(Sample("1", count=5))
    assert content(store) == {"1": 5}


@pytest.mark.parametrize("saves", [1, OWN_ENTRIES - 4, 2 * OWN_ENTRIES])
def test_a_writer_brings_nothing_back(saves: int, place: Place, clock: ManualClock):
    """It does not read: what it wrote before lies in no entry that it still has to write, and in no segment."""
    writer = log_store(place, clock=clock)
    change(writer)
    clock.advance(seconds=1)
    place.restore()
    wanted: dict[str, int | None] = {**BACKUP, **{f"then {i}": i for i in range(saves)}}
    for i in range(saves):
        writer.save(Sample(f"then {i}", count=i))
    fresh = log_store(place, clock=clock)
    assert content(fresh) == content(writer) == wanted
    clock.advance(minutes=5)
    fresh.maintain()
    cold = log_store(faulty := FaultyBlobs(place), clock=clock)
    assert len(cold.list_ids()) == len(wanted)
    assert not [call for call in faulty.calls if "_samples/" in call.key]  # no body has to be looked at any more
    assert content(cold) == content(writer) == wanted


def test_machines_that_share_a_replica_begin_again_together(place: Place, clock: ManualClock, tmp_path: Path):
    one, two = (log_store(place, clock=clock, cache_dir=str(tmp_path)) for _ in range(2))
    change(one)
    assert content(one) == content(two)
    place.restore()
    assert content(two) == content(one) == content(two) == BACKUP
    assert len(list(tmp_path.glob("*/*.db"))) == 1


def test_a_store_is_restored_to_a_state_that_never_was_on_this_machine(place: Place, clock: ManualClock):
    """Another machine wrote, and the copy was made, after this one had read last."""
    reader = log_store(place, clock=clock)
    assert content(reader) == BACKUP
    other = log_store(place, clock=clock)
    other.save(Sample("between", count=3))
    place.backup()
    generation = reader._replica.generation
    change(other)
    place.restore()
    assert content(reader) == {**BACKUP, "between": 3}
    assert reader._replica.generation == generation


class Racing(Place):
    """A write that is done between a reader's list and its look at the body."""

    def __init__(self) -> None:
        super().__init__()
        self.race: Any = None

    def get(self, key: str) -> tuple[bytes, str]:
        if self.race is not None and key == "_samples/a.json":
            race, self.race = self.race, None
            race()
        return super().get(key)


@pytest.mark.parametrize("what", ["save", "delete"])
def test_a_body_that_was_seen_ahead_of_the_log_may_be_wound_back(what: str, clock: ManualClock):
    place = Racing()
    writer = log_store(place, clock=clock)
    writer.save(Sample("a", count=1))
    reader = log_store(place, clock=clock)
    reader.initialize()
    place.backup()
    clock.advance(seconds=1)
    place.race = lambda: writer.save(Sample("a", count=2)) if what == "save" else writer.delete("a")
    assert [head.meta.fields["count"] for head in reader.entries()] == ([2] if what == "save" else [])
    place.restore()
    assert content(reader) == {"a": 1}


def test_a_write_that_only_looks_at_its_own_body_is_forgotten_when_wound_back(clock: ManualClock):
    """A query with bodies meets one that is newer than its row."""
    place = Racing()
    writer = log_store(place, clock=clock)
    writer.save_many([Sample("a", count=1), Sample("b", count=1)])
    reader = log_store(place, clock=clock)
    assert len(reader.list_ids()) == 2
    place.backup()
    clock.advance(seconds=1)
    place.race = lambda: writer.save(Sample("a", count=2))
    assert {sample.count for sample in reader.query()} == {1, 2}
    place.restore()
    assert content(reader) == {"a": 1, "b": 1}


@pytest.mark.parametrize("levels", [1, 2, 3])
def test_a_machine_that_was_away_reads_only_what_is_new(levels: int, place: Place, clock: ManualClock):
    writer = log_store(place, clock=clock)
    writer.save_many(Sample(f"old {i}", count=i) for i in range(100))
    writer.maintain()
    faulty = FaultyBlobs(place)
    reader = log_store(faulty, clock=clock)
    for i in range(5):
        writer.save(Sample(f"entry {i}", count=i))
    writer.save(Sample("entry 0", count=7))
    writer.delete("entry 1")
    wanted = content(reader)
    log = writer._index(SAMPLES).log
    old = {name for name in log.names() if name.startswith("1-")}
    for level in range(levels):
        writer.save(Sample(f"then {level}", count=level))
        wanted[f"then {level}"] = level
        log.replaced(log.read_all(name for name in log.names() if name not in old))
    generation = reader._replica.generation
    faulty.calls.clear()
    assert reader.count() == len(wanted)
    assert [call.method for call in faulty.calls].count("list") == 1
    assert len([call for call in faulty.calls if call.key.startswith(LOG)]) == 2
    assert content(reader) == wanted
    assert reader._replica.generation == generation


def test_a_machine_that_missed_how_deletes_were_forgotten_begins_again(place: Place, clock: ManualClock):
    writer, reader = log_store(place, clock=clock), log_store(place, clock=clock)
    writer.delete("1")
    assert set(content(reader)) == {"0", "2"}
    clock.advance(days=3)
    for _ in range(2):
        writer.save(Sample("2", count=3))
        writer.maintain()
    assert content(reader) == {"0": 0, "2": 3}


class LateList(Place):
    """A service that does not list some keys for a while."""

    hidden: tuple[str, ...] = ()

    def list(self, prefix: str, *, after: str | None = None) -> Iterator[str]:
        return (key for key in super().list(prefix, after=after) if key not in self.hidden)


def test_a_list_that_comes_late_is_no_restored_store(clock: ManualClock):
    place = LateList()
    store = log_store(place, clock=clock)
    store.save(Sample("a", count=1))
    assert content(store) == {"a": 1}
    store.save(Sample("b", count=2))
    place.hidden = tuple(place._objects)
    generation = store._replica.generation
    assert store.list_ids() == ["b", "a"] or set(store.list_ids()) == {"a", "b"}
    assert store._replica.generation == generation
    place.hidden = ()
    assert content(store) == {"a": 1, "b": 2}


def test_a_place_that_keeps_changing_under_its_reader_is_said(
    place: Place, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
):
    store = log_store(place, clock=clock)
    assert content(store) == BACKUP

    def replaced(*_: object, **__: object) -> None:
        raise follower.ReplacedError

    monkeypatch.setattr(follower.LogIndex, "follow", replaced)
    with pytest.raises(Exception, match="being emptied or restored: try again") as caught:
        store.count()
    assert caught.value.retryable  # type: ignore[attr-defined]


@pytest.mark.parametrize("lost", ["all", "some"])
def test_a_log_that_others_removed_is_completed_from_the_bodies(lost: str, place: Place, clock: ManualClock):
    store = log_store(place, clock=clock)
    change(store)
    wanted = content(store)
    removed = list(place.list(LOG))[: None if lost == "all" else 2]
    for key in removed:
        place.delete(key)
    assert content(store) == wanted
    assert content(log_store(place, clock=clock)) == wanted


@pytest.mark.parametrize("part", ["log", "bodies"])
def test_a_part_that_is_restored_alone_hides_nothing_new_and_shows_nothing_old(
    part: str, place: Place, clock: ManualClock
):
    store = log_store(place, clock=clock)
    store.save(Sample("new", count=9))
    store.delete("1")
    assert set(content(store)) == {"0", "2", "new"}
    for key in {*place._objects, *place._copy}:
        if key.startswith(LOG) == (part == "log") and key != FORMAT_KEY:
            place._objects.pop(key, None)
            if key in place._copy:
                place._objects[key] = place._copy[key]
    if part == "bodies":
        store.rebuild_index()
        assert content(store) == content(log_store(place, clock=clock)) == BACKUP
    else:
        assert set(store.list_ids()) >= {"0", "2", "new"}
        store.rebuild_index()
        assert set(content(store)) == set(content(log_store(place, clock=clock))) == {"0", "2", "new"}


class Unconditional(Place):
    """A service that ignores the condition of a delete, so that tombstones stay."""

    def delete(self, key: str, *, expect: Any = ANY) -> bool:
        return super().delete(key)


def test_tombstones_that_outlive_their_rows_are_no_items_that_a_log_lacks(
    clock: ManualClock, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("truthstore.storage.log.store.REPAIR_LIMIT", 2)
    place = Unconditional()
    store = log_store(place, clock=clock)
    store.save_many(Sample(f"{i}", count=i) for i in range(10))
    store.delete_many([f"{i}" for i in range(1, 10)])
    clock.advance(days=3)
    store.maintain()
    assert len(list(place.list("_samples/"))) == 10
    place.backup()
    store.save(Sample("new", count=9))
    assert set(content(store)) == {"0", "new"}
    place.restore()
    assert content(store) == {"0": 0}


def test_a_log_that_lacks_too_much_is_said(place: Place, clock: ManualClock, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("truthstore.storage.log.store.REPAIR_LIMIT", 2)
    store = log_store(place, clock=clock)
    assert content(store) == BACKUP
    for key in list(place.list(LOG)):
        place.delete(key)
    for _ in range(2):
        with pytest.raises(StoreCorruptError, match=r"lacks more than 2 items that are there: call rebuild_index\(\)"):
            store.count()
    assert store.rebuild_index() == 3
    assert content(store) == content(log_store(place, clock=clock)) == BACKUP


def test_a_folder_that_is_restored(tmp_path: Path):
    def open_store(cache: str) -> BaseStore[Sample]:
        return get_store(
            "filesystem", collection=SAMPLES, base_path=tmp_path / "store", index="log", cache_dir=tmp_path / cache
        )

    store = open_store("cache")
    store.save_many(Sample(id, count=count) for id, count in BACKUP.items())
    shutil.copytree(tmp_path / "store", tmp_path / "backup")
    change(store)
    assert len(content(store)) == 6
    shutil.rmtree(tmp_path / "store")
    shutil.copytree(tmp_path / "backup", tmp_path / "store")
    assert content(open_store("cache")) == content(open_store("fresh")) == BACKUP
    change(store)
    assert content(store) == content(open_store("cache")) == content(open_store("other"))
    assert isinstance(store, LogStore)
