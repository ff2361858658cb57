"""Every system call of every operation fails once, or is the last of its process: nothing half done is left.

The calls are those of the store and of SQLite alike; strace makes them fail.
"""

from __future__ import annotations

import os
import secrets
import shutil
import traceback
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import pytest

from tests.crash.agreement import contents
from tests.crash.injection import NIGHTLY, Fault, Outcome, Strace, find_strace
from tests.crash.witness import Witness
from truthstore.backends.filesystem import FileSystemStore
from truthstore.errors import StoreBulkError, StoreError
from truthstore.testing.sample import SAMPLES, Sample

Items = dict[str, Sample]

OLD = {id: Sample(id, count=0, note="old words", tags={"age": "old"}) for id in ("a", "b", "c", "d")}
NEW = {id: Sample(id, count=1, note="new words", details={"padding": "x" * 5_000}) for id in ("a", "b", "x", "y")}


class Operation(NamedTuple):
    """Something that is done to a store, and what the store holds then."""

    act: Callable[[FileSystemStore[Sample]], object]
    after: Items
    before: Items = OLD
    opened: bool = True
    """Whether the store is open when the faults begin."""
    durability: str = "fsync"

    def allows(self, found: Items, error: StoreError | None) -> bool:
        """Return True for a state that a failed operation may leave: all, nothing, or what the error says was stored."""
        stored = error.stored if isinstance(error, StoreBulkError) else ()
        partly = {**self.before, **{id: self.after[id] for id in stored}}
        return found in (self.before, self.after, partly)

    def prepare(self, store: FileSystemStore[Sample]) -> None:
        """What comes before the faults."""
        if self.opened:
            contents(store)


def keep(*ids: str) -> Items:
    return {id: OLD[id] for id in ids}


OPERATIONS = {
    "save": Operation(lambda store: store.save(NEW["x"]), {**OLD, "x": NEW["x"]}),
    "overwrite": Operation(lambda store: store.save(NEW["a"]), {**OLD, "a": NEW["a"]}),
    "overwrite without syncs": Operation(lambda store: store.save(NEW["a"]), {**OLD, "a": NEW["a"]}, durability="os"),
    "save_many without syncs": Operation(lambda store: store.save_many(NEW.values()), {**OLD, **NEW}, durability="os"),
    "delete": Operation(lambda store: store.delete("a"), keep("b", "c", "d")),
    "save_many": Operation(lambda store: store.save_many(NEW.values()), {**OLD, **NEW}),
    "delete_many": Operation(lambda store: store.delete_many(["a", "b", "nothing"]), keep("c", "d")),
    "open": Operation(lambda store: store.initialize(), OLD, opened=False),
    "open new": Operation(lambda store: store.save(NEW["x"]), {"x": NEW["x"]}, before={}, opened=False),
    "release": Operation(lambda store: (store.save(NEW["x"]), store.maintain())[0], {**OLD, "x": NEW["x"]}),
    "rebuild_index": Operation(lambda store: store.rebuild_index(), OLD),
}
HOWS = ("KILL", "ENOSPC", "EIO", "ENOSPC+")
EVERY = 1 if NIGHTLY else 10
"""Of so many faults one is tried, other ones in every run; with HYPOTHESIS_PROFILE=nightly every one."""


@pytest.fixture
def strace(tmp_path: Path) -> Strace:
    return Strace(find_strace(), tmp_path)


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    """In memory where that is possible: thousands of syncs would take their time, and prove no more."""
    memory = Path("/dev/shm")
    with TemporaryDirectory(dir=memory if os.access(memory, os.W_OK) else tmp_path) as path:
        yield Path(path) / "store"


class Scene:
    """A folder, made anew for each fault, with another process that has it open all the time."""

    def __init__(self, folder: Path, operation: Operation, strace: Strace) -> None:
        self._template = folder.with_name("template")
        self._folder = folder
        self._operation = operation
        self._strace = strace
        if operation.before:
            with FileSystemStore(base_path=self._template, collection=SAMPLES) as store:
                store.save_many(operation.before.values())

    def _open(self) -> FileSystemStore[Sample]:
        return FileSystemStore(base_path=self._folder, collection=SAMPLES, durability=self._operation.durability)

    def _restore(self) -> None:
        shutil.rmtree(self._folder, ignore_errors=True)
        if self._operation.before:
            shutil.copytree(self._template, self._folder)

    def _prepared(self, *, looks: bool) -> Callable[[], object]:
        store = self._open()
        operation = self._operation
        operation.prepare(store)

        def act() -> object:
            failure = None
            try:
                return operation.act(store)
            except StoreError as error:
                failure = error
                raise
            finally:
                if looks:
                    self._look(store, failure)

        return act

    def _look(self, store: FileSystemStore[Sample], failure: StoreError | None) -> None:
        """The store that met the fault must know better than before, or say that it does not."""
        with suppress(StoreError):  # a fault that struck no sooner
            contents(store, first=1)
        found = contents(store, NEW)
        assert self._operation.allows(found, failure), f"the store itself then held {found}"

    def points(self, how: str) -> list[Fault]:
        self._restore()
        return self._strace.points(lambda: self._prepared(looks=False), how)

    def play(self, fault: Fault, turn: int) -> Outcome:
        """One fault, and everything that must hold after it."""
        self._restore()
        operation = self._operation
        with ExitStack() as opened:
            witness = None
            if operation.before:
                witness = opened.enter_context(Witness(self._folder, NEW))
                assert witness.contents() == operation.before
            outcome = self._strace.run(lambda: self._prepared(looks=not fault.how.endswith("+")), fault)
            assert outcome.error is not None or not outcome.unsynced, "not on the disk, but acknowledged"
            failed = outcome.killed or outcome.error is not None
            newcomer = opened.enter_context(self._open())
            ways = [lambda: contents(newcomer, NEW, first=turn // 2)]
            if witness is not None:
                ways.insert(turn % 2, lambda: witness.contents(first=turn // 2))
            found = [way() for way in ways]
            is_right = operation.allows(found[0], outcome.error) if failed else found[0] == operation.after
            assert is_right, f"the operation is neither done nor undone: {found[0]}"
            assert all(other == found[0] for other in found), "a store that was open and a new one differ"
            report = newcomer.verify()
            assert report.ok, report
            newcomer.save(Sample("later"))
            operation.act(newcomer)
            for way in ways:
                assert way() == {**operation.after, "later": Sample("later")}, "nothing can be done afterwards"
        return outcome


@pytest.mark.parametrize("how", HOWS)
@pytest.mark.parametrize("name", OPERATIONS)
def test_every_fault_leaves_all_or_nothing(name: str, how: str, folder: Path, strace: Strace):
    scene = Scene(folder, OPERATIONS[name], strace)
    points = scene.points(how)
    struck = 0
    wrong: list[str] = []
    for turn, fault in enumerate(points[secrets.randbelow(EVERY) :: EVERY]):
        try:
            outcome = scene.play(fault, turn)
        except (AssertionError, StoreError):
            wrong.append(f"{fault}:\n{traceback.format_exc()}")
            continue
        struck += outcome.struck
    assert not wrong, f"{len(wrong)} of {len(points)} faults did harm.\n" + "\n".join(wrong[:5])
    assert struck > 0, "no fault struck: the test shows nothing"


def test_a_fault_beyond_the_last_call_changes_nothing(folder: Path, strace: Strace):
    scene = Scene(folder, OPERATIONS["save"], strace)
    outcome = scene.play(Fault("pwrite64", 10_000, "KILL"), 0)
    assert not outcome.struck
    assert outcome.returned == "x"
