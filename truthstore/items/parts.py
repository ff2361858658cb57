"""The parts in which a run is kept that is larger than memory: each some checks, beside the run itself."""

from __future__ import annotations

import functools
from dataclasses import replace
from datetime import datetime
from typing import Any, Final

import msgspec

from truthstore.items.check_rows import CHECKS
from truthstore.items.checks import ValidatorResult
from truthstore.items.item import Item
from truthstore.model.collection import Collection

__all__ = ["STREAM_TAG", "Part", "part_id", "parts_of"]

STREAM_TAG: Final = "truthstore.stream"
"""Tag of a run whose checks are in parts; its value tells them from those of a run of the same id that is gone."""


class Part(Item, msgspec.Struct, omit_defaults=True, kw_only=True):
    """Some of the checks of a run, in order.

    Attributes:
        id: see `part_id`.
        run_id: the run.
        stream: the value of the run's `STREAM_TAG`.
        results: the checks.
        run_time, data_asset, suite_name, tags, metadata, interval_start, interval_end: what rows take over from the run.
    """

    id: str
    run_id: str
    stream: str
    run_time: datetime
    data_asset: str
    results: list[ValidatorResult]
    suite_name: str | None = None
    tags: dict[str, str] = {}
    metadata: dict[str, Any] = {}
    interval_start: datetime | None = None
    interval_end: datetime | None = None

    @property
    def number(self) -> int:
        """Its number in the run, from 0."""
        return int(self.id.rpartition(".")[2])


def part_id(run_id: str, stream: str, number: int) -> str:
    """Return the id of a part of a run, counted from 0."""
    return f"{run_id}.{stream}.{number:06d}"


@functools.cache
def parts_of(collection: Collection[Any]) -> Collection[Part]:
    """Return the collection of the parts of a collection's runs. Its rows have the fields of the runs' own, and two more."""
    return Collection(
        Part,
        name=collection.derived("parts"),
        id="id",
        time="run_time",
        tags="tags",
        index={"data_asset": str, "suite_name": str, "run_id": str, "stream": str},
        lookups=(("stream",),),
        is_canonical=_is_canonical,
        rows=replace(
            CHECKS,
            item="part",
            inherits=(*CHECKS.inherits, "run_id", "stream"),
            lookups=(("run_id",), *CHECKS.lookups),
        ),
    )


def _is_canonical(_part: Part) -> bool:
    """Return True: what a part is made of was read from JSON."""
    return True
