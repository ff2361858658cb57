"""Folders of other tools, and of the first system."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.copying.doubles import held
from truthstore import BaseStore, StoreConfigError, StoreReadError, copy_store
from truthstore.backends.filesystem import FileSystemStore
from truthstore.backends.memory import MemoryStore
from truthstore.copying import CopyConflictError
from truthstore.expectations import SUITES
from truthstore.versioning import VersionedStore

FIRST_SYSTEM = Path(__file__).parents[1] / "crash" / "first_system"


def validation(run: str, *, success: bool = True) -> dict[str, Any]:
    """A result as Great Expectations 1.x stores it."""
    return {
        "success": success,
        "suite_name": "orders suite",
        "results": [
            {
                "success": success,
                "expectation_config": {"type": "expect_column_values_to_not_be_null", "kwargs": {"column": "id"}},
                "result": {"element_count": 10, "unexpected_count": 0 if success else 3},
            }
        ],
        "statistics": {"evaluated_expectations": 1},
        "meta": {
            "great_expectations_version": "1.5.0",
            "run_id": {"run_name": run, "run_time": "2026-05-04T12:00:00+00:00"},
            "active_batch_definition": {"data_asset_name": "orders"},
        },
    }


@pytest.fixture
def project(tmp_path: Path) -> Path:
    """A project of Great Expectations with two results, its suites and its checkpoints."""
    results = tmp_path / "gx" / "uncommitted" / "validations" / "orders suite"
    for run, success in (("monday", True), ("tuesday", False)):
        path = results / run / "20260504T120000.000000Z" / "batch.json"
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps(validation(run, success=success)))
    suites = tmp_path / "gx" / "expectations"
    suites.mkdir()
    (suites / "orders suite.json").write_text('{"name": "orders suite", "expectations": []}')
    return tmp_path / "gx"


def test_a_project_of_great_expectations(project: Path, target: BaseStore[Any]):
    assert copy_store(project, target).copied == 2
    assert sorted(one.status.value for one in target.query()) == ["failure", "success"]
    assert {one.data_asset for one in target.query()} == {"orders"}


def test_the_same_results_are_copied_once(project: Path, target: BaseStore[Any]):
    copy_store(str(project), target)
    before = held(target)
    later = project / "uncommitted" / "validations" / "wednesday.json"
    later.write_text(json.dumps(validation("wednesday")))
    counts = copy_store(project, target)
    assert (counts.copied, counts.unchanged) == (1, 2)
    assert before.items() <= held(target).items()


def test_a_result_that_changed_is_a_conflict(project: Path, target: BaseStore[Any]):
    copy_store(project, target)
    (file,) = project.rglob("monday/**/*.json")
    file.write_text(json.dumps(validation("monday", success=False)))
    with pytest.raises(CopyConflictError, match="of 1 records"):
        copy_store(project, target)
    assert copy_store(project, target, conflict="source").copied == 1


def test_of_two_files_with_one_id_the_second_is_a_conflict(project: Path, target: BaseStore[Any]):
    copied = project / "uncommitted" / "validations" / "copied.json"
    copied.write_text(json.dumps(validation("monday")))
    assert copy_store(project, target).copied == 2, "the same content is the same record"
    copied.write_text(json.dumps(validation("monday", success=False)))
    with pytest.raises(CopyConflictError):
        copy_store(project, MemoryStore())


def test_layers_of_the_target_act_on_what_is_read(project: Path):
    with VersionedStore(MemoryStore()) as store:
        copy_store(project, store)
        assert [store.list_versions(id) for id in store.list_ids()] == [[1], [1]]


@pytest.mark.parametrize("content", ["not JSON", '{"some": "thing"}', "{}"])
def test_a_file_that_cannot_be_read_is_said_and_the_others_are_copied(
    content: str, project: Path, target: BaseStore[Any]
):
    broken = project / "uncommitted" / "validations" / "broken.json"
    broken.write_text(content)
    with pytest.raises(
        StoreReadError, match=r"1 files below .* cannot be read, first .*broken\.json.*all else is copied"
    ):
        copy_store(project, target)
    assert target.count() == 2


def test_a_folder_without_files(tmp_path: Path, target: BaseStore[Any]):
    with pytest.raises(StoreConfigError, match="there is no JSON file below"):
        copy_store(tmp_path, target)


def test_it_goes_with_no_option_about_stores(project: Path, target: BaseStore[Any]):
    with pytest.raises(TypeError, match="nor a folder"):
        copy_store(project, target, everything=True)


@pytest.mark.parametrize("kind", ["plain", "unusual"])
def test_a_folder_of_the_first_system_by_way_of_its_store_and_of_its_path(kind: str, tmp_path: Path):
    shutil.copytree(FIRST_SYSTEM / kind, tmp_path / "old")
    with FileSystemStore(base_path=tmp_path / "old") as old, MemoryStore() as one, MemoryStore() as other:
        counts = copy_store(old, one)
        assert counts.copied == old.count() > 1
        assert copy_store(old, one).unchanged == counts.copied
        copy_store(tmp_path / "old" / "default" / "validations", other)
        assert {key: one[:2] for key, one in held(other).items()} == {key: one[:2] for key, one in held(one).items()}


def test_suites_of_the_first_system(tmp_path: Path):
    folder = tmp_path / "expectations"
    folder.mkdir()
    suite = (
        '{"name": "orders", "data_asset": "orders", "created_at": "2024-05-01T12:00:00", "expectations":'
        ' [{"expectation_type": "in_range", "column": "price", "kwargs": {"max": Infinity}}]}'
    )
    (folder / "orders.json").write_text(suite)
    with MemoryStore() as store:
        suites = store.collection(SUITES)
        copy_store(folder, suites)
        assert suites.get("orders").expectations[0].kwargs == {"max": "Infinity"}
        assert copy_store(folder, suites).unchanged == 1
