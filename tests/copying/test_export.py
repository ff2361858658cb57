"""A store in one file: what is in it, and what is said of a file that is not whole."""

from __future__ import annotations

import gzip
import io
import json
import tarfile
from pathlib import Path
from typing import Any

import pytest

from tests.copying.doubles import Spoiling, fill, held, result, versioned
from truthstore import (
    BaseStore,
    StoreConfigError,
    StoreCorruptError,
    StoreQuery,
    StoreReadError,
    StoreWriteError,
    export_store,
    restore_store,
)
from truthstore.backends.filesystem import FileSystemStore
from truthstore.backends.memory import MemoryStore
from truthstore.copying import CopyConflictError
from truthstore.copying.archive import LAST, writing
from truthstore.testing import SAMPLES, Sample
from truthstore.versioning import VersionedStore


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "export.tar.gz"


@pytest.fixture
def exported(source: BaseStore[Any], file: Path) -> Path:
    export_store(source, file)
    return file


def members(file: Path) -> dict[str, bytes]:
    with tarfile.open(file) as tar:
        return {member.name: (tar.extractfile(member) or io.BytesIO()).read() for member in tar}


def write(file: Path, contents: dict[str, bytes]) -> None:
    """Write a tar file with other contents, as another program might."""
    with tarfile.open(file, "w:gz") as tar:
        for name, data in contents.items():
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))


def test_everything_comes_back_from_one_file(file: Path):
    with versioned(MemoryStore()) as source, versioned(MemoryStore()) as target:
        fill(source)
        source.audit.flush()
        before = held(source)
        written = export_store(source, file)
        read = restore_store(file, target)
        assert written.copied == read.copied == len(before)
        assert before.items() <= held(target).items()
        assert target.list_versions("run-0004") == [2, 1]
        assert len(list(target.iter_checks("streamed"))) == 5
        assert restore_store(file, target).copied == 0


def test_extracted_it_is_a_folder_store(exported: Path, source: BaseStore[Any], tmp_path: Path):
    with tarfile.open(exported) as tar:
        tar.extractall(tmp_path / "out" / "default" / "validations", filter="data")
    with FileSystemStore(base_path=tmp_path / "out") as store:
        assert held(store) == held(source)
        assert store.verify().ok


def test_its_documents_can_be_read_by_anyone(exported: Path):
    found = members(exported)
    assert json.loads(found["run-0003.json"])["data_asset"] == "orders"
    about = json.loads(found[LAST])
    assert about["source"].startswith("file://")
    assert len(about["sha256"]) == 64


def test_a_query_exports_its_items(source: BaseStore[Any], file: Path, target: BaseStore[Any]):
    export_store(source, file, StoreQuery(status="failure"))
    restore_store(file, target)
    assert sorted(target.list_ids()) == ["run-0000", "run-0003", "run-0006", "run-0009"]


def test_a_collection_of_ones_own_needs_its_declaration(file: Path):
    with MemoryStore(collection=SAMPLES) as source, MemoryStore() as target:
        source.save(Sample("a", name="A"))
        export_store(source, file)
        with pytest.raises(StoreConfigError, match="samples"):
            restore_store(file, target)
        restore_store(file, target, collections=[SAMPLES])
        assert held(target, [SAMPLES]) == held(source, [SAMPLES])


def test_tombstones_and_other_encodings(file: Path, tmp_path: Path):
    packed = FileSystemStore(base_path=tmp_path / "packed", serialization_format="msgpack", compression="gzip")
    with VersionedStore(packed) as source, VersionedStore(MemoryStore()) as target:
        source.save(result(1))
        source.save(result(2))
        source.delete("run-0002")
        export_store(source, file)
        restore_store(file, target)
        assert held(target) == held(source)


def test_a_conflict_is_one_of_a_copy(exported: Path, target: BaseStore[Any]):
    target.save(result(3))
    with pytest.raises(CopyConflictError, match="run-0003"):
        restore_store(exported, target)
    assert restore_store(exported, target, conflict="source").copied == 1


def test_a_file_that_is_there_is_replaced_by_a_whole_one_only(exported: Path, source: BaseStore[Any]):
    before = exported.read_bytes()

    class Failing(Spoiling):
        def get_records(self, ids: Any, **options: Any) -> Any:
            raise StoreReadError("the disk is gone")

    with pytest.raises(StoreReadError, match="the disk is gone"):
        export_store(Failing(source), exported)
    assert exported.read_bytes() == before


