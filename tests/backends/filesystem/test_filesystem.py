"""The filesystem store: the suite and the machine, in each of its formats, with failing disks and crashes."""

from __future__ import annotations

import gc
import importlib.util
import os
import sys
from pathlib import Path
from typing import Any, ClassVar

import pytest

from tests.services.emptying import ways_of_folder
from tests.smoke import SMOKE
from truthstore import RESULTS, StoreConfigError, StoreError, StoreNotFoundError, StoreQuery, get_store
from truthstore.backends.filesystem import FileSystemStore, open_folder
from truthstore.backends.filesystem.files import FileBlobs
from truthstore.testing import SAMPLES, BlobsSuite, Sample, SimulatedCrashError, StoreSuite, store_machine
from truthstore.testing.sample import BASE_TIME
from truthstore.testing.strategies import NASTY_IDS
from truthstore.testing.suite.ids import IdTests
from truthstore.testing.suite.items import ItemTests, a_result
from truthstore.testing.suite.life import LifeTests
from truthstore.testing.suite.records import RecordTests


def load(name: str) -> Any:
    """A module beside this one: test folders are not packages."""
    path = Path(__file__).with_name(f"{name}.py")
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


FileFaults = load("file_faults").FileFaults


class TestFileSystemStore(StoreSuite):
    def make_store(self, location, *, collection=RESULTS, **options):
        return FileSystemStore(collection=collection, base_path=location, durability="os", **options)


class TestDurable(StoreSuite):
    smoke = SMOKE

    def make_store(self, location, *, collection=RESULTS, **options):
        return FileSystemStore(collection=collection, base_path=location, durability="fsync", **options)


class FormatSuite(ItemTests, LifeTests, IdTests, RecordTests):
    """What a format can break; queries go to the same index in each of them."""

    OPTIONS: ClassVar[dict[str, Any]]

    def make_store(self, location, *, collection=RESULTS, **options):
        return FileSystemStore(collection=collection, base_path=location, durability="os", **self.OPTIONS, **options)


class TestGzip(FormatSuite):
    OPTIONS: ClassVar[dict[str, Any]] = {"use_compression": True}


class TestZstd(FormatSuite):
    OPTIONS: ClassVar[dict[str, Any]] = {"compression": "zstd", "pretty_print": False}


class TestCompact(FormatSuite):
    OPTIONS: ClassVar[dict[str, Any]] = {"pretty_print": False, "prefix": "a/b"}


class TestMessagePack(FormatSuite):
    OPTIONS: ClassVar[dict[str, Any]] = {"serialization_format": "msgpack"}


class TestFileBlobs(BlobsSuite):
    def make_blobs(self, location):
        return FileBlobs(location, durability="os")


def make_store(location: Path, **options: Any) -> FileSystemStore[Sample]:
    options = {"durability": "os", **options}
    return FileSystemStore(collection=SAMPLES, base_path=location, **options)


def make_faulty(location: Path) -> tuple[FileSystemStore[Sample], Any]:
    store = make_store(location)
    store.initialize()
    return store, FileFaults(store)


def empty_location(location: Path, way: int) -> None:
    ways = ways_of_folder(location)
    ways[way % len(ways)]()


TestTwoWriters = store_machine(make_store, make_faulty=make_faulty, empty_location=empty_location, writers=2)
TestDurableMachine = store_machine(
    lambda location: make_store(location, durability="fsync"), empty_location=empty_location, writers=2, effort=0.1
)
TestGzipMachine = store_machine(lambda location: make_store(location, compression="gzip"), effort=0.1)
TestZstdMachine = store_machine(
    lambda location: make_store(location, compression="zstd", pretty_print=False), writers=2, effort=0.1
)


def views(store: FileSystemStore[Sample]) -> list[tuple[str, int | None]]:
    """What the store holds, which every view must agree on."""
    found = [(sample.id, sample.count) for sample in store.query(StoreQuery(order_by="id", ascending=True))]
    ids = [id for id, _ in found]
    assert store.list_ids(StoreQuery(order_by="id", ascending=True)) == ids
    assert store.count() == len(ids)
    for id in "abcd":
        assert store.exists(id) is (id in ids)
    assert [(id, store.get(id).count) for id in ids] == found
    assert [(id, store.head(id).meta.fields["count"]) for id in ids] == found
    verification = store.verify()
    assert verification.ok, verification
    return found


