#!/usr/bin/env bash
# junit-xml 1.9 (the writer that the exporters dbt-to-junit and dbt-junit-report use)
# Expected: a test case with a failure is written as failed, whether or not there is a text; of two, both are kept.
# What happens: add_failure_info() and add_error_info() without message and output are dropped: the case is written
#   as passed, counts 0. A case with two failures keeps the last one only, unless the case was made with
#   allow_multiple_subelements=True. (add_skipped_info() without a text is kept.)
# Hurts: exporters for validators whose failures have no text or several reasons: red becomes green.
# Date: 2026-11-30
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install -qq 'junit-xml==1.9'
cd "$dir"
"$dir/venv/bin/python" - <<'PY'
from xml.etree import ElementTree

from junit_xml import TestCase, TestSuite, to_xml_report_string

failed, raised, skipped, twice = (TestCase(name) for name in ("failed", "raised", "skipped", "twice"))
failed.add_failure_info(message=None, failure_type="not_null")
raised.add_error_info(message=None)
skipped.add_skipped_info()
twice.add_failure_info("3 rows are null")
twice.add_failure_info("2 rows are late")
text = to_xml_report_string([TestSuite("orders", [failed, raised, skipped, twice])])
print(text)

suite = ElementTree.fromstring(text).find("testsuite")
assert (suite.get("tests"), suite.get("failures"), suite.get("errors"), suite.get("skipped")) == ("4", "1", "0", "1")
children = {case.get("name"): [(child.tag, child.get("message")) for child in case] for case in suite}
assert children == {
    "failed": [],
    "raised": [],
    "skipped": [("skipped", None)],
    "twice": [("failure", "2 rows are late")],
}, children
PY
