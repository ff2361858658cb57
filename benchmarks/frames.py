"""How many calls into the library a save is: a plain stack is quick because little happens, not because it is hurried."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import msgspec

import truthstore
from benchmarks.caching import guide_stack
from benchmarks.measure import Figure
from benchmarks.places import Places
from truthstore import BaseStore, ValidationResult
from truthstore.backends.filesystem import FileSystemStore

LIBRARY = str(Path(truthstore.__file__).parent)


def figures(places: Places) -> Iterator[Figure]:
    """Count the calls of two saves through versions, cache, audit and metrics over files."""
    one = _small(places)
    with guide_stack(FileSystemStore(base_path=places.path("frames"))) as stack:
        for _ in range(3):  # whatever is made once is there
            stack.save(_small(places))
        stack.save(one)
        stack.save(one)
        first = calls(stack, _small(places)).total()
        again = calls(stack, one).total()
    yield Figure("calls of a first save through the whole stack", "over files", first, "at most", 70, "calls")
    yield Figure("calls of a save over an old version", "over files", again, "at most", 200, "calls")


def calls(store: BaseStore[Any], item: ValidationResult) -> Counter[str]:
    """Count the calls of functions of the library, by name, while an item is saved."""
    found: Counter[str] = Counter()

    def note(frame: FrameType, event: str, _: object) -> None:
        if event == "call" and frame.f_code.co_filename.startswith(LIBRARY):
            found[f"{frame.f_code.co_filename[len(LIBRARY) + 1 :]} {frame.f_code.co_qualname}"] += 1

    sys.setprofile(note)
    try:
        store.save(item)
    finally:
        sys.setprofile(None)
    return found


def _small(places: Places) -> ValidationResult:
    (one,) = places.new_results(1)
    small: ValidationResult = msgspec.structs.replace(one, results=one.results[:1])
    return small
