"""Items that each policy keeps, alone and with others."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import pytest

from tests.retention.doubles import item, kept
from truthstore.results import ResultStatus
from truthstore.retention import (
    CompositePolicy,
    CountBasedPolicy,
    CustomPolicy,
    ItemMetadata,
    PolicyEvaluator,
    PolicyMode,
    SizeBasedPolicy,
    StatusBasedPolicy,
    TagBasedPolicy,
    TimeBasedPolicy,
)


def test_by_age():
    for policy in (TimeBasedPolicy(7), TimeBasedPolicy(6, 23, 60), TimeBasedPolicy(max_age=timedelta(days=7))):
        assert kept(policy, [item("new", 6.9), item("old", 7.1)]) == ["new"]
    naive = ItemMetadata("a", "x", datetime.now() - timedelta(hours=1))  # noqa: DTZ005  # local time
    assert TimeBasedPolicy(max_age_hours=2).should_retain(naive)
    assert not TimeBasedPolicy(max_age_minutes=30).should_retain(naive)
    wrong: Any
    for wrong in ({}, {"max_age_days": -1}, {"max_age_days": 1, "max_age": timedelta(1)}):
        with pytest.raises(ValueError):
            TimeBasedPolicy(**wrong)


def test_by_number_and_size():
    items = [item(f"i{n}", n, asset="ab"[n % 2], size=300) for n in range(6)]
    assert kept(CountBasedPolicy(2), items) == ["i0", "i1"]
    assert kept(CountBasedPolicy(2, per_asset=True), items) == ["i0", "i1", "i2", "i3"]
    assert kept(SizeBasedPolicy(1_000), items) == ["i0", "i1", "i2"]
    assert kept(SizeBasedPolicy(max_size_kb=0.5, per_asset=True), items) == ["i0", "i1"]
    assert SizeBasedPolicy(max_size_gb=1, max_size_mb=1).max_size == 1_025 * 1_048_576
    for wrong in (lambda: CountBasedPolicy(0), SizeBasedPolicy):
        with pytest.raises(ValueError):
            wrong()


def test_by_status_and_tags():
    statuses = [item("s", 99, status="success"), item("f", 1, status="failure"), item("o", 9, status="failure")]
    assert kept(StatusBasedPolicy("failure", max_age_days=7), statuses) == ["s", "f"]
    assert kept(StatusBasedPolicy(ResultStatus.FAILURE, retain=False), statuses) == ["s"]
    assert kept(StatusBasedPolicy("failure"), statuses) == ["s", "f", "o"]
    tagged = [item("p", env="prod", team="x"), item("d", 9, env="dev"), item("n", 9)]
    assert kept(TagBasedPolicy({"env": "prod"}), tagged) == ["p"]
    assert kept(TagBasedPolicy({"env": "prod", "team": "y"}), tagged) == []
    assert kept(TagBasedPolicy({"env": "prod", "team": "y"}, any_match=True), tagged) == ["p"]
    assert kept(TagBasedPolicy(delete_tags={"env": "dev"}), tagged) == ["p", "n"]
    assert kept(TagBasedPolicy(tag_key="env", tag_value="dev", max_age_days=7), tagged) == ["p", "n"]
    assert kept(TagBasedPolicy(tag_key="env", max_age_days=10), tagged) == ["p", "d", "n"]
    wrong: Any
    for wrong in ({}, {"tag_key": "env"}, {"required_tags": {"a": "b"}, "max_age_days": 3}):
        with pytest.raises(ValueError):
            TagBasedPolicy(**wrong)


def test_several_as_one():
    items = [item("new", 0), item("old", 9), item("held", 9, keep="true"), item("older", 10)]
    policies = [TimeBasedPolicy(7), TagBasedPolicy({"keep": "true"})]
    assert kept(CompositePolicy(policies, PolicyMode.ANY), items) == ["new", "held"]
    assert kept(CompositePolicy(policies), items) == []
    nested = CompositePolicy([CompositePolicy(policies, "any"), CountBasedPolicy(1)], mode="all")  # type: ignore[arg-type]
    assert kept(nested, items) == ["new"]
    evaluator = PolicyEvaluator([TimeBasedPolicy(7), CustomPolicy(lambda _: False, "nothing")], PolicyMode.ANY)
    keeps, against = evaluator.evaluate(items[0])
    assert keeps
    assert [policy.name for policy in against] == ["nothing"]
    assert len(evaluator.evaluate(items[1])[1]) == 2
    evaluator.prepare_batch(iter(items))
    with pytest.raises(ValueError):
        CompositePolicy([])
