"""dbt 1 and 2: run results with their manifest, source freshness, and the run log of version 2.

An invocation becomes one result for each table, because that is what people ask about: since when is `orders.id` unique? A test
belongs to the model or source that it looks at (`attached_node`, or what it reads); a model's own build is a check of it too, so that
the counts are those that dbt prints.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Any, Final, Unpack
from uuid import UUID

from truthstore.interop.dbt_artefacts import Config, Node, Outcome, manifest_of
from truthstore.interop.dbt_log import EPOCH, run_of
from truthstore.interop.dbt_selection import missing
from truthstore.interop.importer import Importer
from truthstore.items.artefacts import ParquetRows
from truthstore.items.checks import VALIDATOR_ERROR, CheckStatus, ValidatorResult
from truthstore.items.conversion import ImportOptions, given, provenance, read, result_fields
from truthstore.items.results import ValidationResult

__all__ = ["IMPORTER", "from_dbt"]

STATUSES: Final = {
    "pass": CheckStatus.SUCCESS,
    "success": CheckStatus.SUCCESS,
    "warn": CheckStatus.WARNING,
    "fail": CheckStatus.FAILURE,
    "partial success": CheckStatus.FAILURE,
    "skipped": CheckStatus.SKIPPED,
    "reused": CheckStatus.SKIPPED,
    "not run": CheckStatus.NOT_EVALUATED,
    "canceled": CheckStatus.NOT_EVALUATED,
}
"""What the words of dbt mean; all others are errors."""

NEVER: Final = ("0001-01-01T00:00:00", "1970-01-01T00:00:00")
"""What dbt 1 and 2 write for the last row of an empty table."""

EMPTY_WORDS: Final = (None, "Error", "Fail", "Pass", "Warn")
"""What dbt 2 has for a message."""

WORDS: Final = {
    CheckStatus.ERROR: "could not run",
    CheckStatus.NOT_EVALUATED: "the run ended before it",
    CheckStatus.SKIPPED: "skipped",
}

OF_TIME: Final = 7

KEPT: Final = ("which", "target", "profile", "select", "exclude", "empty", "sample")

RAN_NOTHING: Final = {"compile", "generate", "show", "parse", "list"}
"""Commands that write results too, where every node is a success: it was compiled."""


def from_dbt(
    artefact: object,
    data_asset: str | None = None,
    tags: Mapping[str, str] | None = None,
    metadata: Mapping[str, Any] | None = None,
    *,
    manifest: object = None,
    **options: Unpack[ImportOptions],
) -> list[ValidationResult]:
    """Convert an invocation of dbt: one result for each model, source, seed or snapshot that it looked at.

    Every node that dbt counts is a check: tests under the name of their rule, the others as ``build``; what is a ``no-op`` is none. A
    test that passed under a tolerance has no known count, and one with a ``limit`` is a lower bound. ``fail`` is of high severity,
    ``warn`` of medium. Nodes that should have run and are not there, because the run was interrupted, are not evaluated, and
    ``metadata["complete"]`` is False. Sources that should be fresh and of which nothing is said are errors.

    Args:
        artefact: ``run_results.json``, ``sources.json`` or the Parquet run log of dbt 2: the path, or the dict.
        data_asset: one name for everything: a single result is returned. Without it and without a manifest, which alone says what a
            test looks at, the project is the asset.
        tags: for queries.
        metadata: added to what dbt says of the run.
        manifest: ``manifest.json``, path or dict; if None, the one beside `artefact`, or in the folder above it.
        **options: see `ImportOptions`.

    Raises:
        TypeError: `artefact` is none of dbt.
        ValueError: it holds no results, such as a manifest or what ``dbt docs generate`` writes, or cannot be read.
    """
    run, document = run_of(artefact)
    if (command := str((run.args or {}).get("which"))) in RAN_NOTHING:
        raise ValueError(
            f"this is a run of dbt {'docs ' * (command == 'generate')}{command}, which runs no test and overwrites the "
            "run_results.json of the run before it: import that one before it does"
        )
    project = manifest_of(manifest, artefact)
    is_freshness = "/sources/" in str(run.metadata.dbt_schema_version)
    interrupted = run.ran_nothing
    outcomes = list(run.results)
    if is_freshness:
        outcomes += [Outcome(unique_id=node.unique_id, status="no result") for node in project.unchecked_sources(run)]
    elif interrupted:
        outcomes = [Outcome(unique_id=outcome.unique_id, status="not run") for outcome in outcomes]
    else:
        outcomes += [Outcome(unique_id=node.unique_id, status="not run") for node in missing(project, run)]
    by_asset: dict[str, list[tuple[str, ValidatorResult]]] = {}
    for outcome in outcomes:
        node = project.find(outcome.unique_id)
        if not _is_no_op(outcome, node, is_fusion=run.is_fusion):
            table = None if node is None else project.looked_at(node)
            asset = data_asset or _asset(outcome.unique_id, node, table)
            check = _freshness(outcome, node) if is_freshness else _check(outcome, node, is_fusion=run.is_fusion)
            check.owner = None if node is None else project.owner_of(node, table)
            by_asset.setdefault(asset, []).append((outcome.unique_id, check))
    notes = run.metadata
    complete = run.ended and not interrupted and not any(outcome.status == "not run" for outcome in outcomes)
    about = given(
        project=notes.project_name or project.metadata.project_name,
        statuses=dict(Counter(outcome.status.lower() for outcome in run.results)),
        complete=None if complete else False,
        generated_at=notes.generated_at,
    )
    environment = {name: value for name, value in (run.args or {}).items() if name in KEPT and value is not False}
    keeps = options.get("keep_raw") or not notes.invocation_id
    return [
        ValidationResult(
            **result_fields(
                [check for _, check in checks],
                tool="dbt",
                tool_version=notes.dbt_version,
                tool_run=(notes.invocation_id, "sources" if is_freshness else "run") if notes.invocation_id else (),
                tool_metadata=about,
                data_asset=asset,
                suite_name=about.get("project"),
                own_time=notes.invocation_started_at or _begun(notes.invocation_id) or notes.generated_at,
                tags=tags,
                metadata=metadata,
                environment=environment | provenance(notes.env) | given(adapter=project.metadata.adapter_type),
                raw=_part(document, {unique_id for unique_id, _ in checks}) if keeps else None,
                **options,
            )
        )
        for asset, checks in by_asset.items()
    ]


def _begun(invocation_id: str | None) -> datetime | None:
    """Return when an invocation of dbt 2 began: its id is a UUID of version 7 (RFC 9562), and its run results say it nowhere else."""
    with suppress(ValueError):
        id = UUID(invocation_id or "")
        return EPOCH + timedelta(milliseconds=id.int >> 80) if id.version == OF_TIME else None
    return None


def _part(document: Any, unique_ids: set[str]) -> Any:
    """Return an artefact with the results of some nodes."""
    return {**document, "results": [found for found in document["results"] if found["unique_id"] in unique_ids]}


def _is_no_op(outcome: Outcome, node: Node | None, *, is_fusion: bool) -> bool:
    """Return whether there was nothing to run; of an ephemeral model, dbt 2 writes that it was skipped."""
    is_ephemeral = node is not None and node.config is not None and node.config.materialized == "ephemeral"
    skipped = is_fusion and is_ephemeral and (outcome.status, outcome.message) == ("skipped", "Skipped")
    return outcome.status.lower() == "no-op" or skipped


def _asset(unique_id: str, node: Node | None, table: Node | None) -> str:
    kind, _, rest = unique_id.partition(".")
    project, _, name = rest.partition(".")
    is_test = kind in {"test", "unit_test"}
    if kind == "operation":
        return project  # a hook at the start or the end of the run
    if (about := table if is_test else node) is None:
        return project if is_test else name
    if about.source_name is not None:
        return f"{about.source_name}.{about.name}"
    return about.name if about.version is None else f"{about.name}.v{about.version}"


def _check(outcome: Outcome, node: Node | None, *, is_fusion: bool) -> ValidatorResult:
    kind = outcome.unique_id.partition(".")[0]
    config = (node and node.config) or Config()
    status = STATUSES.get(outcome.status.lower(), CheckStatus.ERROR)
    if kind == "unit_test" and is_fusion and (outcome.status, outcome.message) == ("error", "Error"):
        status = CheckStatus.FAILURE  # an error of the run has a text
    check = _described(outcome, node, status, _name(outcome.unique_id, node))
    check.count, observed = _count(outcome, kind, config, status, known=node is not None)
    check.observed = observed
    if not _is_strict(config):
        check.expected = f"error if {config.error_if}, warn if {config.warn_if}"
    lower_bound = bool(check.count and config.limit and check.count >= config.limit)
    check.details |= given(
        severity=config.severity,
        limit=config.limit,
        lower_bound=lower_bound or None,
        fail_calc=None if config.fail_calc == "count(*)" else config.fail_calc,
    )
    return check


def _described(outcome: Outcome, node: Node | None, status: CheckStatus, name: str) -> ValidatorResult:
    """Return a check with all but its figures."""
    rule = node and node.test_metadata
    config = (node and node.config) or Config()
    parameters = {key: value for key, value in ((rule and rule.kwargs) or {}).items() if key != "model"}
    columns = _columns(node, parameters)
    failed = status in {CheckStatus.FAILURE, CheckStatus.WARNING}
    broken = status is CheckStatus.ERROR
    message = outcome.message if outcome.message not in EMPTY_WORDS else outcome.error
    shown = None if status is CheckStatus.SUCCESS or message is None else str(message).replace("\r\n", "\n").strip()
    has_values = shown is not None and not shown.startswith(("Got ", "Skipped ", "Skipping "))
    return ValidatorResult(
        validator_name=name,
        success=status is CheckStatus.SUCCESS,
        column=", ".join(columns) or None,
        columns=tuple(columns) if len(columns) > 1 else None,
        issue_type=VALIDATOR_ERROR if broken else name if failed else None,
        severity="medium" if status is CheckStatus.WARNING else "high" if failed else None,
        status=None if status in {CheckStatus.SUCCESS, CheckStatus.ERROR} else status.value,
        message=shown if shown and not has_values else _headline(shown, status, outcome.failures),
        execution_time_ms=(outcome.execution_time or 0.0) * 1000,
        check_id=outcome.unique_id,
        details=given(
            test=node.name if node and rule else None,
            parameters=parameters | given(where=config.where),
            tags=node and node.tags,
            reads=node.inputs if node and len(node.inputs) > 1 else None,
            sample_message=shown if has_values else None,
        ),
    )


def _headline(text: str | None, status: CheckStatus, failures: float | None) -> str | None:
    """Return a message that shows no value of the data."""
    if status is CheckStatus.SUCCESS:
        return None
    first = (text or "").partition("\n")[0]
    if first.startswith(("Runtime Error in ", "Database Error in ", "Compilation Error", "Error materializing ")):
        return first
    return WORDS.get(status) or (f"got {failures:,}" if failures else "failed")


def _name(unique_id: str, node: Node | None) -> str:
    """Return the name of a check: the rule of a generic test, the name of another test or a hook, `build` of what is none."""
    kind, _, *rest = unique_id.split(".")
    if kind == "operation":
        return rest[-1]
    if kind not in {"test", "unit_test"}:
        return "build"
    if node is None:
        return rest[0 if kind == "test" else -1]
    if (rule := node.test_metadata) is None:
        return node.name
    return rule.name if rule.namespace in {None, "dbt"} else f"{rule.namespace}.{rule.name}"


def _columns(node: Node | None, parameters: Mapping[str, Any]) -> list[str]:
    """Return the columns of a test: its own, or those that its parameters name."""
    if node is not None and node.column_name:
        return [node.column_name]
    for name in ("combination_of_columns", "column_list", "columns"):
        if isinstance(several := parameters.get(name), Sequence) and not isinstance(several, str):
            return [str(column) for column in several]
    pair = [parameters.get(name) for name in ("column_A", "column_B")]
    return [str(column) for column in pair if column is not None]


def _count(
    outcome: Outcome, kind: str, config: Config, status: CheckStatus, *, known: bool
) -> tuple[int | None, float | None]:
    """Return how many rows failed, and what was measured instead where that is no number of rows."""
    failures = outcome.failures
    if (
        kind != "test"
        or failures is None
        or status not in {CheckStatus.SUCCESS, CheckStatus.WARNING, CheckStatus.FAILURE}
    ):
        return 0, None
    if (config.fail_calc or "count(*)") != "count(*)":
        return None if status is CheckStatus.SUCCESS else 0, failures
    # dbt 1 writes 0 for what it tolerates.
    exact = (
        known
        and {config.warn_if, config.error_if} <= {None, "!= 0"}
        and (config.severity or "ERROR").upper() == "ERROR"
    )
    return (None if status is CheckStatus.SUCCESS and not failures and not exact else int(failures)), None


def _is_strict(config: Config) -> bool:
    """Return whether a test fails with the first row."""
    return {config.warn_if, config.error_if} <= {None, "!= 0"}


def _freshness(outcome: Outcome, node: Node | None) -> ValidatorResult:
    word = outcome.status.lower()
    status = CheckStatus.FAILURE if word == "error" and outcome.max_loaded_at else STATUSES.get(word, CheckStatus.ERROR)
    check = _described(outcome, node, status, "freshness")
    check.column = None if node is None else node.loaded_at_field
    loaded = outcome.max_loaded_at or ""
    never = loaded.startswith(NEVER)
    limits = outcome.criteria or (node and node.freshness) or {}
    asked = [
        f"{name.partition('_')[0]} after {limit['count']} {limit['period']}"
        for name in ("warn_after", "error_after")
        if (limit := limits.get(name)) and limit.get("count")
    ]
    check.observed = "never" if never else outcome.max_loaded_at_time_ago_in_s
    check.expected = ", ".join(asked) or None
    check.details |= given(
        max_loaded_at=None if never else outcome.max_loaded_at, snapshotted_at=outcome.snapshotted_at
    )
    if status in {CheckStatus.FAILURE, CheckStatus.WARNING}:
        check.message = "no row was ever loaded" if never else f"last loaded {loaded} ({check.expected})"
    elif word == "no result":
        check.message = "dbt says nothing of it: the table may not exist"
    return check


def _recognises(thing: Any) -> bool:
    if isinstance(thing, ParquetRows):
        return {"record_type", "event_type", "span_name", "attributes"} <= set(thing.columns)
    return "/dbt/" in str(read(read(thing, "metadata"), "dbt_schema_version"))


IMPORTER: Final = Importer(
    name="dbt",
    convert=from_dbt,
    recognises=_recognises,
    wants="run_results.json or sources.json (metadata.dbt_schema_version), or the Parquet run log of dbt 2",
)
