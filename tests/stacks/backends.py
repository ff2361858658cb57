"""Every backend, for tests of what stands above backends: a server where it needs one, and any number of empty places."""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, Protocol

import pytest

from tests.services.azurite import azurite
from tests.services.databases import new_place
from tests.services.gcs import gcs
from tests.services.mariadb import mariadb
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

__all__ = ["KINDS", "Backend", "Place", "backend", "parameters"]

BUCKET: Final = "bucket"


class Place(Protocol):
    """Opens stores at one place. Of memory, a store is to be closed before the next one is opened."""

    def __call__(self, collection: Any = SAMPLES) -> BaseStore[Any]:
        """One more store."""
        ...


Backend = Callable[[], Place]
"""Makes an empty place."""


def _memory(folder: Path) -> Iterator[Backend]:
    def new() -> Place:
        blobs = MemoryData()
        return lambda collection=SAMPLES: MemoryStore(collection=collection, data=blobs)

    yield new


def _filesystem(folder: Path) -> Iterator[Backend]:
    def new() -> Place:
        path = _new(folder)
        return lambda collection=SAMPLES: FileSystemStore(base_path=path, collection=collection, durability="os")

    yield new


def _log(folder: Path) -> Iterator[Backend]:
    def new() -> Place:
        path, cache = _new(folder), _new(folder)
        return lambda collection=SAMPLES: FileLogStore(
            base_path=path, collection=collection, durability="os", cache_dir=cache
        )

    yield new


def _sqlite(folder: Path) -> Iterator[Backend]:
    def new() -> Place:
        path = _new(folder)
        path.mkdir(parents=True)
        url = f"sqlite:///{path}/store.db"
        return lambda collection=SAMPLES: DatabaseStore(connection_url=url, collection=collection)

    yield new


def _on_server(url: str) -> Backend:
    def new() -> Place:
        place = new_place(url)
        return lambda collection=SAMPLES: place.open(collection)

    return new


def _postgresql(folder: Path) -> Iterator[Backend]:
    for server in shared(postgresql, 16):
        yield _on_server(server.url)


def _mariadb(folder: Path) -> Iterator[Backend]:
    for server in shared(mariadb):
        yield _on_server(server.url)


def _s3(folder: Path) -> Iterator[Backend]:
    for server in shared(moto):
        bucket = {"bucket": f"bucket-{next(_numbers)}", **server.options}
        server.client().create_bucket(Bucket=bucket["bucket"])

        def new(bucket: dict[str, Any] = bucket) -> Place:
            path = _new(folder)
            given: dict[str, Any] = {**bucket, "prefix": f"{path.name}/", "cache_dir": path}
            return lambda collection=SAMPLES: S3Store(collection=collection, **given)

        yield new


def _gcs(folder: Path) -> Iterator[Backend]:
    with pytest.MonkeyPatch.context() as patch:
        for server in started(gcs(BUCKET)):
            patch.setenv("STORAGE_EMULATOR_HOST", server.url)

            def new() -> Place:
                path = _new(folder)
                return lambda collection=SAMPLES: GCSStore(
                    collection=collection, bucket=BUCKET, prefix=f"{path.name}/", cache_dir=path
                )

            yield new


def _azure(folder: Path) -> Iterator[Backend]:
    from azure.storage.blob import ContainerClient

    for server in shared(azurite):
        container = f"container-{next(_numbers)}"
        with ContainerClient.from_connection_string(server.connection_string, container) as client:
            client.create_container()

        def new(url: str = server.connection_string, container: str = container) -> Place:
            path = _new(folder)
            return lambda collection=SAMPLES: AzureBlobStore(
                collection=collection,
                connection_string=url,
                container=container,
                prefix=f"{path.name}/",
                cache_dir=path,
            )

        yield new


_numbers = itertools.count()


def _new(folder: Path) -> Path:
    return folder / f"place-{next(_numbers)}"


_ALL: Final[dict[str, Callable[[Path], Iterator[Backend]]]] = {
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
# As the tests of the backends themselves are grouped, so that a worker starts each server but once.
_GROUPS: Final = {"postgresql": "postgresql-16", "mariadb": "mariadb", "s3": "s3", "gcs": "gcs", "azure": "azure"}


def parameters(kinds: tuple[str, ...] = KINDS) -> list[Any]:
    """The kinds as parameters of a test, each on the worker that has its server."""
    return [
        pytest.param(kind, marks=pytest.mark.xdist_group(_GROUPS[kind])) if kind in _GROUPS else kind for kind in kinds
    ]


@contextmanager
def backend(kind: str, folder: Path) -> Generator[Backend]:
    """Makes places of one kind, in a folder or on a server that runs meanwhile."""
    yield from _ALL[kind](folder)
    shutil.rmtree(folder, ignore_errors=True)
