"""One function for every tool, what all importers share, and the importers of other packages."""

from __future__ import annotations

import json
import os
from importlib import metadata as distributions
from typing import Any

import pytest

from truthstore.backends.memory import MemoryStore
from truthstore.errors import StoreConflictError
from truthstore.interop import from_any, from_great_expectations, from_truthound, importer_of, list_importers
from truthstore.items.artefacts import ParquetRows, column_names, opened
from truthstore.items.conversion import provenance, result_fields
from truthstore.model.record import ABSENT
from truthstore.results import ValidatorResult

ISSUE = {
    "column": "email",
    "issue_type": "format",
    "count": 2,
    "severity": "high",
    "details": "such as 'ann'",
    "sample_values": ["ann", "bob"],
    "validator_name": "email",
}
REPORT = {"source": "people.csv", "row_count": 4, "column_count": 3, "success": False, "issues": [ISSUE]}
OUTCOME = {
    "success": False,
    "expectation_config": {"type": "expect_column_values_to_be_unique", "kwargs": {"column": "email"}},
    "result": {
        "element_count": 9,
        "unexpected_count": 2,
        "unexpected_list": ["ann", "ann"],
        "unexpected_index_list": [{"email": "ann", "id": 3}, {"email": "ann", "id": 4}],
        "partial_unexpected_counts": [{"value": "ann", "count": 2}],
    },
}


@pytest.fixture
def written(tmp_path):
    def write(content: Any, name: str = "result.json") -> str:
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
        os.utime(path, (1_700_000_000, 1_700_000_000))
        return str(path)

    return write


@pytest.mark.parametrize(("thing", "tool"), [(REPORT, "truthound"), (OUTCOME, "great_expectations")])
@pytest.mark.parametrize("as_file", [False, True], ids=["dict", "file"])
def test_the_tool_is_recognised(thing, tool, as_file, written):
    (result,) = from_any(written(thing) if as_file else thing, "people", samples=False)
    assert (result.metadata["tool"], result.data_asset) == (tool, "people")
    if as_file:
        assert result.run_time.timestamp() == 1_700_000_000


def test_what_nobody_recognises_is_described_with_what_would_be():
    with pytest.raises(TypeError) as caught:
        from_any({"secret": "s3cr3t", "checks": []})
    assert str(caught.value).startswith("a dict with secret, checks is not the result of a known tool. Known are ")
    for importer in list_importers():
        assert f"{importer.name}: {importer.wants}" in str(caught.value)
    assert "s3cr3t" not in str(caught.value)


@pytest.mark.parametrize(
    ("thing", "words"),
    [
        (7, "a int "),
        ([], "an empty list"),
        ([7], "a list of int"),
        ([{"b": 1, "a": 2}], "a list of rows with a, b "),
    ],
)
def test_what_it_was_given_is_said(thing, words, monkeypatch):
    monkeypatch.setattr("truthstore.interop.recognise.BUILT_IN", ())
    with pytest.raises(TypeError, match=words):
        from_any(thing)


@pytest.mark.parametrize(
    "content", [b"", b"id,name\n1,ann\n", b'{"a": ', b"<a><b></a>"], ids=["empty", "csv", "json", "xml"]
)
def test_a_file_that_cannot_be_read_is_named(content, written):
    with pytest.raises(ValueError, match=r"result.json is neither JSON, XML nor Parquet that can be read"):
        from_any(written(content))
    with pytest.raises(FileNotFoundError):
        from_any("no-such-file.json")


@pytest.mark.parametrize(
    "data",
    [b'\xef\xbb\xbf{"a": 1}', '{"a": 1}'.encode("utf-16"), b'{"a": Infinity}', b'\n{"a": NaN}'],
    ids=["utf-8 mark", "utf-16", "infinity", "nan"],
)
def test_json_as_other_programs_write_it(data, written):
    content, _ = opened(written(data))
    assert list(content) == ["a"]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16", "utf-8-sig"])
def test_xml_is_known_by_what_it_holds(encoding, written):
    content, _ = opened(written("<?xml version='1.0'?><suite/>".encode(encoding), "report.txt"))
    assert content.tag == "suite"


def test_rows_of_a_parquet_file(tmp_path):
    pl: Any = pytest.importorskip("polars")
    path = tmp_path / "rows"
    times = pl.Series("at", [1, 2, 3], dtype=pl.Int64).cast(pl.Datetime("ns"))
    pl.DataFrame([pl.Series("n", [1, 2, 3]), pl.Series("kind", ["a", "b", "a"]), times]).write_parquet(path)
    rows, _ = opened(path)
    assert isinstance(rows, ParquetRows)
    assert column_names(rows) == {"n", "kind", "at"}
    assert rows.rows(["n", "at"], kind="a") == [{"n": 1, "at": 1}, {"n": 3, "at": 3}]


def test_samples_are_left_out_on_request():
    kept = from_great_expectations(OUTCOME, "people")
    assert "such as 'ann'" in str(kept.results[0].message)
    (check,) = from_great_expectations(OUTCOME, "people", samples=False).results
    assert (check.count, check.message) == (2, "2 of 9 values failed")
    assert "ann" not in str(check.to_dict())
    assert "ann" not in str(from_truthound(REPORT, samples=False).to_dict())


