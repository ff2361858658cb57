"""How others empty the place of open stores, on a disk."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from functools import partial
from glob import glob
from pathlib import Path

from tests.services.databases import delete_rows, drop_tables

__all__ = ["ways_of_folder", "ways_of_sqlite"]

Ways = tuple[Callable[[], object], ...]


def ways_of_folder(path: Path) -> Ways:
    """Return how a folder is emptied: it is removed, all in it is, or all in it but for names that begin with a dot."""
    inner = path / "default" / "validations"
    return (
        partial(shutil.rmtree, path, ignore_errors=True),
        partial(_remove_from, inner, "*", ".*"),
        partial(_remove_from, inner, "*"),
    )


def ways_of_sqlite(path: Path) -> Ways:
    """Return how a SQLite file is emptied: with or without what lies beside it, with its folder, or by SQL."""
    url = f"sqlite:///{path}"
    return (
        partial(_remove_from, path.parent, "*"),
        partial(path.unlink, missing_ok=True),
        partial(shutil.rmtree, path.parent, ignore_errors=True),
        partial(drop_tables, url),
        partial(delete_rows, url),
    )


def _remove_from(folder: Path, *patterns: str) -> None:
    """Remove what a shell finds for some patterns."""
    for pattern in patterns:
        for name in glob(pattern, root_dir=folder):
            path = folder / name
            shutil.rmtree(path) if path.is_dir() else path.unlink()
