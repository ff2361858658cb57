"""A MariaDB server for the tests: the one that is installed, in a temporary folder."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from tests.services.postgresql import MissingServerError, free_port, wait_for_port


class MariaDB(NamedTuple):
    """A running server.

    Attributes:
        port: its port on 127.0.0.1.
        user: a user who may do everything.
        password: that user's password.
    """

    port: int
    user: str = "tester"
    password: str = "open-sesame"

    @property
    def url(self) -> str:
        """The URL of its database."""
        return f"mysql://{self.user}:{self.password}@127.0.0.1:{self.port}/store"


@contextmanager
def mariadb() -> Generator[MariaDB]:
    """Starts a server, and stops it at the end."""
    install, daemon = (
        shutil.which("mariadb-install-db"),
        shutil.which("mariadbd", path="/usr/sbin:" + os.environ["PATH"]),
    )
    if install is None or daemon is None:
        raise MissingServerError(
            "MariaDB is not installed (on Debian: apt-get install mariadb-server-core mariadb-client-core)"
        )
    folder = Path(tempfile.mkdtemp(prefix="mariadb-"))
    data = folder / "data"
    server = MariaDB(free_port())
    user = ["--user=root"] if os.geteuid() == 0 else []
    try:
        made = subprocess.run(
            [
                install,
                "--no-defaults",
                *user,
                f"--datadir={data}",
                f"--tmpdir={folder}",
                "--auth-root-authentication-method=normal",
                "--skip-test-db",
            ],
            capture_output=True,
            text=True,
            check=False,
        )
        if made.returncode:
            raise RuntimeError(f"mariadb-install-db failed: {made.stdout}{made.stderr}")
        start = folder / "start.sql"
        start.write_text(
            "CREATE DATABASE store;\n"
            f"CREATE USER '{server.user}'@'127.0.0.1' IDENTIFIED BY '{server.password}';\n"
            f"GRANT ALL ON *.* TO '{server.user}'@'127.0.0.1';\n"
        )
        command = [daemon, "--no-defaults", *user, f"--datadir={data}", "--bind-address=127.0.0.1"]
        command += [
            f"--port={server.port}",
            f"--socket={folder}/socket",
            f"--pid-file={folder}/pid",
            f"--tmpdir={folder}",
        ]
        command += [
            "--skip-name-resolve",
            f"--init-file={start}",
            "--innodb-flush-log-at-trx-commit=0",
            "--innodb-doublewrite=0",
        ]
        with open(folder / "log", "w") as log:
            process = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            wait_for_port(process, server.port, folder / "log")
            yield server
        finally:
            process.terminate()
            process.wait(30)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
