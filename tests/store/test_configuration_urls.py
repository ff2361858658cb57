"""What a URL says, and what it may not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from truthstore import StoreConfigError, get_store, register_store
from truthstore.backends.filesystem import FileSystemStore
from truthstore.backends.filesystem.config import FileSystemConfig
from truthstore.backends.memory import MemoryStore
from truthstore.store import registry


@pytest.fixture
def registered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_registered", {})


class TestFragments:
    @pytest.mark.parametrize(
        "url",
        [
            "file:///tmp/run#1",
            "file:///tmp/run#1?namespace=prod",
            "file:///tmp/run?namespace=a#b",
            "file:///tmp/run#",
            "memory://#1",
            "s3://bucket/run#1",
            "gs://bucket/run#1",
            "az://container/run#1",
        ],
    )
    def test_what_a_number_sign_would_cut_off_is_not_lost(self, url: str):
        with pytest.raises(StoreConfigError, match="write %23"):
            get_store(url)

    @pytest.mark.usefixtures("registered")
    def test_nor_is_it_for_registered_stores(self):
        @register_store("mine")
        def mine(collection, url: str):
            return MemoryStore(collection=collection)

        with pytest.raises(StoreConfigError, match="write %23") as caught:
            get_store("mine://user:secret@host/a#b")
        assert "secret" not in str(caught.value)

    def test_written_as_asked_it_is_part_of_the_path(self, tmp_path: Path):
        store = get_store(f"file://{tmp_path}/run%231?namespace=prod")
        assert isinstance(store, FileSystemStore)
        assert Path(store.root) == tmp_path / "run#1/prod/validations"

    def test_a_database_reads_its_own_url(self, tmp_path: Path):
        pytest.importorskip("sqlalchemy")
        with get_store(f"sqlite:///{tmp_path}/run#1.db") as store:
            store.initialize()
        assert (tmp_path / "run#1.db").is_file()


@pytest.mark.usefixtures("registered")
class TestPlannedBackends:
    @pytest.mark.parametrize(
        ("asked", "name"),
        [
            ("git+file:///r", "git"),
            ("git+ssh://user@host/r", "git"),
            ("git:///r", "git"),
            ("git", "git"),
            ("mongodb://host", "mongodb"),
            ("mongodb+srv://host", "mongodb"),
            ("mongodb", "mongodb"),
            ("redis://host", "redis"),
            ("rediss://host", "redis"),
            ("redis", "redis"),
        ],
    )
    def test_the_message_says_that_they_are_not_there_yet(self, asked: str, name: str):
        with pytest.raises(StoreConfigError, match=f"no {name} backend yet: there are azure, database, filesystem, "):
            get_store(asked)

    def test_their_names_are_free(self):
        @register_store("redis")
        @register_store("git+file")
        def mine(collection, url: str):
            return MemoryStore(collection=collection)

        assert isinstance(get_store("redis://host"), MemoryStore)
        assert isinstance(get_store("git+file:///r"), MemoryStore)


class TestEmptyPaths:
    @pytest.mark.parametrize("url", ["file://", "file://?namespace=prod", "file:///data?base_path="])
    def test_a_url_without_a_path(self, url: str):
        with pytest.raises(StoreConfigError, match="base_path is empty"):
            get_store(url)

    def test_an_option(self):
        with pytest.raises(StoreConfigError, match="base_path is empty"):
            get_store("filesystem", base_path="")
        with pytest.raises(StoreConfigError, match="base_path is empty"):
            FileSystemConfig(base_path="")

    def test_the_current_folder_has_a_name(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
        monkeypatch.chdir(tmp_path)
        store = get_store("filesystem", base_path=".")
        assert isinstance(store, FileSystemStore)
        assert Path(store.root).absolute() == tmp_path / "default/validations"


class TestDecimalNumbers:
    def test_the_type_of_the_option_decides(self, registered: None):
        seen: list[object] = []

        def timed(*, collection: Any, url: str, timeout: float = 1.0, label: str = "", other: Any = None) -> Any:
            seen.extend([timeout, label, other])
            return MemoryStore(collection=collection)

        register_store("timed")(timed)
        get_store("timed://host?timeout=1.5&label=1.50&other=-0.25")
        assert seen == [1.5, "1.50", -0.25]

    def test_a_namespace_stays_text(self, tmp_path: Path):
        assert get_store(f"file://{tmp_path}?namespace=1.50").layer(FileSystemStore).root.endswith("/1.50/validations")


@pytest.mark.usefixtures("registered")
class TestSpellings:
    @pytest.mark.parametrize(
        ("written", "right"),
        [
            ("gcs://bucket/prefix", "gs://bucket/prefix"),
            ("gs", "gs://bucket/prefix"),
            ("abfs://container@account.dfs.core.windows.net/x", "az://container/prefix"),
            ("abfss://container/x", "az://container/prefix"),
            ("azure://container/x", "az://container/prefix"),
            ("az", "az://container/prefix"),
            ("s3a://bucket/x", "s3://bucket/prefix"),
            ("filesystem:///data", "file:///path"),
            ("/data/checks", "file:///path"),
            ("./checks", "file:///path"),
            ("data/checks", "file:///path"),
            ("~/checks", "file:///path"),
            ("C:\\data", "file:///path"),
            ("postgres", "postgresql://user:password@host/database"),
            ("postgresql", "postgresql://user:password@host/database"),
            ("mysql+pymysql", "mysql://user:password@host/database"),
            ("sqlite", "sqlite:///store.db"),
            ("database://host/x", "mariadb://user:password@host/database"),
            ("gs:/bucket/prefix", "gs://bucket/prefix"),
            ("s3:bucket", "s3://bucket/prefix"),
            ("S3://bucket", "s3://bucket/prefix"),
            ("minio://bucket", "s3://bucket/prefix?endpoint_url=…"),
            ("azblob://container", "az://container/prefix"),
            ("https://account.blob.core.windows.net/container", "az://container/prefix"),
            ("FILE:///data", "file:///path"),
            ("postgresql:/host/x", "postgresql://user:password@host/database"),
            ("PostgreSQL", "postgresql://user:password@host/database"),
            ("pg", "postgresql://user:password@host/database"),
            ("sqlite:x.db", "sqlite:///store.db"),
            ("data/x.sqlite", "sqlite:///store.db"),
            ("memory:", "did you mean 'memory'"),
        ],
    )
    def test_a_wrong_one_names_the_right_one(self, written: str, right: str):
        with pytest.raises(StoreConfigError) as caught:
            get_store(written)
        assert right in str(caught.value)

    def test_so_does_a_path(self, tmp_path: Path):
        with pytest.raises(TypeError, match="base_path=…"):
            get_store(tmp_path)  # type: ignore[call-overload]

    def test_a_name_that_others_use_can_be_registered(self):
        @register_store("s3a")
        def mine(collection, url: str):
            return MemoryStore(collection=collection)

        assert isinstance(get_store("s3a://bucket"), MemoryStore)
