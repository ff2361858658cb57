"""Replicas on servers of two kinds: what a write waits for, what equal stores cost, and what a layer costs that has nothing to do."""

from __future__ import annotations

import socket
import threading
from collections.abc import Generator, Iterator
from contextlib import ExitStack, closing, contextmanager
from typing import Any

from benchmarks.measure import Figure, progress, race
from benchmarks.places import Places
from benchmarks.workload import results
from tests.services.postgresql import MissingServerError, postgresql
from tests.services.process import MissingServerError as MissingProcessError
from tests.services.s3 import moto
from truthstore.backends.database import DatabaseStore
from truthstore.backends.filesystem import FileSystemStore
from truthstore.backends.memory import MemoryStore
from truthstore.backends.s3 import S3Store
from truthstore.replication import ReplicaTarget, ReplicatedStore

BUCKET = "benchmark"


def figures(places: Places) -> Iterator[Figure]:
    """Semi-synchronous writes, repair of equal stores, and reads."""
    yield _nothing_to_do(places)
    try:
        with ExitStack() as stack:
            server = stack.enter_context(postgresql(16))
            bucket = stack.enter_context(moto())
            bucket.client().create_bucket(Bucket=BUCKET)
            yield _semi_sync(places, server.url, bucket.options)
            yield _repair(places, server.url, server.port)
    except (MissingServerError, MissingProcessError) as error:
        progress(f"left out: {error}")


def _nothing_to_do(places: Places) -> Figure:
    bare: Any = MemoryStore()
    bare.save_many(given := list(results(1_000)))
    layer = ReplicatedStore(bare, targets=[ReplicaTarget("a", MemoryStore())], delivery_interval_seconds=None)
    ids = [one.run_id for one in given]
    found = race(layer.get, bare.get, rounds=places.rounds(40), calls=1_000, inputs=lambda count: ids[:count])
    return Figure(
        "get through replication that reads the primary",
        "get without it",
        found.difference * 1e6,
        "at most",
        1,
        "µs more",
        found.detail,
    )


def _semi_sync(places: Places, url: str, s3: dict[str, Any]) -> Figure:
    def in_sql(namespace: str) -> DatabaseStore[Any]:
        return DatabaseStore(connection_url=url, namespace=namespace)

    def on_s3(prefix: str) -> S3Store[Any]:
        return S3Store(bucket=BUCKET, prefix=prefix, cache_dir=places.path(prefix), **s3)

    primary = FileSystemStore(base_path=places.path("replicated"), durability="fsync")
    targets = [ReplicaTarget("sql", in_sql("replica")), ReplicaTarget("s3", on_s3("replica/"))]
    store = ReplicatedStore(
        primary, mode="semi_sync", min_sync_replicas=2, targets=targets, path=places.path("replication.db")
    )
    with store, on_s3("alone/") as slower:
        found = race(store.save, slower.save, rounds=places.rounds(20), calls=20, inputs=places.new_results)
    return Figure(
        "semi-sync save to a folder, waiting for PostgreSQL and S3",
        "save to S3, the slower of the two",
        found.ratio,
        "at most",
        1.3,
        detail=found.detail,
    )


def _repair(places: Places, url: str, port: int) -> Figure:
    progress(f"filling two stores with {places.many:,} results")
    with _counted(port) as (through, read):
        replica = DatabaseStore(connection_url=url.replace(f":{port}/", f":{through}/"), namespace="repair")
        primary = places.store(places.many, "os")
        store = ReplicatedStore(primary, targets=[ReplicaTarget("sql", replica)], delivery_interval_seconds=None)
        with closing(store):
            store.repair()
            start = read()
            different = store.repair()
            cost = read() - start
            stored = primary.stats()["bytes"]
    assert different == {"sql": 0}
    return Figure(
        f"bytes from and to PostgreSQL, `repair()` of two equal stores of {places.many:,}",
        "bytes of the items",
        100 * cost / stored,
        "at most",
        1,
        "%",
        f"{cost:,} : {stored:,} bytes",
    )


@contextmanager
def _counted(port: int) -> Generator[tuple[int, Any]]:
    """Opens a port that leads to another one, and counts what passes both ways."""
    passed = [0]
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def pump(one: socket.socket, other: socket.socket) -> None:
            while data := one.recv(1 << 16):
                passed[0] += len(data)
                other.sendall(data)
            other.shutdown(socket.SHUT_WR)

        def accept() -> None:
            while True:
                try:
                    client, _ = listener.accept()
                except OSError:
                    return
                server = socket.create_connection(("127.0.0.1", port))
                for pair in ((client, server), (server, client)):
                    threading.Thread(target=pump, args=pair, daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        yield listener.getsockname()[1], lambda: passed[0]
