"""Options that would delete too much, or fail only when clean-up is due, are refused at once."""

from __future__ import annotations

from datetime import timedelta
from math import inf, nan
from typing import Any

import pytest

from tests.retention.doubles import NOW, result
from truthstore.backends.memory import MemoryStore
from truthstore.errors import StoreConfigError
from truthstore.retention import (
    CompositePolicy,
    CountBasedPolicy,
    CustomPolicy,
    ItemMetadata,
    RetentionConfig,
    RetentionSchedule,
    RetentionStore,
    SizeBasedPolicy,
    StatusBasedPolicy,
    TagBasedPolicy,
    TimeBasedPolicy,
)
from truthstore.testing import SAMPLES, ManualClock


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("excluded_tags", {"legal_hold": True}),
        ("excluded_tags", {"hold": 1}),
        ("excluded_tags", {1: "hold"}),
        ("excluded_tags", {"legal_hold": ["true", "yes"]}),
        ("excluded_tags", [("legal_hold", "true")]),
        ("excluded_tags", [["legal_hold", "true"]]),
        ("excluded_tags", None),
        ("excluded_tags", b"hold"),
        ("excluded_assets", "orders"),
        ("excluded_assets", ["orders", 1]),
        ("excluded_assets", None),
    ],
)
def test_a_hold_that_would_hold_nothing_is_refused(name, value):
    options: dict[str, Any] = {name: value}
    with pytest.raises(TypeError, match=name):
        RetentionConfig(**options)


def test_holds_may_come_from_anywhere():
    config = RetentionConfig(excluded_tags=(name for name in ("a", "b")), excluded_assets=iter(["x"]))  # type: ignore[arg-type]
    assert config.excluded_tags == {"a": None, "b": None}
    assert list(config.excluded_assets) == list(config.excluded_assets) == ["x"]
    config = RetentionConfig(excluded_tags={"hold": "yes", "legal": None})
    assert config.excluded_tags == {"hold": "yes", "legal": None}


@pytest.mark.parametrize(
    "options",
    [
        {"required_tags": {"keep": True}},
        {"required_tags": {"keep": None}},
        {"delete_tags": {"temporary": None}},
        {"delete_tags": {1: "a"}},
        {"delete_tags": ["temporary"]},
        {"required_tags": "keep"},
        {"tag_key": 1, "max_age_days": 1},
        {"tag_key": "a", "tag_value": 1, "max_age_days": 1},
    ],
)
def test_tags_are_strings(options):
    with pytest.raises(TypeError, match="tag"):
        TagBasedPolicy(**options)


wrong: Any = {
    ValueError: [
        lambda: TimeBasedPolicy(nan),
        lambda: TimeBasedPolicy(inf),
        lambda: StatusBasedPolicy("error", nan),
        lambda: TagBasedPolicy(tag_key="a", max_age_days=-5),
        lambda: TagBasedPolicy(tag_key="a", max_age_days=0),
        lambda: TagBasedPolicy(tag_key="a", max_age_days=nan),
        lambda: SizeBasedPolicy(nan),
        lambda: SizeBasedPolicy(max_size_gb=inf),
        lambda: RetentionStore(MemoryStore(), cleanup_interval_hours=nan),
        lambda: RetentionStore(MemoryStore(), cleanup_interval_hours=inf),
        lambda: RetentionSchedule(max_duration_seconds=nan),
    ],
    TypeError: [
        lambda: CountBasedPolicy(1.5),  # type: ignore[arg-type]
        lambda: CountBasedPolicy(nan),  # type: ignore[arg-type]
        lambda: TimeBasedPolicy(max_age=90),  # type: ignore[arg-type]
        lambda: StatusBasedPolicy(1),  # type: ignore[arg-type]
        lambda: RetentionSchedule(run_at_hour=1.5),  # type: ignore[arg-type]
    ],
}


@pytest.mark.parametrize(("kind", "make"), [(kind, make) for kind, all in wrong.items() for make in all])
def test_numbers_that_are_none_are_refused(kind, make):
    with pytest.raises(kind) as error:
        make()
    assert not {"<=", "NaN", "convert"} & set(str(error.value).split())


def test_an_age_before_the_calendar_keeps_everything():
    item = ItemMetadata("a", "x", NOW - timedelta(days=99), status="error", tags={"a": "b"})
    for policy in (
        TimeBasedPolicy(max_age_days=10**6),
        StatusBasedPolicy("error", 10**6),
        TagBasedPolicy(tag_key="a", max_age_days=10**6),
        TimeBasedPolicy(10**8),
    ):
        assert policy.should_retain(item)
    store = RetentionStore(MemoryStore(), TimeBasedPolicy(max_age_days=10**6))
    store.save(result("a", 99))
    assert store.run_cleanup().items_preserved == 1


def test_a_policy_that_raises_fails_no_save(caplog):
    store = RetentionStore(
        MemoryStore(), CustomPolicy(lambda item: item.tags["team"] == "x"), cleanup_interval_hours=24
    )
    assert store.save(result("a")) == "a"
    assert store.save_many([result("b", team="x")]) == ["b"]
    assert "clean-up of results failed" in caplog.text
    assert "KeyError" in caplog.text
    with pytest.raises(KeyError):
        store.run_cleanup()


def test_a_clean_up_that_was_killed_is_done_again_soon():
    base = MemoryStore()
    clock = ManualClock(NOW)

    def make(policy: Any) -> RetentionStore[Any]:
        return RetentionStore(
            base,
            policy,
            schedule=RetentionSchedule(interval_hours=24, max_duration_seconds=600),
            preserve_latest=False,
            clock=clock.now,
        )

    def die(item: ItemMetadata) -> bool:
        raise KeyboardInterrupt

    base.save(result("old", 100))
    with pytest.raises(KeyboardInterrupt):
        make(CustomPolicy(die)).save(result("new"))
    working = make(TimeBasedPolicy(90))
    assert working.last_run() is None
    working.save(result("newer"))
    assert base.exists("old"), "it may still be going on"
    clock.advance(minutes=11)
    make(TimeBasedPolicy(90)).save(result("newest"))
    assert not base.exists("old")
    first = working.last_run()
    assert first == clock.now()
    clock.advance(hours=25)
    with pytest.raises(KeyboardInterrupt):
        make(CustomPolicy(die)).save(result("later"))
    assert working.last_run() == first, "it was not finished since"


def test_a_status_that_no_item_can_have_is_refused():
    for policy in (StatusBasedPolicy("failed"), CompositePolicy([TimeBasedPolicy(1), StatusBasedPolicy("failed")])):
        with pytest.raises(StoreConfigError, match="'failed', only error, failure, success, warning"):
            RetentionStore(MemoryStore(), policy)
    RetentionStore(MemoryStore(), StatusBasedPolicy("failure"))
    RetentionStore(MemoryStore(collection=SAMPLES), StatusBasedPolicy("failed"))  # any text is a status there
