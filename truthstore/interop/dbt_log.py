"""Runs of dbt, read from its JSON files or from the Parquet run log of version 2."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import msgspec

from truthstore.interop.dbt_artefacts import Metadata, Outcome, Run
from truthstore.items.artefacts import ParquetRows, opened

__all__ = ["EPOCH", "run_of"]

FUSION: Final = "v1.public.events.fusion"
LOGGED: Final = ("target", "select", "exclude", "resource_types")
EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


def run_of(artefact: Any) -> tuple[Run, Any]:
    """Return a run, and the document that it was read from.

    Raises:
        TypeError: it is no artefact of dbt.
        ValueError: it is one without results.
    """
    content, _ = opened(artefact)
    if isinstance(content, ParquetRows):
        run = _logged(content)
        return run, msgspec.to_builtins(run)
    notes = content.get("metadata") if isinstance(content, Mapping) else None
    schema = str(notes.get("dbt_schema_version", "")) if isinstance(notes, Mapping) else ""
    if "/run-results/" not in schema and "/sources/" not in schema:
        if "/dbt/" in schema:
            raise ValueError(f"this is dbt's {schema.split('/')[-2]}: the results are in run_results.json beside it")
        raise TypeError(f"expected run_results.json or sources.json of dbt, not {type(content).__name__}")
    return msgspec.convert(content, Run, strict=False), content


def _logged(log: ParquetRows) -> Run:
    """Read the run log of dbt 2, in which a node that was run is a success even where its test failed."""
    (start,) = log.rows(["start_time_unix_nano", "attributes"], event_type=f"{FUSION}.invocation.Invocation")[:1]
    ends = log.rows(["attributes"], event_type=f"{FUSION}.node.NodeProcessed", record_type="SpanEnd")
    starts = log.rows(["attributes"], event_type=f"{FUSION}.node.NodeProcessed", record_type="SpanStart")
    lines = log.rows(["attributes", "body"], event_type=f"{FUSION}.log.LogMessage", severity_text="ERROR")
    errors = {line["attributes"]["unique_id"]: line["body"] for line in lines}
    about = _payload(start["attributes"])
    results = [outcome for row in ends if (outcome := _logged_node(row["attributes"], errors))]
    ended = {row["attributes"]["unique_id"] for row in ends}
    unfinished = {row["attributes"]["unique_id"] for row in starts} - ended
    results += [Outcome(unique_id=name, status="not run") for name in sorted(unfinished)]
    finished = log.rows(["span_name"], event_type=f"{FUSION}.invocation.Invocation", record_type="SpanEnd")
    when = EPOCH + timedelta(microseconds=start["start_time_unix_nano"] // 1000)
    args = about.get("eval_args") or {}
    return Run(
        metadata=Metadata(
            dbt_version=(about.get("process_info") or {}).get("version"),
            invocation_id=about.get("invocation_id"),
            generated_at=when,
        ),
        results=results,
        args={"which": args.get("command")} | {name: args[name] for name in LOGGED if name in args},
        ended=bool(finished) and not unfinished,
    )


def _logged_node(attributes: Mapping[str, Any], errors: Mapping[str, str]) -> Outcome | None:
    """Return the outcome of a node; None if it was only looked at, for the sake of others."""
    unique_id, outcome = attributes["unique_id"], str(attributes["node_outcome"]).removeprefix("NODE_OUTCOME_").lower()
    payload = _payload(attributes)
    if payload.get("in_selection") is False:
        return None
    if attributes.get("node_skip_reason") == "NODE_SKIP_REASON_NO_OP":
        outcome = "no-op"
    detail: dict[str, Any] = payload.get("node_outcome_detail") or {}
    test = detail.get("NodeTestDetail")
    error = errors.get(unique_id, "")
    if outcome == "success" and test is not None:
        verdict = str(test.get("test_outcome", "TEST_OUTCOME_PASSED")).removeprefix("TEST_OUTCOME_").lower()
        outcome = {"passed": "pass", "failed": "fail", "warned": "warn"}.get(verdict, verdict)
        if error.endswith("Treating as failing test."):
            outcome, test = "error", {}
    upstream = (detail.get("NodeSkipUpstreamDetail") or {}).get("upstream_unique_id")
    return Outcome(
        unique_id=unique_id,
        status=outcome,
        failures=None if test is None else test.get("failing_rows", 0 if outcome == "pass" else None),
        message=(test or {}).get("diff_table") or error or (f"Skipped due to {upstream}" if upstream else None),
        execution_time=(attributes["duration_ms"] or 0) / 1000,
    )


def _payload(attributes: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = msgspec.json.decode(attributes["json_payload"] or "{}")
    return found
