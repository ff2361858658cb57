"""Work at the end of a process: in programs, in children of multiprocessing of every kind, in forked children."""

from __future__ import annotations

import gc
import multiprocessing
import os
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from truthstore.runtime import exits
from truthstore.runtime.exits import at_exit


class Note:
    """Appends its name to a file at the end."""

    def __init__(self, path: str, name: str) -> None:
        self.path = path
        self.name = name
        at_exit(self.write)

    def write(self) -> None:
        with open(self.path, "a") as file:
            file.write(f"{self.name}\n")


class Bad(Note):
    """Fails at the end."""

    def write(self) -> None:
        raise OSError("on purpose")


kept: list[Note] = []


def work(path: str) -> None:
    kept.append(Note(path, "child"))


METHODS = [method for method in ("fork", "forkserver", "spawn") if method in multiprocessing.get_all_start_methods()]


@pytest.mark.parametrize("kind", ["process", "pool", "executor"])
@pytest.mark.parametrize("method", METHODS)
@pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")
@pytest.mark.usefixtures("importable_tests")
def test_a_child_of_multiprocessing_does_its_work_at_its_end(tmp_path, method, kind):
    path = str(tmp_path / "notes")
    context: Any = multiprocessing.get_context(method)
    if kind == "process":
        process = context.Process(target=work, args=(path,))
        process.start()
        process.join()
        assert process.exitcode == 0
    elif kind == "pool":
        pool = context.Pool(1)
        pool.map_async(work, [path]).get(60)
        pool.close()
        pool.join()
    else:
        with ProcessPoolExecutor(1, mp_context=context) as executor:
            list(executor.map(work, [path]))
    assert set(Path(path).read_text().split()) == {"child"}


PROGRAM = """
from test_exits import Bad, Note
import logging, os, sys
logging.basicConfig()
path = sys.argv[1]
notes = [Note(path, "first"), Bad(path, "bad"), Note(path, "second")]
if sys.argv[2] == "fork" and not os.fork():
    sys.exit()
if sys.argv[2] == "fork":
    os.wait()
"""


@pytest.mark.parametrize(("way", "lines"), [("alone", 2), ("fork", 4)])
def test_the_youngest_is_first_and_one_that_fails_does_not_hold_up_the_others(tmp_path, way, lines):
    path = tmp_path / "notes"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([os.path.dirname(__file__), *sys.path])}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(path), way], env=environment, check=True, capture_output=True, text=True
    )
    names = path.read_text().split()
    assert names[0] == "second"
    assert set(names) == {"first", "second"}
    assert names[-1] == "first"
    assert len(names) >= lines
    assert "Bad.write failed at exit" in done.stderr
    assert "on purpose" in done.stderr


def test_an_object_is_not_kept_alive(tmp_path):
    gc.collect()
    before = len(exits._methods._methods)
    note = Note(str(tmp_path / "notes"), "gone")
    assert len(exits._methods._methods) == before + 1
    del note
    gc.collect()
    assert len(exits._methods._methods) == before
