"""Folders of other tools, and of the first system."""

from __future__ import annotations

import gzip
import json
import shutil
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from tests.copying.doubles import held
from tests.services.azurite import azurite
from tests.services.gcs import gcs
from tests.services.process import started
from tests.services.s3 import S3Server, moto
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
        StoreReadError, match=r"1 documents below .* cannot be read, first .*broken\.json.*all else is copied"
    ):
        copy_store(project, target)
    assert target.count() == 2


def test_a_folder_without_files(tmp_path: Path, target: BaseStore[Any]):
    with pytest.raises(StoreConfigError, match="there is no JSON document below"):
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


@pytest.fixture(scope="module")
def server():
    yield from started(moto())


@pytest.mark.xdist_group("s3")
class TestBuckets:
    """Objects below a URL are read as files below a folder; nothing is written beside them."""

    @pytest.fixture
    def objects(self, server: S3Server, monkeypatch) -> Any:
        monkeypatch.setenv("AWS_ENDPOINT_URL", server.url)
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", server.access_key_id)
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", server.secret_access_key)
        monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
        client = server.client()
        client.create_bucket(Bucket="results")
        yield client
        for key in keys(client):
            client.delete_object(Bucket="results", Key=key)
        client.delete_bucket(Bucket="results")

    def test_one_of_the_first_system(self, objects: Any, target: BaseStore[Any]):
        """Results lie gzipped in `results`, and an index beside that folder may lack some."""
        put = first_system_results()
        for key, body in put.items():
            objects.put_object(Bucket="results", Key=key, Body=body)
        url = "s3://results/prod/default/results"
        assert (copy_store(url, target).copied, copy_store(url, target).copied) == (3, 0)
        assert target.get("run-2").results[0].column == "email"
        assert keys(objects) == sorted(put)

    def test_an_object_is_not_taken_for_a_file_of_that_name(
        self, objects: Any, target: BaseStore[Any], tmp_path: Path, monkeypatch
    ):
        monkeypatch.chdir(tmp_path)
        Path("batch.json").write_text(json.dumps(validation("of the file", success=False)))
        objects.put_object(Bucket="results", Key="gx/batch.json", Body=json.dumps(validation("monday")).encode())
        copy_store("s3://results/gx", target)
        assert [result.status for result in target.query()] == ["success"]

    def test_one_of_great_expectations(self, objects: Any, target: BaseStore[Any]):
        for run in ("monday", "tuesday"):
            key = f"gx/uncommitted/validations/orders suite/{run}/20260504T120000.000000Z/batch.json"
            objects.put_object(Bucket="results", Key=key, Body=json.dumps(validation(run)).encode())
        assert copy_store("s3://results/gx/uncommitted/validations", target).copied == 2
        assert {result.data_asset for result in target.query()} == {"orders"}

    def test_what_is_no_bucket_is_refused(self, target: BaseStore[Any]):
        with pytest.raises(StoreConfigError, match="is no bucket: copy from get_store"):
            copy_store("sqlite:///results.db", target)

    def test_an_empty_place_is_said(self, objects: Any, target: BaseStore[Any]):
        with pytest.raises(StoreConfigError, match="no JSON document below s3://results/nothing"):
            copy_store("s3://results/nothing", target)


def keys(client: Any) -> list[str]:
    return sorted(one["Key"] for one in client.list_objects_v2(Bucket="results").get("Contents", ()))


def first_system_results() -> dict[str, bytes]:
    result = {
        "run_time": "2026-05-04T12:00:00",
        "data_asset": "orders",
        "status": "failure",
        "results": [{"validator_name": "not_null", "success": False, "column": "email", "count": 3}],
    }
    place = "prod/default"
    runs = {f"run-{n}": gzip.compress(json.dumps({**result, "run_id": f"run-{n}"}).encode()) for n in range(3)}
    index = b'{"run-1": {"key": "prod/default/results/run-1.json.gz"}}'
    return {f"{place}/_index.json": index} | {f"{place}/results/{id}.json.gz": body for id, body in runs.items()}


@pytest.mark.xdist_group("azure")
def test_a_container_of_azure(target: BaseStore[Any], tmp_path: Path):
    blob = pytest.importorskip("azure.storage.blob")
    for server in started(azurite()):
        with blob.ContainerClient.from_connection_string(server.connection_string, "copied") as client:
            client.create_container()
            for key, body in first_system_results().items():
                client.upload_blob(key, body)
            url = f"az://copied/prod/default/results?connection_string={quote(server.connection_string, safe='')}"
            assert (copy_store(url, target).copied, copy_store(url, target).copied) == (3, 0)
            assert sorted(client.list_blob_names()) == sorted(first_system_results())


def test_a_bucket_of_google(target: BaseStore[Any], monkeypatch):
    storage = pytest.importorskip("google.cloud.storage")
    with gcs("copied") as server:
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", server.url)
        client = storage.Client(project="any")
        for key, body in first_system_results().items():
            object = client.bucket("copied").blob(key)
            object.content_encoding = "gzip" if key.endswith(".gz") else None
            object.upload_from_string(body)
        url = "gs://copied/prod/default/results?project=any"
        assert (copy_store(url, target).copied, copy_store(url, target).copied) == (3, 0)
        client.close()
