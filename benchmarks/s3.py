"""The S3 store beside a peer, on one local server: saving at 10,000 stored, and growth. Needs ``moto[server]`` and boto3."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from typing import Any

import truthound.stores as peer

from benchmarks.measure import Figure, progress, race
from benchmarks.places import Places
from benchmarks.workload import peer_result, result
from truthstore.backends.s3 import S3Store

BUCKET = "benchmark"
FEW = 100


def figures(places: Places) -> Iterator[Figure]:
    """Saves, in requests to a server on this machine."""
    if find_spec("moto") is None or find_spec("flask") is None or find_spec("boto3") is None:
        progress("left out: it needs boto3 and moto[server]")
        return
    os.environ.update(AWS_ACCESS_KEY_ID="tester", AWS_SECRET_ACCESS_KEY="open-sesame")
    with _server() as url:
        client = _client(url)
        client.create_bucket(Bucket=BUCKET)
        few, many = _store(places, url, FEW), _store(places, url, places.middle)
        other = _peer(client, url, places.middle)
        found = race(
            many.save,
            other.save,
            rounds=places.rounds(9),
            calls=(25, 1),
            inputs=(places.new_results, places.new_peer_results),
        )
        yield Figure(
            f"S3 save at {places.middle:,} stored",
            "Truthound 3.2.0's S3 store, the same server",
            1 / found.ratio,
            "at least",
            10,
            "× faster",
            found.detail,
        )
        found = race(many.save, few.save, rounds=places.rounds(20), calls=20, inputs=places.new_results)
        yield Figure(
            f"S3 save at {places.middle:,} stored",
            f"S3 save at {FEW} stored",
            found.ratio,
            "at most",
            1.2,
            detail=found.detail,
        )
        many.close()
        few.close()


@contextmanager
def _server() -> Generator[str]:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    command = [sys.executable, "-W", "ignore", "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        for _ in range(600):
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
            except OSError:
                time.sleep(0.05)
            else:
                break
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(30)


def _client(url: str) -> Any:
    import boto3

    return boto3.client("s3", endpoint_url=url, region_name="us-east-1")


def _store(places: Places, url: str, count: int) -> S3Store[Any]:
    """A store with so many results in it."""
    progress(f"filling an S3 store with {count:,} results")
    store: S3Store[Any] = S3Store(
        bucket=BUCKET,
        prefix=f"ours-{count}",
        endpoint_url=url,
        region="us-east-1",
        cache_dir=places.path(f"s3-cache-{count}"),
    )
    store.save_many(map(result, range(count)))
    return store


def _peer(client: Any, url: str, count: int) -> Any:
    """Truthound's S3 store with so many results in it.

    It saves the first by itself. Saving the rest through it would take an hour, because every save writes its list of
    results anew; so their lines in that list are copies of the first, with the numbers changed.
    """
    progress("filling the peer's store")
    options = {"bucket": BUCKET, "prefix": "theirs/", "region": "us-east-1", "endpoint_url": url}
    store = peer.get_store("s3", **options)
    store.save(peer_result(0))
    keys = [found["Key"] for found in client.list_objects_v2(Bucket=BUCKET, Prefix="theirs/")["Contents"]]
    (listing,) = [key for key in keys if "index" in key]
    body = client.get_object(Bucket=BUCKET, Key=listing)["Body"].read()
    index = json.loads(body)
    first = result(0).run_id
    text = json.dumps(index[first])
    lines = {}
    for number in range(count):
        one = result(number)
        lines[one.run_id] = {**json.loads(text.replace(first, one.run_id)), "run_time": one.run_time.isoformat()}
    client.put_object(Bucket=BUCKET, Key=listing, Body=json.dumps(lines).encode())
    reopened = peer.get_store("s3", **options)
    if len(reopened.list_ids()) != count:
        raise RuntimeError("the peer does not see what was put into its store")
    return reopened
