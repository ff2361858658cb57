"""Copies of a folder to PostgreSQL beside reading all and `save_many` by hand, their memory, and a copy with nothing new."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

from benchmarks.measure import Figure, duration, progress
from benchmarks.places import Places
from tests.services.postgresql import MissingServerError, postgresql
from truthstore import BaseStore, copy_store
from truthstore.backends.database import DatabaseStore


def figures(places: Places) -> Iterator[Figure]:
    """Measure copies."""
    try:
        with postgresql(16) as server:
            yield from _copies(places, server.url)
    except MissingServerError as error:
        progress(f"left out: {error}")


def _copies(places: Places, url: str) -> Iterator[Figure]:
    ratios: list[float] = []
    repeated: list[float] = []
    memory: list[float] = []
    detail = again = ""
    for number in range(3):
        with ExitStack() as stack:
            source: BaseStore[Any] = stack.enter_context(closing(places.store(places.middle, "os")))
            copied, by_hand = (
                stack.enter_context(closing(DatabaseStore(connection_url=url, namespace=f"{name}-{number}")))
                for name in ("copied", "by-hand")
            )
            for store in (copied, by_hand):
                store.initialize()
            before = _memory("VmRSS")
            Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # the peak begins again
            ours = _seconds(lambda: copy_store(source, copied))  # noqa: B023  # runs at once
            memory.append(_memory("VmHWM") - before)
            nothing_new = median(_seconds(lambda: copy_store(source, copied)) for _ in range(5))  # noqa: B023  # as above
            theirs = _seconds(lambda: by_hand.save_many(source.query()))  # noqa: B023  # as above
            ratios.append(ours / theirs)
            repeated.append(100 * nothing_new / ours)
            detail, again = f"{duration(ours)} : {duration(theirs)}", f"{duration(nothing_new)} : {duration(ours)}"
    what = f"`copy_store` of {places.middle:,} results, folder → PostgreSQL, read back and compared"
    yield Figure(what, "`save_many(source.query())`", median(ratios), "at most", 1.3, detail=detail)
    yield Figure(what, "the process before it", max(memory), "at most", 100, "MB", f"{places.middle:,} results")
    yield Figure("the same with nothing new", "the full copy", median(repeated), "at most", 1, "%", again)


def _seconds(work: Any) -> float:
    start = perf_counter()
    work()
    return perf_counter() - start


def _memory(name: str) -> float:
    """A figure of this process in megabytes."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(name))