OPERATIONS: dict[str, tuple[Any, list[list[tuple[str, int]]]]] = {
    "create": (lambda store: store.save(Sample("b", count=2)), [[("a", 1)], [("a", 1), ("b", 2)]]),
    "overwrite": (lambda store: store.save(Sample("a", count=2)), [[("a", 1)], [("a", 2)]]),
    "delete": (lambda store: store.delete("a"), [[("a", 1)], []]),
    "many": (
        lambda store: store.save_many([Sample("a", count=2), Sample("b", count=2)]),
        [[("a", 1)], [("a", 2), ("b", 2)], [("a", 1), ("b", 2)], [("a", 2)]],  # one whose file fails costs no other
    ),
}


@pytest.mark.parametrize("durability", ["os", "fsync"])
@pytest.mark.parametrize("kind", ["before", "after", "crash-before", "crash-after"])
@pytest.mark.parametrize("name", OPERATIONS)
def test_at_every_fault_point_a_write_is_done_or_not(name: str, kind: Any, durability: str, tmp_path: Path):
    """Every call that a write makes fails once, in every way: to the operating system and to SQLite."""
    operation, outcomes = OPERATIONS[name]
    points = 0
    while True:
        place = tmp_path / str(points)
        with make_store(place) as before:
            before.save(Sample("a", count=1))
        store = make_store(place, durability=durability)
        store.initialize()
        faults = FileFaults(store)
        faults.arm(points + 1, kind)
        acknowledged = False
        try:
            operation(store)
            acknowledged = True
        except (StoreError, SimulatedCrashError):
            pass
        finally:
            unreached = faults.disarm()
        point = f"call {points + 1}: {faults.calls[points : points + 1]}"
        with make_store(place) as reader:
            found = views(reader)
            assert found in outcomes, point
            assert not acknowledged or found == outcomes[1], point
            if not faults.crashed:
                assert views(store) == found, point
                store.close()
            # What is left behind hinders nobody.
            reader.save(Sample("a", count=3))
            reader.save(Sample("c", count=3))
            assert dict(views(reader))["a"] == 3
        if unreached:
            break
        points += 1
    assert points >= 3


READS: dict[str, tuple[Any, Any]] = {
    "get": (lambda store: store.get("a").count, 1),
    "get missing": (lambda store: store.get_many(["b"], missing="skip"), {}),
    "exists": (lambda store: store.exists("a"), True),
    "exists not": (lambda store: store.exists("b"), False),
    "head": (lambda store: store.head("a").meta.fields["count"], 1),
    "list_ids": (lambda store: store.list_ids(), ["a", "d"]),
    "query": (lambda store: [sample.count for sample in store.query()], [1, 4]),
    "count": (lambda store: store.count(StoreQuery(tags={"t": "1"})), 1),
    "text": (lambda store: store.list_ids(StoreQuery(text="words")), ["a"]),
    "rebuild_index": (lambda store: store.rebuild_index(), 2),
    "verify": (lambda store: (store.verify().checked, store.verify().ok), (2, True)),
}


@pytest.mark.parametrize("pending", [False, True], ids=["at rest", "after a crash"])
@pytest.mark.parametrize("name", READS)
def test_at_every_fault_point_a_read_fails_or_is_right(name: str, pending: bool, tmp_path: Path):
    """Never an empty answer, or one that is not the store's, because something failed."""
    operation, expected = READS[name]
    points = 0
    while True:
        place = tmp_path / str(points)
        store = make_store(place)
        store.save(Sample("d", count=4))
        if pending:
            crashed = FileFaults(store)
            crashed.arm(1, "crash-after", "commit")
            with pytest.raises(SimulatedCrashError):
                store.save(Sample("a", count=1, note="some words", tags={"t": "1"}, moment=BASE_TIME))
            crashed.disarm()
            store = make_store(place)
        else:
            store.save(Sample("a", count=1, note="some words", tags={"t": "1"}, moment=BASE_TIME))
        faults = FileFaults(store)
        faults.arm(points + 1, "before")
        try:
            assert operation(store) == expected
        except StoreError as error:
            failure: StoreError | None = error
        else:
            failure = None
        finally:
            unreached = faults.disarm()
        assert not isinstance(failure, StoreNotFoundError)
        assert operation(store) == expected, f"afterwards, call {points + 1}: {faults.calls[points : points + 1]}"
        store.close()
        if unreached:
            break
        points += 1


@pytest.mark.parametrize("kind", ["before", "after", "crash-before", "crash-after"])
def test_at_every_fault_point_opening_fails_or_works(kind: Any, tmp_path: Path):
    """What the store raises is its own, and nothing is lost."""
    with make_store(tmp_path) as store:
        store.save(Sample("a", count=1))
    points = 0
    while True:
        store = make_store(tmp_path)
        faults = FileFaults(store)
        faults.arm(points + 1, kind)
        try:
            store.initialize()
            assert store.count() == 1
        except (StoreError, SimulatedCrashError):
            pass
        finally:
            unreached = faults.disarm()
        if not faults.crashed:
            assert views(store) == [("a", 1)]
            store.close()
        with make_store(tmp_path) as reader:
            assert views(reader) == [("a", 1)]
        if unreached:
            break
        points += 1
    assert points >= 3