@pytest.mark.parametrize("pattern", ["email", "E*", "*mail"])
def test_values_of_columns_are_replaced_by_pattern(pattern):
    (check,) = from_great_expectations(OUTCOME, "people", redact=[pattern]).results
    assert check.details["sample_values"] == ["[REDACTED]", "[REDACTED]"]
    assert check.details["sample_counts"] == [{"value": "[REDACTED]", "count": 2}]
    assert check.details["sample_indexes"] == [{"email": "[REDACTED]", "id": 3}, {"email": "[REDACTED]", "id": 4}]
    assert check.message == "2 of 9 values failed"
    assert "ann" not in str(from_truthound(REPORT, redact=[pattern]).to_dict())


def test_other_columns_are_shown_all_the_same():
    shown = from_great_expectations(OUTCOME, "people", redact=["phone"])
    assert shown.results == from_great_expectations(OUTCOME, "people").results


def fields(check: ValidatorResult, **options: Any) -> ValidatorResult:
    result_fields([check], tool="t", data_asset="a", **options)
    return check


def test_rows_are_redacted_by_the_names_in_them():
    rows = [{"email": "ann", "age": 7}]
    check = ValidatorResult("rule", success=False, details={"sample_values": rows, "sample_message": "ann is 7"})
    made = fields(check, redact=["email"])
    assert made.details["sample_values"] == [{"email": "[REDACTED]", "age": 7}]
    assert made.message is None  # nobody says of which column it speaks


def test_values_of_which_nobody_says_the_column_are_replaced():
    check = ValidatorResult("rule", success=False, details={"sample_values": ["ann"], "sample_indexes": [3]})
    assert fields(check, redact=["phone"]).details == {"sample_values": ["[REDACTED]"], "sample_indexes": [3]}


def test_what_was_measured_in_a_hidden_column_is_hidden():
    check = ValidatorResult("max", success=True, column="a, salary", observed=9e6, details={"observed_value": 9e6})
    made = fields(check, redact=["sal*"])
    assert (made.observed, made.details["observed_value"]) == ("[REDACTED]", "[REDACTED]")


def test_the_raw_artefact_is_kept_on_request(written):
    for thing in (OUTCOME, written(OUTCOME)):
        assert from_any(thing, "people", keep_raw=True)[0].metadata["raw"] == OUTCOME
        assert "raw" not in from_any(thing, "people")[0].metadata
    with pytest.raises(ValueError, match="does not go with redact or samples=False"):
        from_any(OUTCOME, "people", keep_raw=True, samples=False)


def test_a_document_is_imported_once(written):
    store = MemoryStore()
    for thing in (OUTCOME, written(OUTCOME)):
        run_id = store.save(from_any(thing, "people")[0], expect=ABSENT)
        with pytest.raises(StoreConflictError):
            store.save(from_any(thing, "people")[0], expect=ABSENT)
        assert from_any(thing, "others")[0].run_id != run_id
        assert from_any(OUTCOME | {"more": 1}, "people")[0].run_id != run_id
    # A file that is written again is another run, although nothing changed in the data.
    os.utime(path := written(OUTCOME), (1_700_086_400, 1_700_086_400))
    store.save(from_any(path, "people")[0], expect=ABSENT)
    assert len(store.list_ids()) == 3


THEIRS = """
from truthstore.interop import Importer
from truthstore.items.conversion import provenance, result_fields
from truthstore.results import ValidationResult, ValidatorResult

def convert(outcome, data_asset=None, **options):
    check = ValidatorResult("rule", outcome == b"passed")
    return ValidationResult(**result_fields([check], tool="theirs", data_asset=data_asset, **options))

IMPORTER = Importer(
    name="theirs", convert=convert, recognises=lambda thing: isinstance(thing, bytes), wants="bytes"
)
"""


def offer(monkeypatch, value):
    point = distributions.EntryPoint("theirs", value, "truthstore.importers")
    monkeypatch.setattr(distributions, "entry_points", lambda group: [point] if group == point.group else [])


def test_other_packages_bring_importers(monkeypatch, tmp_path):
    (tmp_path / "their_importer.py").write_text(THEIRS)
    monkeypatch.syspath_prepend(tmp_path)
    offer(monkeypatch, "their_importer:IMPORTER")
    (result,) = from_any(b"passed", "t")
    assert (result.success, result.metadata["tool"]) == (True, "theirs")
    with pytest.raises(TypeError, match="theirs: bytes"):
        importer_of({})


def test_an_importer_that_cannot_be_loaded_is_named(monkeypatch):
    offer(monkeypatch, "no_such_module:THEIRS")
    with pytest.raises(ImportError, match="the importer theirs of no_such_module:THEIRS cannot be loaded"):
        list_importers()
    offer(monkeypatch, "json:dumps")
    with pytest.raises(TypeError, match="the importer theirs of json:dumps is no Importer: function"):
        list_importers()


@pytest.mark.parametrize(
    ("meaning", "names"),
    [
        ("git_sha", ["GIT_SHA", "GITHUB_SHA", "CI_COMMIT_SHA", "git.commit.id", "BUILD_SOURCEVERSION", "GIT_COMMIT"]),
        ("branch", ["branch", "GITHUB_REF_NAME", "CI_COMMIT_REF_NAME", "GIT_BRANCH", "BUILD_SOURCEBRANCHNAME"]),
        ("ci_run", ["GITHUB_RUN_ID", "BUILD_NUMBER", "CI_PIPELINE_ID", "DBT_CLOUD_RUN_ID", "BUILD_BUILDID"]),
        ("host", ["hostname", "HOST"]),
    ],
)
def test_where_a_result_comes_from_is_known_by_usual_names(meaning, names):
    for name in names:
        assert provenance({name: "x", "GIT_SHA_TOKEN": "secret", "empty_branch": ""}) == {meaning: "x"}
    assert provenance(None) == {}
