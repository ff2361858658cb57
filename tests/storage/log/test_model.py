"""The executable model of the protocol (docs/design/logmodel): a short run with fixed seeds, and that it finds mistakes."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import pytest

MODEL = Path(__file__).parents[3] / "docs" / "design" / "logmodel"
SCHEDULES = 1_000


@pytest.fixture
def hunt(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Run schedules of the model, from a seed; the second part of the answer is the seed that broke a promise."""
    monkeypatch.syspath_prepend(str(MODEL))
    return importlib.import_module("simulate").hunt


def test_no_schedule_of_the_model_breaks_a_promise(hunt: Any):
    schedules, seed, violation, *_ = hunt({}, SCHEDULES, 1e9, 1)
    assert (schedules, seed, violation) == (SCHEDULES, None, None)


@pytest.mark.parametrize(
    "variant",
    [
        {"delete_first": True},
        {"order": "desc"},
        {"intent": "no"},
        {"create": "body-first"},
        {"reget": False},
        {"gone": "trust"},
        {"late": "believe"},
        {"own": "blind"},
    ],
    ids=str,
)
def test_the_model_finds_mistakes(variant: dict[str, Any], hunt: Any):
    _, seed, violation, *_ = hunt({}, 1_000, 1e9, 7_000_000, **variant)
    assert seed is not None
    assert violation
