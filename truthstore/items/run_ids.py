"""Ids of runs: new ones, and those that belong to the run of a tool."""

from __future__ import annotations

import hashlib
import itertools
import os
from datetime import UTC, datetime
from typing import Final

__all__ = ["derived_run_id", "new_run_id"]

_counters: Final[dict[int, itertools.count[int]]] = {}


def new_run_id(now: datetime | None = None) -> str:
    """Return a new run id, ``run_<YYYYmmdd>_<HHMMSS>_<8 hex digits>``: unique in this process, across threads and forks.

    The digits count up from a random start in every process, so ids of two processes differ too, but by chance only.

    Args:
        now: when the checks ran; a naive time means local time. The id shows it in UTC.
    """
    process = os.getpid()
    # setdefault is atomic: no thread gets a second counter, and a forked child finds none under its own number.
    counter = _counters.get(process) or _counters.setdefault(
        process, itertools.count(int.from_bytes(os.urandom(4), "big"))
    )
    moment = datetime.now(UTC) if now is None else now.astimezone(UTC)
    return f"run_{moment:%Y%m%d_%H%M%S}_{next(counter) & 0xFFFFFFFF:08x}"


def derived_run_id(run_time: datetime | None, *parts: str) -> str:
    """Return the run id of a tool's run, in the form of `new_run_id` but longer: equal parts at equal times, equal ids.

    Args:
        run_time: when the checks ran; a naive time means local time. The id shows it in UTC. None if nobody knows.
        parts: the identity of the run among all others.
    """
    digest = hashlib.sha256("\0".join(parts).encode("utf-8", "backslashreplace")).hexdigest()
    return f"run_{digest[:24]}" if run_time is None else f"run_{run_time.astimezone(UTC):%Y%m%d_%H%M%S}_{digest[:16]}"
