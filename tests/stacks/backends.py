"""Every backend, for tests of what stands above backends: a server where it needs one, and any number of empty places."""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import pytest

from tests.services.azurite import azurite
from tests.services.databases import delete_rows, drop_tables, new_place
from tests.services.emptying import ways_of_folder, ways_of_sqlite
from tests.services.gcs import GCSServer, gcs
from tests.services.mariadb import mariadb
from tests.services.pgbouncer import pgbouncer
from tests.services.postgresql import postgresql
from tests.services.process import shared, started
from tests.services.s3 import moto
from truthstore import BaseStore
from truthstore.backends.azure_blob import AzureBlobStore
from truthstore.backends.database import DatabaseStore
from truthstore.backends.filesystem import FileSystemStore
from truthstore.backends.filesystem.log import FileLogStore
from truthstore.backends.gcs import GCSStore
from truthstore.backends.memory import MemoryData, MemoryStore
from truthstore.backends.s3 import S3Store
from truthstore.testing import SAMPLES

__all__ = ["KINDS", "POOLED", "Backend", "Place", "backend", "parameters"]

BUCKET: Final = "bucket"


@dataclass(frozen=True, slots=True)
class Place:
    """Opens stores at one place. Of memory, a store is to be closed before the next one is opened.

    Attributes:
        open: opens a store of a collection.
        ways: how others empty the place under its stores; none where they share tables with other places.
    """

    open: Callable[[Any], BaseStore[Any]]
    ways: tuple[Callable[[], object], ...] = ()

    def __call__(self, collection: Any = SAMPLES) -> BaseStore[Any]:
        """Open one more store."""
        return self.open(collection)

    def empty(self, way: int) -> None:
        """Empty the place in one of the ways."""
        self.ways[way % len(self.ways)]()


Backend = Callable[[], Place]
"""Makes an empty place."""


def _memory(folder: Path, *, apart: bool) -> Iterator[Backend]:
    def new() -> Place:
        blobs = MemoryData()

        def clear() -> None:
            for records in blobs.places.values():
                records.clear()

        return Place(lambda collection: MemoryStore(collection=collection, data=blobs), (clear,))

    yield new


def _filesystem(folder: Path, *, apart: bool) -> Iterator[Backend]:
    def new() -> Place:
        path = _new(folder)
        return Place(
            lambda collection: FileSystemStore(base_path=path, collection=collection, durability="os"),
            ways_of_folder(path),
        )

    yield new


def _log(folder: Path, *, apart: bool) -> Iterator[Backend]:
    def new() -> Place:
        path, cache = _new(folder), _new(folder)

        def remove_both() -> None:
            shutil.rmtree(path, ignore_errors=True)
            shutil.rmtree(cache, ignore_errors=True)

        return Place(
            lambda collection: FileLogStore(base_path=path, collection=collection, durability="os", cache_dir=cache),
            (*ways_of_folder(path), remove_both),
        )

    yield new


def _sqlite(folder: Path, *, apart: bool) -> Iterator[Backend]:
    def new() -> Place:
        path = _new(folder)
        path.mkdir(parents=True)
        url = f"sqlite:///{path}/store.db"
        return Place(
            lambda collection: DatabaseStore(connection_url=url, collection=collection),
            ways_of_sqlite(path / "store.db"),
        )

    yield new


def _on_server(url: str, *, apart: bool) -> Iterator[Backend]:
    used: list[str] = []

    def new() -> Place:
        place = new_place(url)
        if not apart:
            return Place(place.open)
        prefix = f"apart{next(_numbers)}_"
        used.append(prefix)
        return Place(
            partial(place.open, table_prefix=prefix),
            (partial(drop_tables, url, prefix), partial(delete_rows, url, prefix)),
        )

    yield new
    for prefix in used:
        drop_tables(url, prefix)


def _postgresql(folder: Path, *, apart: bool) -> Iterator[Backend]:
    for server in shared(postgresql, 16):
        yield from _on_server(server.url, apart=apart)


def _pooled(folder: Path, *, apart: bool) -> Iterator[Backend]:
    for server in shared(postgresql, 16):
        for pooler in shared(pgbouncer, server):
            yield from _on_server(pooler.url, apart=apart)


def _mariadb(folder: Path, *, apart: bool) -> Iterator[Backend]:
    for server in shared(mariadb):
        yield from _on_server(server.url, apart=apart)


