"""PgBouncer for the tests: a pooler in transaction mode, before a PostgreSQL server, that knows nothing of prepared statements."""

from __future__ import annotations

import os
import pwd
import re
import shutil
import subprocess
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path

from tests.services.postgresql import MissingServerError, PostgreSQL, free_port, wait_for_port

SETTINGS = """
[databases]
* = host=127.0.0.1 port={server.port} dbname=postgres user={server.user} password={server.password}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = any
pool_mode = transaction
default_pool_size = {size}
"""
TRACKS_STATEMENTS = (1, 21)
"""The first version that tracks prepared statements unless it is told not to."""


@contextmanager
def pgbouncer(server: PostgreSQL, size: int = 2) -> Generator[PostgreSQL]:
    """Start a pooler with so few connections to a server that clients share them. As root, it runs as nobody: it refuses root."""
    program = shutil.which("pgbouncer", path="/usr/sbin:" + os.environ["PATH"])
    if program is None:
        raise MissingServerError("PgBouncer is not installed (on Debian: apt-get install pgbouncer)")
    said = subprocess.run([program, "--version"], capture_output=True, text=True, check=True).stdout
    major, minor = map(int, re.findall(r"\d+", said)[:2])
    user = "nobody" if os.geteuid() == 0 else None
    folder = Path(tempfile.mkdtemp(prefix="pgbouncer-"))
    pooler = server._replace(port=free_port())
    try:
        settings = folder / "pgbouncer.ini"
        settings.write_text(SETTINGS.format(server=server, port=pooler.port, size=size))
        if (major, minor) >= TRACKS_STATEMENTS:
            with settings.open("a") as file:
                file.write("max_prepared_statements = 0\n")
        if user is not None:
            for path in (folder, settings):
                os.chown(path, pwd.getpwnam(user).pw_uid, -1)
        with open(folder / "log", "w") as log:
            process = subprocess.Popen([program, settings], stdout=log, stderr=log, user=user)
        try:
            wait_for_port(process, pooler.port, folder / "log")
            yield pooler
        finally:
            process.terminate()
            process.wait(30)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
