"""Servers of the tests as processes: starting, waiting, stopping, and what a missing one means."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from typing import Any, TypeVar

import pytest

from tests.services.postgresql import MissingServerError, free_port, wait_for_port

__all__ = ["MissingServerError", "free_port", "program", "running", "shared", "started", "stop_servers"]

T = TypeVar("T")


def program(name: str, package: str) -> str:
    """The path of a program that a package of Python installs.

    Raises:
        MissingServerError: it is not there.
    """
    beside = os.path.dirname(sys.executable)
    found = shutil.which(name, path=beside) or shutil.which(name)
    if found is None:
        raise MissingServerError(f"{name} is not installed: pip install {package}")
    return found


@contextmanager
def running(
    command: Sequence[str | Path], port: int, environment: Mapping[str, str] | None = None
) -> Generator[subprocess.Popen[bytes]]:
    """Starts a server, waits until it takes connections, and stops it at the end."""
    folder = Path(tempfile.mkdtemp(prefix="server-"))
    try:
        with open(folder / "log", "w") as log:
            process = subprocess.Popen(
                command, cwd=folder, stdout=log, stderr=log, env={**os.environ, **(environment or {})}
            )
        try:
            wait_for_port(process, port, folder / "log")
            yield process
        finally:
            process.terminate()
            process.wait(30)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


_running = ExitStack()
_servers: dict[tuple[object, ...], Any] = {}


def shared(server: Callable[..., AbstractContextManager[T]], *args: object) -> Iterator[T]:
    """The body of a fixture: a server that goes on to run for other tests of this process."""
    key = server, args

    @contextmanager
    def kept() -> Generator[T]:
        if key not in _servers:
            _servers[key] = _running.enter_context(server(*args))
        yield _servers[key]

    return started(kept())


def stop_servers() -> None:
    """Stop the servers that tests have shared."""
    _servers.clear()
    _running.close()


def started(server: AbstractContextManager[T]) -> Iterator[T]:
    """The body of a fixture: a running server. If it is not installed, skip on a laptop and fail in CI."""
    try:
        with server as one:
            yield one
    except MissingServerError as error:
        if os.environ.get("CI") == "true":
            pytest.fail(str(error), pytrace=False)
        pytest.skip(str(error))
