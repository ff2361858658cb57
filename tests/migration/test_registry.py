"""Versions have an order, and migrations a shortest way from one to another."""

from __future__ import annotations

from typing import Any

import pytest

from truthstore.migration import MigrationError, MigrationPathError, MigrationRegistry, SchemaVersion


def same(document: dict[str, Any]) -> dict[str, Any]:
    return document


@pytest.mark.parametrize(("text", "shown"), [("2", "2.0.0"), ("2.1", "2.1.0"), ("2.1.10", "2.1.10")])
def test_a_version_is_read_from_its_text(text: str, shown: str):
    assert str(SchemaVersion.parse(text)) == shown
    assert SchemaVersion.parse(SchemaVersion.parse(text)) == SchemaVersion.parse(shown)


@pytest.mark.parametrize("text", ["", "v1", "1.", "1.2.3.4", "-1", "1.0a", "１", 1, 1.5, None])
def test_anything_else_is_none(text: Any):
    with pytest.raises(ValueError, match="a version is one to three numbers"):
        SchemaVersion.parse(text)


def test_versions_are_ordered_by_their_numbers():
    assert sorted(map(SchemaVersion.parse, ["1.10", "2", "1.9.9"])) == [
        SchemaVersion(1, 9, 9),
        SchemaVersion(1, 10),
        SchemaVersion(2),
    ]


def test_the_way_is_the_shortest_and_may_lead_down():
    registry = MigrationRegistry()
    for source, target in [("1", "2"), ("2", "3"), ("3", "4"), ("2", "4"), ("4", "1")]:
        registry.register(source, target)(same)
    assert [str(step.target) for step in registry.path("1", "4")] == ["2.0.0", "4.0.0"]
    assert [str(step.target) for step in registry.path("3", "1")] == ["4.0.0", "1.0.0"]
    assert registry.path("3", "3") == []
    assert registry.latest() == SchemaVersion(4)


def test_where_no_way_leads_it_says_which_there_are():
    registry = MigrationRegistry()
    registry.register("1", "2")(same)
    with pytest.raises(MigrationPathError, match=r"from 1\.0\.0 to 3\.0\.0; registered are 1\.0\.0 → 2\.0\.0"):
        registry.path("1", "3")
    with pytest.raises(MigrationPathError, match="registered are none"):
        registry.path("1", "2", "orders")
    assert registry.latest("orders") == SchemaVersion(1)


def test_a_step_is_registered_once_and_leads_somewhere():
    registry = MigrationRegistry()
    registry.register("1", "2")(same)
    with pytest.raises(ValueError, match="has a migration from"):
        registry.register("1.0", "2.0.0")
    with pytest.raises(ValueError, match="not from"):
        registry.register("1", "1.0")


def test_a_step_that_raises_or_returns_nothing_is_named():
    registry = MigrationRegistry()
    registry.register("1", "2")(lambda document: {"n": document["m"]})
    registry.register("2", "3")(lambda document: None)  # type: ignore[type-var]
    with pytest.raises(MigrationError, match=r"results from 1\.0\.0 to 2\.0\.0 raised KeyError: 'm'") as raised:
        registry.migrate({}, "1", "2")
    assert isinstance(raised.value.__cause__, KeyError)
    with pytest.raises(MigrationError, match="returned NoneType: return the document"):
        registry.migrate({"m": 1}, "1", "3")
