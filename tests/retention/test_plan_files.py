"""A plan in a file: looked at by people, applied on another day."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.retention.doubles import NOW, result
from truthstore import StoreClosedError, StoreConfigError, StoreCorruptError
from truthstore.backends.memory import MemoryStore
from truthstore.retention import RetentionPlan, RetentionStore, TimeBasedPolicy
from truthstore.testing import SAMPLES


@pytest.fixture
def base() -> MemoryStore[Any]:
    base = MemoryStore()
    base.save_many([result("new"), result("old", 100), result("older", 200, team="x"), result("oldest", 300)])
    return base


def saved(base: MemoryStore[Any], path: Path) -> Path:
    with RetentionStore(base, TimeBasedPolicy(90)).plan() as plan:
        plan.save(path)
    return path


def test_it_is_applied_on_another_day(base, tmp_path: Path):
    with RetentionStore(base, TimeBasedPolicy(90)).plan() as plan:
        plan.save(tmp_path / "plan")
        items, shown = list(plan), repr(plan)
    base.save(result("old"))  # meanwhile
    with RetentionPlan.load(tmp_path / "plan") as loaded:
        assert (list(loaded), repr(loaded), loaded.made_at) == (items, shown, plan.made_at)
        assert NOW - loaded.made_at < timedelta(hours=1)
        done = RetentionStore(base, TimeBasedPolicy(90)).apply(loaded)
    assert (done.items_scanned, done.items_deleted, done.items_changed) == (4, 2, 1)
    assert sorted(base.list_ids()) == ["new", "old"]


def test_its_path_may_begin_in_the_home_folder(base, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    saved(base, Path("~/plan"))
    assert (tmp_path / "plan").is_file()
    with RetentionPlan.load("~/plan") as plan:
        assert len(plan) == 3


@pytest.mark.parametrize("hold", [{"excluded_tags": ["team"]}, {"excluded_assets": ["orders"]}])
def test_a_hold_that_is_newer_than_the_plan_holds(base, tmp_path: Path, hold):
    strict = RetentionStore(base, TimeBasedPolicy(90), **hold)
    with RetentionPlan.load(saved(base, tmp_path / "plan")) as plan:
        done = strict.apply(plan)
    assert base.exists("older")
    assert done.items_excluded == (1 if "excluded_tags" in hold else 3)
    assert done.items_deleted + done.items_preserved == done.items_scanned == 4


def test_a_file_that_is_no_whole_plan_is_refused(base, tmp_path: Path):
    whole = saved(base, tmp_path / "plan").read_bytes()
    for wrong in (b"", b"{}\n", whole[:-1][:-5], whole[: whole.rindex(b"\n", 0, -1) + 1], whole + b"[]\n"):
        (tmp_path / "plan").write_bytes(wrong)
        with pytest.raises(StoreCorruptError, match="plan"):
            RetentionPlan.load(tmp_path / "plan")


def test_it_is_applied_to_its_collection_only(base, tmp_path: Path):
    samples = RetentionStore(base.collection(SAMPLES), TimeBasedPolicy(90))
    with RetentionPlan.load(saved(base, tmp_path / "plan")) as plan, pytest.raises(StoreConfigError, match="results"):
        samples.apply(plan)


def test_a_closed_plan_says_so(base):
    store = RetentionStore(base, TimeBasedPolicy(90))
    with store.plan() as plan:
        pass
    with pytest.raises(StoreClosedError, match="within its `with` block"):
        store.apply(plan)
    assert base.count() == 4