def test_two_exports_to_one_file(source: BaseStore[Any], file: Path):
    with writing(str(file), ""), pytest.raises(StoreWriteError, match="another export is writing it"):
        export_store(source, file)


def test_a_folder_that_is_not_there(source: BaseStore[Any], tmp_path: Path):
    with pytest.raises(StoreWriteError, match="No such file or directory"):
        export_store(source, tmp_path / "nowhere" / "export.tar.gz")


class TestDamage:
    """Whatever is not as it was written is refused before anything is restored."""

    @pytest.fixture(autouse=True)
    def nothing_is_restored(self, target: BaseStore[Any]) -> Any:
        yield
        assert target.count() == 0

    def test_a_file_that_was_cut_off_anywhere(self, exported: Path, target: BaseStore[Any]):
        whole = exported.read_bytes()
        for length in {*range(0, len(whole), 97), len(whole) - 1}:
            exported.write_bytes(whole[:length])
            with pytest.raises(StoreCorruptError, match=r"damaged or cut off after"):
                restore_store(exported, target)

    def test_a_bit_that_flipped_anywhere_is_refused_or_means_nothing(self, exported: Path, source: BaseStore[Any]):
        whole, expected = exported.read_bytes(), held(source)
        for place in range(0, len(whole), 61):
            exported.write_bytes(whole[:place] + bytes([whole[place] ^ 16]) + whole[place + 1 :])
            with MemoryStore() as store:
                try:
                    restore_store(exported, store)
                except (StoreCorruptError, StoreConfigError):
                    assert held(store) == {}
                else:
                    assert held(store) == expected

    def test_a_damaged_document_is_named(self, exported: Path, target: BaseStore[Any]):
        found = members(exported)
        found["run-0003.json"] = found["run-0003.json"].replace(b"orders", b"orderz")
        write(exported, found)
        with pytest.raises(StoreCorruptError, match="results 'run-0003' is damaged: its checksum is wrong") as error:
            restore_store(exported, target)
        assert error.value.identifier == "run-0003"

    @pytest.mark.parametrize("change", ["removed", "added", "renamed", "swapped"])
    def test_documents_that_another_program_changed(self, change: str, exported: Path, target: BaseStore[Any]):
        found = members(exported)
        last = found.pop(LAST)
        one, two = "run-0003.json", "run-0004.json"
        if change == "removed":
            del found[one]
        elif change == "added":
            found["run-0099.json"] = (
                b'{"run_id": "run-0099", "run_time": "2026-05-04T12:00:00Z", "data_asset": "x", "status": "success"}'
            )
        elif change == "renamed":
            found["run-0099.json"] = found.pop(one)
        else:
            found[one], found[two] = found[two], found[one]
        write(exported, {**found, LAST: last})
        with pytest.raises(StoreCorruptError, match="documents were changed, added or removed"):
            restore_store(exported, target)

    def test_an_export_without_its_end(self, exported: Path, target: BaseStore[Any]):
        found = members(exported)
        del found[LAST]
        write(exported, found)
        with pytest.raises(StoreCorruptError, match="the last member is missing"):
            restore_store(exported, target)

    @pytest.mark.parametrize("data", [b"", b"no export", gzip.compress(b"no export")], ids=["empty", "text", "gzip"])
    def test_a_file_that_is_no_export(self, data: bytes, file: Path, target: BaseStore[Any]):
        file.write_bytes(data)
        with pytest.raises(StoreCorruptError, match="is no export"):
            restore_store(file, target)

    def test_an_export_of_a_newer_version(self, exported: Path, target: BaseStore[Any]):
        found = members(exported)
        name = "_truthstore/format.json"
        found[name] = found[name].replace(b'"format":1', b'"format":2')
        write(exported, found)
        with pytest.raises(StoreConfigError, match=r"format 2.*upgrade truthstore"):
            restore_store(exported, target)

    def test_a_file_that_is_not_there(self, file: Path, target: BaseStore[Any]):
        with pytest.raises(StoreReadError, match="cannot be read: No such file"):
            restore_store(file, target)
