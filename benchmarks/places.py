"""The folders that the benchmarks work in: stores that are filled once and shared by the groups, all removed at the end."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

from benchmarks.by_hand import Folder
from benchmarks.measure import progress
from benchmarks.workload import peer_result, result, results
from truthstore.backends.filesystem import FileSystemStore

Durability = Literal["os", "fsync"]


class Places:
    """A folder with everything that a run stores.

    Args:
        folder: an empty folder.
        quick: whether to do less, for a first look.
    """

    def __init__(self, folder: Path, *, quick: bool) -> None:
        self.folder = folder
        self.quick = quick
        self.middle = 1_000 if quick else 10_000
        self.many = 10_000 if quick else 100_000
        self._next = 10_000_000
        self._filled: set[str] = set()

    def rounds(self, number: int) -> int:
        """A number of rounds, fewer for a first look."""
        return max(5, number // 4) if self.quick else number

    def path(self, name: str) -> Path:
        """A folder of this name."""
        return self.folder / name

    def new_results(self, count: int) -> list[Any]:
        """Results that no store of this run holds yet."""
        self._next += count
        return list(results(count, self._next - count))

    def new_peer_results(self, count: int) -> list[Any]:
        """The same of the peer's class."""
        self._next += count
        return [peer_result(number) for number in range(self._next - count, self._next)]

    def store(self, count: int, durability: Durability = "fsync", *, pretty_print: bool = True) -> FileSystemStore[Any]:
        """A filesystem store with so many results in it, filled at the first call."""
        name = f"store-{count}-{durability}"
        if name not in self._filled:
            progress(f"filling a store with {count:,} results")
            with FileSystemStore(base_path=self.path(name), durability="os") as filling:
                filling.save_many(map(result, range(count)))
            self._filled.add(name)
        store = FileSystemStore(base_path=self.path(name), durability=durability, pretty_print=pretty_print)
        store.initialize()
        return store

    def index_by_hand(self) -> Folder:
        """An index made by hand of what the big store holds, filled at the first call."""
        name = "index-by-hand"
        index = Folder(self.path(name), sync=False)
        if name not in self._filled:
            index.fill(map(result, range(self.many)), files=False)
            self._filled.add(name)
        return index