def test_another_format_is_refused(tmp_path: Path):
    with make_store(tmp_path) as store:
        store.save(Sample("a"))
    for options in ({"compression": "gzip"}, {"serialization_format": "msgpack"}, {"file_extension": ".result"}):
        with pytest.raises(StoreConfigError, match="copy_store"):
            make_store(tmp_path, **options).list_ids()
    with make_store(tmp_path, pretty_print=False) as store:
        assert store.list_ids() == ["a"]


def test_two_names_for_one_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    with make_store(Path("data")) as one, make_store(tmp_path / "data") as two:
        one.save(Sample("a"))
        assert two.exists("a")
        monkeypatch.chdir("/")
        one.save(Sample("b"))
        assert sorted(two.list_ids()) == ["a", "b"]


@pytest.mark.parametrize("index", ["sqlite", "log"])
@pytest.mark.parametrize("path", ["~/data", Path("~/data")], ids=["str", "Path"])
def test_a_tilde_is_the_home_of_the_user(path: Any, index: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    home, here = tmp_path / "home", tmp_path / "here"
    here.mkdir()
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.chdir(here)
    options: dict[str, Any] = {"cache_dir": tmp_path / "cache"} if index == "log" else {}
    with get_store("filesystem", base_path=path, index=index, **options) as store:
        store.save(a_result("run_1"))
    assert (home / "data" / "default" / "validations" / "run_1.json").is_file()
    assert not list(here.iterdir())


def test_files_are_where_they_are_promised(tmp_path: Path):
    with get_store("filesystem", base_path=tmp_path) as store:
        store.save(a_result("run_1"))
        text = (tmp_path / "default" / "validations" / "run_1.json").read_text(encoding="utf-8")
        assert text.startswith('{\n  "run_id": "run_1",\n')
    with get_store("filesystem", base_path=tmp_path, namespace="other", use_compression=True) as store:
        store.save(a_result("run_1"))
        assert (tmp_path / "other" / "validations" / "run_1.json.gz").read_bytes()[:2] == b"\x1f\x8b"


def test_nothing_leaves_the_root(tmp_path: Path):
    with make_store(tmp_path / "root") as store:
        store.save_many(Sample(id) for id in NASTY_IDS)
    assert [path.name for path in tmp_path.iterdir()] == ["root"]
    folder = tmp_path / "root" / "default" / "validations" / "_samples"
    assert len(list(folder.iterdir())) == len(NASTY_IDS)
    assert len({path.name.casefold() for path in folder.iterdir()}) == len(NASTY_IDS)


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="descriptors are counted in /proc")
@pytest.mark.parametrize("index", ["sqlite", "log"])
def test_a_store_that_is_dropped_without_close_gives_its_descriptors_back(index: str, tmp_path: Path):
    """With Python 3.13 a connection that is forgotten open is a warning too, which is an error here."""
    options: dict[str, Any] = {"cache_dir": tmp_path / "cache"} if index == "log" else {}
    gc.collect()
    before = len(os.listdir("/proc/self/fd"))
    store = open_folder(base_path=tmp_path / "store", index=index, collection=SAMPLES, **options)
    store.save(Sample("a"))
    assert store.count() == 1
    del store
    gc.collect()
    assert len(os.listdir("/proc/self/fd")) == before


def test_verify_names_the_runs_whose_rows_in_the_index_are_not_those_of_the_body(tmp_path: Path):
    with FileSystemStore(base_path=tmp_path, durability="os") as store:
        store.save_many([a_result(name) for name in ("altered", "fewer", "whole")])
        assert store.verify().ok  # which spreads the rows over their table
        (table,) = store._catalog._row_tables.values()
        number = f"(SELECT seq FROM {table.parent.name} WHERE id = ?)"
        for change, run_id in (
            (f"UPDATE {{}} SET {table.names['status']} = 'success'", "altered"),
            ("DELETE FROM {}", "fewer"),
        ):
            with store._catalog.transaction() as connection:
                connection.execute(f"{change.format(table.name)} WHERE place >> 24 = {number}", (run_id,))
        found = store.verify()
        assert set(found.changed) == {"altered", "fewer"}
        store.rebuild_index()
        assert store.verify().ok
