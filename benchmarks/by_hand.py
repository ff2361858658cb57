"""The raw limit: what somebody would write by hand for one kind of result, without anything that may go wrong."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterable
from pathlib import Path

import msgspec

from truthstore import ValidationResult

encode = msgspec.json.Encoder().encode
decode = msgspec.json.Decoder(ValidationResult).decode
NEWEST = "SELECT id FROM results WHERE asset = ? AND status = ? ORDER BY time DESC LIMIT 50"


def read(path: str | Path) -> bytes:
    """A file's bytes."""
    with open(path, "rb", buffering=0) as file:
        return file.read()


class Folder:
    """A file per result and a SQLite table of their assets, states, times and tags.

    Args:
        path: the folder.
        sync: whether a save waits for the disk.
    """

    def __init__(self, path: Path, *, sync: bool) -> None:
        path.mkdir(exist_ok=True)
        self._path = str(path)
        self._sync = sync
        self._database = sqlite3.connect(path / "index.db", isolation_level=None)
        self._database.execute("PRAGMA journal_mode = WAL")
        self._database.execute(f"PRAGMA synchronous = {'FULL' if sync else 'NORMAL'}")
        self._database.execute(
            "CREATE TABLE IF NOT EXISTS results (id TEXT PRIMARY KEY, asset TEXT, status TEXT, time INTEGER)"
        )
        self._database.execute("CREATE INDEX IF NOT EXISTS lookup ON results (asset, status, time)")
        self._database.execute("CREATE TABLE IF NOT EXISTS tags (result TEXT, name TEXT, value TEXT)")
        self._database.execute("CREATE INDEX IF NOT EXISTS tag ON tags (name, value, result)")

    def save(self, result: ValidationResult) -> None:
        """Encode, write a temporary file, rename it, commit the row and its tags."""
        name = f"{self._path}/{result.run_id}.json"
        temporary = f"{name}.new"
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL)
        os.write(descriptor, encode(result))
        if self._sync:
            os.fsync(descriptor)
        os.close(descriptor)
        os.rename(temporary, name)
        if self._sync:
            folder = os.open(self._path, os.O_RDONLY)
            os.fsync(folder)
            os.close(folder)
        execute = self._database.execute
        execute("BEGIN")
        self._insert(result)
        execute("COMMIT")

    def fill(self, results: Iterable[ValidationResult], *, files: bool = True) -> None:
        """Saves many, in one commit; or only indexes them."""
        self._database.execute("BEGIN")
        for result in results:
            if files:
                Path(self._path, f"{result.run_id}.json").write_bytes(encode(result))
            self._insert(result)
        self._database.execute("COMMIT")

    def newest(self, asset: str, status: str) -> list[str]:
        """The newest 50 ids of an asset and a status."""
        return [id for (id,) in self._database.execute(NEWEST, (asset, status)).fetchall()]

    def close(self) -> None:
        """Closes the index."""
        self._database.close()

    def _insert(self, result: ValidationResult) -> None:
        self._database.execute(
            "INSERT INTO results VALUES (?, ?, ?, ?)",
            (result.run_id, result.data_asset, result.status.value, int(result.run_time.timestamp() * 1_000_000)),
        )
        self._database.executemany(
            "INSERT INTO tags VALUES (?, ?, ?)", [(result.run_id, *tag) for tag in result.tags.items()]
        )
