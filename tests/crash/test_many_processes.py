"""Many processes write to one folder: nothing is lost, and index and files agree."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from tests.crash.agreement import contents
from tests.crash.conftest import OpenFolder
from tests.crash.processes import at_once
from truthstore.backends.filesystem import FileSystemStore
from truthstore.errors import StoreConflictError
from truthstore.model.query import StoreQuery
from truthstore.model.record import ABSENT
from truthstore.testing.sample import SAMPLES, Sample
from truthstore.testing.suite.concurrency import increment

READER = """
import json, sys
from truthstore.backends.filesystem import FileSystemStore
from truthstore.testing.sample import SAMPLES
with FileSystemStore(base_path=sys.argv[1], collection=SAMPLES) as store:
    print(json.dumps([store.list_ids(), [s.count for s in map(store.get, store.list_ids())], store.verify().ok]))
"""


def other_store(folder: Path) -> FileSystemStore[Sample]:
    return FileSystemStore(base_path=folder, collection=SAMPLES)


def read_by_another_program(folder: Path) -> tuple[list[str], list[int], bool]:
    ran = subprocess.run([sys.executable, "-c", READER, str(folder)], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    ids, counts, ok = json.loads(ran.stdout)
    return ids, counts, ok


def test_eight_processes_save_400_results_and_all_are_found(store: FileSystemStore[Sample], folder: Path):
    def work(number: int) -> list[str]:
        with other_store(folder) as mine:
            return [mine.save(Sample(f"{number}-{i:02d}", count=100 * number + i)) for i in range(50)]

    acknowledged = sorted(id for ids in at_once(work, 8) for id in ids)
    assert len(acknowledged) == 400
    for reader in (store, other_store(folder)):
        found = contents(reader)
        assert sorted(found) == acknowledged
        assert sorted(s.count for s in found.values()) == [100 * n + i for n in range(8) for i in range(50)]
        assert reader.verify().ok
    ids, counts, ok = read_by_another_program(folder)
    assert sorted(ids) == acknowledged
    assert sorted(counts) == [100 * n + i for n in range(8) for i in range(50)]
    assert ok


def test_eight_processes_that_open_a_new_folder_at_once(folder: Path, open_store: OpenFolder):
    def work(number: int) -> str:
        with other_store(folder) as mine:
            return mine.save(Sample(str(number)))

    at_once(work, 8)
    assert sorted(contents(open_store())) == [str(n) for n in range(8)]


def test_four_processes_that_overwrite_the_same_400_leave_one_answer_each(store: FileSystemStore[Sample], folder: Path):
    ids = [f"{i:03d}" for i in range(400)]

    def work(number: int) -> None:
        with other_store(folder) as mine:
            turned = ids[100 * number :] + ids[: 100 * number]
            for id in turned if number % 2 else reversed(turned):
                mine.save(Sample(id, count=number, name=f"name {number}", details={"padding": str(number) * 500}))

    at_once(work, 4)
    for reader in (store, other_store(folder)):
        found = contents(reader)
        assert sorted(found) == ids
        for head in reader.entries():
            sample = found[head.id]
            assert head.meta.fields["count"] == sample.count, "the index describes another write than the file"
            assert sample.details == {"padding": str(sample.count) * 500}
        assert sum(reader.count(StoreQuery(where={"count": n})) for n in range(4)) == 400
        assert reader.verify().ok


def test_of_eight_processes_that_create_one_id_one_wins(store: FileSystemStore[Sample], folder: Path):
    def work(number: int) -> list[int]:
        won: list[int] = []
        with other_store(folder) as mine:
            for turn in range(20):
                try:
                    mine.save(Sample(f"turn {turn}", count=number), expect=ABSENT)
                except StoreConflictError:
                    continue
                won.append(turn)
        return won

    wins = at_once(work, 8)
    assert sorted(turn for won in wins for turn in won) == list(range(20))
    found = contents(store)
    assert {id: s.count for id, s in found.items()} == {f"turn {t}": n for n, won in enumerate(wins) for t in won}


def test_compare_and_set_by_four_processes_loses_no_increment(store: FileSystemStore[Sample], folder: Path):
    store.save(Sample("counter", count=0))

    def work(number: int) -> None:
        with other_store(folder) as mine:
            for _ in range(25):
                increment(mine, "counter")

    at_once(work, 4)
    assert contents(store)["counter"].count == 100
    assert store.list_ids(StoreQuery(where={"count": 100})) == ["counter"]


def test_four_processes_that_save_and_delete_the_same_ids_leave_one_answer(
    store: FileSystemStore[Sample], folder: Path
):
    ids = [str(i) for i in range(10)]

    def work(number: int) -> None:
        with other_store(folder) as mine:
            for turn in range(10):
                if number == 0:
                    mine.delete_many(ids)
                elif number == 1:
                    mine.save_many(Sample(id, count=turn) for id in ids)
                else:
                    mine.save(Sample(ids[turn], count=-turn))
                    mine.delete(ids[(turn * 3) % 10])

    at_once(work, 4)
    for reader in (store, other_store(folder)):
        contents(reader, ids)
        assert reader.verify().ok
