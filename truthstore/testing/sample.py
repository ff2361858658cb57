"""A small item with a field of every type that can be indexed, and data that holds every kind of trouble."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, timezone
from typing import Any, Final

from truthstore.model.collection import Collection
from truthstore.model.projection import Projection

__all__ = ["SAMPLES", "Sample", "make_samples"]


@dataclass
class Sample:
    """An item for tests in which the kind of item plays no part.

    Attributes:
        id: the id.
        data_asset: for the queries that know assets.
        status: for the queries that know states.
        name: a string.
        count: a 64-bit integer.
        ratio: a float.
        passed: a bool.
        moment: the time field.
        seen: another time.
        note: what full-text queries look in.
        tags: the tags.
        details: free-form JSON; not indexed.
    """

    id: str
    data_asset: str | None = None
    status: str | None = None
    name: str | None = None
    count: int | None = None
    ratio: float | None = None
    passed: bool | None = None
    moment: datetime | None = None
    seen: datetime | None = None
    note: str = ""
    tags: dict[str, str] = field(default_factory=dict)
    details: dict[str, Any] = field(default_factory=dict)


def _words(sample: Sample) -> list[dict[str, Any]]:
    return [
        {"word": word[:60], "position": number, "weight": sample.ratio, "first": number == 0, "seen": sample.seen}
        for number, word in enumerate(sample.note.split()[:5])
    ]


SAMPLES: Final[Collection[Sample]] = Collection.of(
    Sample,
    name="samples",
    time="moment",
    tags="tags",
    text=("note", "name"),
    index={
        "data_asset": str,
        "status": str,
        "name": str,
        "count": int,
        "ratio": float,
        "passed": bool,
        "seen": datetime,
    },
    rows=Projection(
        name="words",
        of=_words,
        fields={"word": str, "position": int, "weight": float, "first": bool, "seen": datetime},
        item="sample",
        inherits=("data_asset", "passed"),
        series=("data_asset", "word"),
    ),
)
"""The collection of samples."""

BASE_TIME: Final = datetime(2026, 1, 1, tzinfo=UTC)

# Sorted by UTF-16 units, by locale or without regard to case, these come out in another order than by code point.
NAMES: Final = (None, "", "Z", "a", "a b", "aa", "é", "e\u0301", "\uffff", "\U0001f600", "it's", 'say "x"', "100%_\\")
COUNTS: Final = (None, 0, 1, -1, 7, 2**53 + 1, 2**53, 2**63 - 1, -(2**63))
RATIOS: Final = (None, 0.0, -0.0, 0.1, 1.5, -2.5, 1e308, 5e-324, math.inf, -math.inf, math.nan)
STATUSES: Final = ("success", "failure", "error", None)
NOTES: Final = ("", "the orders table", "ORDERS of Straße 7", "nothing to see", "a_b-c d'e", "42 été")
TAGS: Final[tuple[dict[str, str], ...]] = (
    {},
    {"team": "data"},
    {"team": "data", "stage": "prod"},
    {"a.b": "1", "$.x": "2", "[0]": "3", 'quo"te': "4", "it's": "5", " ": " "},
    {"TEAM": "data", "ключ": "значение", "team ": "", "stage": "PROD"},
)


def make_samples(number: int = 45) -> list[Sample]:
    """Return so many samples, the same at every call: ties, None, and neighbours that are easily confused."""
    samples: list[Sample] = []
    for i in range(number):
        moment = None if i % 17 == 3 else BASE_TIME + timedelta(hours=(i * 7) % 40, microseconds=i % 2)
        if moment is not None and i % 3 == 0:
            moment = moment.astimezone(timezone(timedelta(hours=5, minutes=30)))
        samples.append(
            Sample(
                id=f"{'sS'[i % 2]}-{(i * 37) % 101:03d}",
                data_asset=("orders", "Orders", "päyments", "orders")[i % 4],
                status=STATUSES[i % len(STATUSES)] if i % 5 else None,
                name=NAMES[i % len(NAMES)],
                count=COUNTS[(i * 4) % len(COUNTS)],
                ratio=RATIOS[(i * 5) % len(RATIOS)],
                passed=(None, True, False)[i % 3],
                moment=moment,
                seen=None if i % 4 == 0 else BASE_TIME - timedelta(days=i % 6),
                note=NOTES[i % len(NOTES)],
                tags=dict(TAGS[i % len(TAGS)]),
                details={"index": i, "padding": "x" * ((i * 13) % 50)},
            )
        )
    return samples
