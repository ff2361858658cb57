"""What dbt writes, as far as results need it: a run and its outcomes, and the manifest, which says what a test looks at."""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import msgspec

from truthstore.items.artefacts import opened

__all__ = ["Config", "Manifest", "Metadata", "Node", "Outcome", "Run", "manifest_of"]


class Struct(msgspec.Struct, kw_only=True):
    """A part of an artefact: what is null or missing is the default, what is unknown is not read."""


class Metadata(Struct):
    """What dbt says of a run."""

    dbt_schema_version: str | None = None
    dbt_version: str | None = None
    generated_at: datetime | None = None
    invocation_started_at: datetime | None = None
    invocation_id: str | None = None
    project_name: str | None = None
    adapter_type: str | None = None
    env: dict[str, Any] | None = None


class Outcome(Struct):
    """What became of one node: a test, a model, or the freshness of a source."""

    unique_id: str
    status: str
    message: str | None = None
    failures: int | float | None = None
    execution_time: float | None = None
    error: Any = None
    max_loaded_at: str | None = None
    max_loaded_at_time_ago_in_s: float | None = None
    snapshotted_at: str | None = None
    criteria: dict[str, Any] | None = None


class Run(Struct):
    """One invocation of dbt."""

    metadata: Metadata
    results: list[Outcome]
    args: dict[str, Any] | None = None
    elapsed_time: float | None = None
    ended: bool = True

    @property
    def is_fusion(self) -> bool:
        """Whether this is dbt 2, or a later one."""
        major = (self.metadata.dbt_version or "").partition(".")[0]
        return major.isdigit() and int(major) > 1

    @property
    def ran_nothing(self) -> bool:
        """Whether this is what dbt 2 writes when it is interrupted, or cannot start: all are errors, after no time."""
        errors = (outcome.status == "error" and outcome.failures is None for outcome in self.results)
        return self.is_fusion and self.elapsed_time == 0 and bool(self.results) and all(errors)


class TestMetadata(Struct):
    """The rule of a generic test, and its parameters."""

    name: str
    namespace: str | None = None
    kwargs: dict[str, Any] | None = None


class Config(Struct):
    """Configuration of a node."""

    severity: str | None = None
    warn_if: str | None = None
    error_if: str | None = None
    limit: int | None = None
    where: str | None = None
    fail_calc: str | None = None
    materialized: str | None = None
    meta: dict[str, Any] | None = None


class DependsOn(Struct):
    """The nodes that a node reads."""

    nodes: list[str] | None = None


class Node(Struct):
    """What the manifest says of a node."""

    unique_id: str
    name: str
    resource_type: str = ""
    source_name: str | None = None
    version: str | int | float | None = None
    column_name: str | None = None
    attached_node: str | None = None
    test_metadata: TestMetadata | None = None
    config: Config | None = None
    depends_on: DependsOn | None = None
    meta: dict[str, Any] | None = None
    tags: list[str] | None = None
    group: str | None = None
    freshness: dict[str, Any] | None = None
    loaded_at_field: str | None = None

    @property
    def inputs(self) -> list[str]:
        """The nodes that it reads."""
        return (self.depends_on and self.depends_on.nodes) or []


class Group(Struct):
    """A group of models and who looks after it."""

    name: str
    owner: dict[str, Any] | None = None


class Manifest(Struct):
    """What a project consists of."""

    metadata: Metadata = msgspec.field(default_factory=Metadata)
    nodes: dict[str, Node] = {}
    sources: dict[str, Node] = {}
    unit_tests: dict[str, Node] = {}
    groups: dict[str, Group] = {}
    selectors: dict[str, Any] = {}

    def find(self, unique_id: str | None) -> Node | None:
        """Return a node of any kind."""
        if unique_id is None:
            return None
        return self.nodes.get(unique_id) or self.sources.get(unique_id) or self.unit_tests.get(unique_id)

    def looked_at(self, node: Node) -> Node | None:
        """Return the model or source that a test looks at; anything else looks at itself."""
        if node.resource_type not in {"test", "unit_test"}:
            return node
        if (attached := self.find(node.attached_node)) is not None:
            return attached
        rule = node.test_metadata
        text = str(((rule and rule.kwargs) or {}).get("model", "")) or node.name
        # A test of a source is attached to nothing; its model reads "source('shop', 'orders')".
        known = sorted(filter(None, map(self.find, node.inputs)), key=lambda found: found.unique_id)
        return min(known, key=lambda found: text.find(found.name) % (len(text) + 1), default=None)  # the first named

    def owner_of(self, node: Node, table: Node | None) -> str | None:
        """Return who looks after a test, or else after its table: the owner in `meta`, or that of the group."""
        for one in filter(None, (node, table)):
            said = {**((one.config and one.config.meta) or {}), **(one.meta or {})}.get("owner")
            if isinstance(said, str) and said:
                return said
        groups = {group.name: group.owner or {} for group in self.groups.values()}
        owner = groups.get((table and table.group) or node.group or "", {})
        name = owner.get("name") or owner.get("email")
        return None if name is None else str(name)

    def unchecked_sources(self, run: Run) -> Iterator[Node]:
        """Yield the sources that should be fresh, and of which a run says nothing."""
        seen = {outcome.unique_id for outcome in run.results}
        for node in self.sources.values():
            limits = [(node.freshness or {}).get(name) or {} for name in ("warn_after", "error_after")]
            if node.unique_id not in seen and any(limit.get("count") for limit in limits):
                yield node


def manifest_of(given: Any, artefact: Any) -> Manifest:
    """Return the manifest: the one given, or the one that lies beside an artefact or above it; else an empty one."""
    if given is None and isinstance(artefact, str | os.PathLike):
        folder = os.path.dirname(os.path.abspath(os.fsdecode(artefact)))
        places = (os.path.join(folder, "manifest.json"), os.path.join(os.path.dirname(folder), "manifest.json"))
        given = next(filter(os.path.exists, places), None)
    if given is None:
        return Manifest()
    found: Manifest = opened(given, _ManifestFile)[0].manifest()
    return found


class _ManifestFile(Struct):
    """A manifest as it is written, where any part may be null."""

    metadata: Metadata
    nodes: dict[str, Node]
    sources: dict[str, Node] | None = None
    unit_tests: dict[str, Node] | None = None
    groups: dict[str, Group] | None = None
    selectors: dict[str, Any] | None = None

    def manifest(self) -> Manifest:
        parts = {name: value for name, value in msgspec.structs.asdict(self).items() if value is not None}
        return Manifest(**parts)
