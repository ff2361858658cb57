"""The pages of docs/backends on cloud stores run as printed against test servers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from tests.docs.blocks import Block, python_blocks, run
from tests.services.azurite import Azurite, azurite
from tests.services.gcs import gcs
from tests.services.process import started
from truthstore import BaseStore, StoreConfigError, get_store, open_store
from truthstore.backends.s3 import S3Store
from truthstore.results import ResultStatus, ValidationResult

pytestmark = [pytest.mark.xdist_group("s3"), pytest.mark.usefixtures("nothing_of_the_user")]

ROOT = Path(__file__).parents[2]


def blocks_of(page: str) -> list[Block]:
    """The first block of a page, though it says that it is not run elsewhere."""
    found = python_blocks((ROOT / "docs" / "backends" / page).read_text(encoding="utf-8"))
    return [replace(found[0], not_run=None, output="it works")]


@pytest.mark.usefixtures("amazon")
def test_the_page_of_s3():
    names: dict[str, Any] = {}
    run(blocks_of("s3.md"), Path("s3.md"), names)
    check(names["store"], "s3://company-validation-results/prod/daily?region=us-east-1")


def test_the_page_of_gcs(monkeypatch: pytest.MonkeyPatch):
    with gcs("company-validation-results") as server:
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", server.url)
        names: dict[str, Any] = {}
        run(blocks_of("gcs.md"), Path("gcs.md"), names)
        check(names["store"], "gs://company-validation-results/prod/daily")


@pytest.fixture(scope="module")
def microsoft() -> Iterator[Azurite]:
    yield from started(azurite())


def test_the_page_of_azure(microsoft: Azurite):
    from azure.storage.blob import ContainerClient

    with ContainerClient.from_connection_string(microsoft.connection_string, "validation-results") as client:
        client.create_container()
    # The page names an account of the reader's; everything else is as printed.
    (block,) = blocks_of("azure.md")
    block.code = block.code.replace('account_name="company"', "**account")
    account = {"connection_string": microsoft.connection_string}
    names: dict[str, Any] = {"account": account}
    run([block], Path("azure.md"), names)
    check(names["store"], "az://validation-results/prod/daily", **account)


def check(store: BaseStore[Any], url: str, **options: Any) -> None:
    """A URL opens the same store as the options do."""
    result = ValidationResult("run-1", datetime.now(UTC), "data.csv", ResultStatus.SUCCESS)
    store.save(result)
    with get_store(url, **options) as other:
        assert result.id in other.list_ids()
    store.close()


@pytest.mark.usefixtures("amazon")
def test_a_store_described_in_a_file(tmp_path: Path):
    (tmp_path / "store.yaml").write_text(
        "backend: s3\nbucket: my-bucket\nprefix: ${PLACE:-team/a}\nregion: us-east-1\n"
    )
    with open_store(tmp_path / "store.yaml") as store:
        assert isinstance(store, S3Store)
        assert store.place == "s3://my-bucket/team/a/default/"
        assert store.count() == 0


@pytest.mark.parametrize(
    ("url", "place"),
    [
        ("s3://b", "s3://b/truthstore/default/"),
        ("s3://b/?namespace=x", "s3://b/truthstore/x/"),
        ("gs://b/a/b/", "gs://b/a/b/default/"),
        ("az://c/Prod?account_name=n", "az://c/%50rod/default/"),
    ],
)
def test_urls(url: str, place: str):
    store: Any = get_store(url)
    assert store.place == place
    store.close()


def test_a_url_with_a_secret_is_refused_without_showing_it():
    with pytest.raises(StoreConfigError, match="bucket alone") as caught:
        get_store("s3://key:open-sesame@bucket/prefix")
    assert "open-sesame" not in str(caught.value)