def _s3(folder: Path, *, apart: bool) -> Iterator[Backend]:
    for server in shared(moto):
        bucket = {"bucket": f"bucket-{next(_numbers)}", **server.options}
        client = server.client()
        client.create_bucket(Bucket=bucket["bucket"])

        def new(bucket: dict[str, Any] = bucket, client: Any = client) -> Place:
            path = _new(folder)
            given: dict[str, Any] = {**bucket, "prefix": f"{path.name}/", "cache_dir": path}

            def empty() -> None:
                found = client.list_objects_v2(Bucket=bucket["bucket"], Prefix=given["prefix"]).get("Contents", [])
                for each in found:
                    client.delete_object(Bucket=bucket["bucket"], Key=each["Key"])

            return Place(lambda collection: S3Store(collection=collection, **given), _ways_of_bucket(empty, path))

        yield new


def _gcs(folder: Path, *, apart: bool) -> Iterator[Backend]:
    with pytest.MonkeyPatch.context() as patch:
        for server in started(gcs(BUCKET)):
            patch.setenv("STORAGE_EMULATOR_HOST", server.url)

            def new(server: GCSServer = server) -> Place:
                path = _new(folder)
                prefix = f"{path.name}/"

                def empty() -> None:
                    with server.buckets.lock:
                        objects = server.buckets.objects(BUCKET)
                        for name in [name for name in objects if name.startswith(prefix)]:
                            del objects[name]

                return Place(
                    lambda collection: GCSStore(collection=collection, bucket=BUCKET, prefix=prefix, cache_dir=path),
                    _ways_of_bucket(empty, path),
                )

            yield new


def _azure(folder: Path, *, apart: bool) -> Iterator[Backend]:
    from azure.storage.blob import ContainerClient

    for server in shared(azurite):
        container = f"container-{next(_numbers)}"
        with ContainerClient.from_connection_string(server.connection_string, container) as client:
            client.create_container()

            def new(url: str = server.connection_string, container: str = container, client: Any = client) -> Place:
                path = _new(folder)

                def empty() -> None:
                    for name in list(client.list_blob_names(name_starts_with=f"{path.name}/")):
                        client.delete_blob(name)

                return Place(
                    lambda collection: AzureBlobStore(
                        collection=collection,
                        connection_string=url,
                        container=container,
                        prefix=f"{path.name}/",
                        cache_dir=path,
                    ),
                    _ways_of_bucket(empty, path),
                )

            yield new


def _ways_of_bucket(empty: Callable[[], object], cache: Path) -> tuple[Callable[[], object], ...]:
    """Return how objects are removed: with or without this machine's replica of their log."""

    def remove_both() -> None:
        empty()
        shutil.rmtree(cache, ignore_errors=True)

    return empty, remove_both


_numbers = itertools.count()


def _new(folder: Path) -> Path:
    return folder / f"place-{next(_numbers)}"


_ALL: Final[dict[str, Callable[..., Iterator[Backend]]]] = {
    "memory": _memory,
    "filesystem": _filesystem,
    "log": _log,
    "sqlite": _sqlite,
    "postgresql": _postgresql,
    "mariadb": _mariadb,
    "s3": _s3,
    "gcs": _gcs,
    "azure": _azure,
}
KINDS: Final = tuple(_ALL)
POOLED: Final = "pooled"
"""PostgreSQL behind a pooler that gives each transaction another connection: for what drives random histories."""
_ALL[POOLED] = _pooled
# As the tests of the backends themselves are grouped, so that a worker starts each server but once.
_GROUPS: Final = {
    "postgresql": "postgresql-16",
    POOLED: "postgresql-16",
    "mariadb": "mariadb",
    "s3": "s3",
    "gcs": "gcs",
    "azure": "azure",
}


def parameters(kinds: tuple[str, ...] = KINDS) -> list[Any]:
    """The kinds as parameters of a test, each on the worker that has its server."""
    return [
        pytest.param(kind, marks=pytest.mark.xdist_group(_GROUPS[kind])) if kind in _GROUPS else kind for kind in kinds
    ]


@contextmanager
def backend(kind: str, folder: Path, *, apart: bool = False) -> Generator[Backend]:
    """Makes places of one kind, in a folder or on a server that runs meanwhile.

    Args:
        kind: the kind.
        folder: where files may lie.
        apart: places in a database have tables of their own, which takes longer; only these can be emptied.
    """
    yield from _ALL[kind](folder, apart=apart)
    shutil.rmtree(folder, ignore_errors=True)
