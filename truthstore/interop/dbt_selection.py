"""What a run of dbt should have run: of an interrupted one, dbt 1 writes only what had finished."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from truthstore.interop.dbt_artefacts import Manifest, Node, Run

__all__ = ["missing"]

KINDS: Final = {
    "test": {"test", "unit_test"},
    "build": {"model", "seed", "snapshot", "test", "unit_test", "function"},
    "run": {"model"},
    "seed": {"seed"},
    "snapshot": {"snapshot"},
}
"""The kinds of nodes that a command runs."""

UNCLEAR: Final = ("exclude_resource_types", "selector", "models")

_TERM: Final = re.compile(r"(?:(\d*)(\+))?(?:(fqn|tag):)?([^+@:,*?\[]+)(?:(\+)(\d*))?")


def missing(project: Manifest, run: Run) -> Iterator[Node]:
    """Yield the nodes that a run should have had and does not, as far as can be told: rather too few than too many."""
    args, seen = run.args or {}, {outcome.unique_id for outcome in run.results}
    known = {project.metadata.invocation_id, run.metadata.invocation_id}
    kinds = KINDS.get(str(args.get("which")))
    if run.is_fusion and run.ended:
        return  # dbt 2 lists all that it was to run, and does not say what that was
    if len(known) > 1 or project.selectors or any(map(args.get, UNCLEAR)) or kinds is None:
        return
    if "retry" in str(args.get("invocation_command", "")).split():
        return
    if (asked := args.get("resource_types")) and "all" not in asked:
        kinds = kinds.intersection(asked)
    nodes = {node.unique_id: node for node in (*project.nodes.values(), *project.unit_tests.values())}
    select, exclude = _terms(args.get("select")), _terms(args.get("exclude"))
    left_out: set[str] = set()
    for term in exclude:
        if not (found := _named(nodes, term)):
            return
        left_out |= found | _tests_of(nodes, found, "eager")
    wanted = set(nodes)
    if select:
        chosen = {id for term in select for id in _named(nodes, term)}
        wanted = chosen | _tests_of(nodes, chosen, str(args.get("indirect_selection") or "eager"))
    for node in nodes.values():
        is_run = node.resource_type in kinds and (node.config and node.config.materialized) != "ephemeral"
        if is_run and node.unique_id in wanted and node.unique_id not in seen | left_out:
            yield node


def _terms(said: Any) -> Sequence[str]:
    return [term for one in ([said] if isinstance(said, str) else said or ()) for term in str(one).split()]


def _named(nodes: dict[str, Node], term: str) -> set[str]:
    """Return the nodes that a term surely selects: by name or tag, with what they read or what reads them."""
    if (said := _TERM.fullmatch(term)) is None:
        return set()
    up, parents, method, name, children, down = said.groups()
    found = {id for id, node in nodes.items() if (name in (node.tags or ()) if method == "tag" else node.name == name)}
    read = {id: set(node.inputs) & nodes.keys() for id, node in nodes.items()}
    readers: dict[str, set[str]] = {}
    for id, inputs in read.items():
        for one in inputs:
            readers.setdefault(one, set()).add(id)
    return (
        found
        | (_reached(found, read, up) if parents else set())
        | (_reached(found, readers, down) if children else set())
    )


def _reached(found: set[str], edges: dict[str, set[str]], steps: str | None) -> set[str]:
    """Return the nodes that lie so many steps from some; any number if that is not said."""
    reached, last, left = set(found), set(found), int(steps or len(edges))
    while last and left:
        last = {one for id in last for one in edges.get(id, ())} - reached
        reached |= last
        left -= 1
    return reached


def _tests_of(nodes: dict[str, Node], chosen: set[str], selection: str) -> set[str]:
    """Return the tests that are selected with nodes: those of any of them, or those that look at nothing else."""
    tests = [node for node in nodes.values() if node.resource_type in {"test", "unit_test"} and node.inputs]
    if selection == "eager":
        return {test.unique_id for test in tests if chosen.intersection(test.inputs)}
    return {test.unique_id for test in tests if selection != "empty" and chosen.issuperset(test.inputs)}
