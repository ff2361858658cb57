"""JUnit XML, as pytest, datacontract-cli and most test runners write it."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import suppress
from datetime import datetime
from typing import Any, Final, Unpack
from xml.etree.ElementTree import Element

from truthstore.interop.importer import Importer
from truthstore.items.artefacts import opened
from truthstore.items.checks import VALIDATOR_ERROR, ValidatorResult
from truthstore.items.conversion import ImportOptions, given, provenance, result_fields, shortened
from truthstore.items.item import time_of
from truthstore.items.results import ValidationResult

__all__ = ["IMPORTER", "from_junit"]

TRACEBACK_LENGTH: Final = 2_000
NOT_RUN: Final = frozenset({"disabled", "notrun", "suppressed", "skipped", "ignored"})
"""What runners write into `status` or `result` of a test that did not run."""

Properties = Mapping[str, str]


def from_junit(
    report: object,
    data_asset: str | None = None,
    tags: Mapping[str, str] | None = None,
    metadata: Mapping[str, Any] | None = None,
    **options: Unpack[ImportOptions],
) -> list[ValidationResult]:
    """Convert a JUnit XML report: every test is a check, and there is one result for each data asset.

    A test or its suite names the asset by a property ``data_asset`` (`record_property` in pytest); else the suite's name is taken.
    Properties ``column``, ``failed``, ``checked``, ``severity`` and ``owner`` of a test become those of the check. An error is a
    check that could not run; a test without a name, which is what pytest writes when it is interrupted, is not evaluated, and
    ``metadata["complete"]`` is False then. Earlier attempts of a test that was run again, which pytest lists as if they had passed,
    are no checks.

    Args:
        report: path of the file, or its root element.
        data_asset: one name for everything: a single result is returned.
        tags: for queries.
        metadata: added to the result's own.
        **options: see `ImportOptions`.

    Raises:
        TypeError: it is no JUnit report.
        ValueError: a suite has no name, and `data_asset` is not given; or the file cannot be read.
    """
    root, written = opened(report)
    if not _recognises(root):
        raise TypeError(f"expected JUnit XML, whose root is testsuites or testsuite, not {type(root).__name__}")
    found: dict[str, tuple[Element, list[ValidatorResult]]] = {}
    for suite in _suites(root):
        shared = _properties(suite)
        for case, earlier in _attempts(suite, is_pytest="pytest" in {suite.get("name"), root.get("name", "")[:6]}):
            own = _properties(case)
            asset = data_asset or own.get("data_asset") or shared.get("data_asset") or _name(suite) or ""
            found.setdefault(asset, (suite, []))[1].append(_check(case, own, earlier))
    results: list[ValidationResult] = []
    for asset, (suite, checks) in found.items():
        said = {"hostname": suite.get("hostname")} | dict(_properties(suite))
        claims = sum(_whole(suite.get(name)) or 0 for name in ("failures", "errors"))
        fields = result_fields(
            checks,
            tool="junit",
            tool_metadata=given(complete=False if any(check.status == "not_evaluated" for check in checks) else None),
            succeeded=False if claims and len(found) == 1 else None,
            data_asset=asset,
            suite_name=_name(suite),
            own_time=_time(suite.get("timestamp")) or written,
            tags=tags,
            metadata=metadata,
            environment=provenance(said),
            raw=root,
            **options,
        )
        results.append(ValidationResult(**fields))
    return results


def _name(suite: Element) -> str | None:
    """Return the name of a suite, without the time that unittest-xml-reporting adds to it."""
    name = suite.get("name")
    return name and re.sub(r"-\d{14}$", "", name)


def _suites(root: Element) -> Iterator[Element]:
    """Yield every suite that has tests of its own; suites may hold suites."""
    if any(_tag(child) == "testcase" for child in root):
        yield root
    for child in root:
        if _tag(child) in {"testsuites", "testsuite"}:
            yield from _suites(child)


def _attempts(suite: Element, *, is_pytest: bool) -> Iterator[tuple[Element, int]]:
    """Yield each test once, with the number of earlier attempts."""
    cases = [child for child in suite if _tag(child) == "testcase"]
    left = [(case.get("classname"), case.get("name")) for case in cases]
    earlier: dict[tuple[str | None, str | None], int] = {}
    for case in cases:
        name = left.pop(0)
        if is_pytest and not _outcomes(case) and name in left:
            earlier[name] = earlier.get(name, 0) + 1
        else:
            yield case, earlier.pop(name, 0)


def _check(case: Element, properties: Properties, earlier: int) -> ValidatorResult:
    name, group = case.get("name"), case.get("classname")
    outcomes = _outcomes(case)
    kinds = {_tag(outcome) for outcome in outcomes}
    if any(outcome.get("type") == "todo" for outcome in outcomes):
        kinds = {"skipped"}  # of Node.js: a test of what is not done yet may fail
    said = "; ".join(text for outcome in outcomes if (text := outcome.get("message") or ""))
    what = next((outcome.get("type") for outcome in outcomes if outcome.get("type")), None)
    left_out = "skipped" in kinds or bool({case.get("status"), case.get("result")} & NOT_RUN)
    failed = "failure" in kinds
    check = ValidatorResult(
        validator_name=name or "a test without a name",
        success=name is not None and not kinds and not left_out,
        column=properties.get("column"),
        severity=properties.get("severity") if failed else None,
        owner=properties.get("owner"),
        checked=_whole(properties.get("checked")),
        count=_whole(properties.get("failed")) or 0,
        execution_time_ms=_seconds(case.get("time")) * 1000,
        check_id=None if name is None else f"{group}::{name}" if group else name,
        details=given(
            classname=group,
            file=case.get("file"),
            line=case.get("line"),
            type=what,
            reruns=earlier + sum(_tag(child) in {"rerunFailure", "flakyFailure", "flakyError"} for child in case)
            or None,
            sample_message=shortened(said, 1_000) or None,
            exception_traceback=None
            if left_out
            else "\n".join(outcome.text or "" for outcome in outcomes)[-TRACEBACK_LENGTH:],
            properties={key: value for key, value in properties.items() if key not in OF_CHECKS},
        ),
    )
    if check.success:
        return check
    if failed:
        check.issue_type, check.message = "test_failure", "failed" if what is None else f"failed: {what}"
        check.status = None if check.severity else "failure"
    elif "error" in kinds:
        check.issue_type, check.message = VALIDATOR_ERROR, "could not run" if what is None else f"could not run: {what}"
    elif left_out:
        check.status, check.message = "skipped", what or "skipped"
    else:
        check.status, check.message = "not_evaluated", "the run was interrupted here"
    return check


OF_CHECKS: Final = frozenset({"data_asset", "column", "severity", "owner", "checked", "failed"})


def _outcomes(case: Element) -> list[Element]:
    return [child for child in case if _tag(child) in {"failure", "error", "skipped"}]


def _properties(element: Element) -> Properties:
    """Return the properties of a suite or a test."""
    return {
        entry.get("name", ""): entry.get("value") or entry.text or ""
        for child in element
        if _tag(child) == "properties"
        for entry in child
    }


def _tag(element: Element) -> str:
    return str(element.tag).rpartition("}")[2]


def _whole(text: str | None) -> int | None:
    return int(text) if text and re.fullmatch(r"\d{1,15}", text) else None


def _seconds(text: str | None) -> float:
    """Return a duration; some runners write thousands with commas."""
    plain = (text or "").replace(",", "")
    return float(plain) if re.fullmatch(r"\d{1,12}(\.\d+)?", plain) else 0.0


def _time(text: str | None) -> datetime | None:
    with suppress(ValueError):  # some runners write it in words
        time = time_of(text)
        return (
            None if time is None or time.year == 1 else time
        )  # unittest-xml-reporting has the year 1 for what never began
    return None


def _recognises(thing: Any) -> bool:
    return isinstance(thing, Element) and _tag(thing) in {"testsuites", "testsuite"}


IMPORTER: Final = Importer(
    name="junit", convert=from_junit, recognises=_recognises, wants="XML with the root testsuites or testsuite"
)
