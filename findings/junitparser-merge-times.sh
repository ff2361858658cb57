#!/usr/bin/env bash
# junitparser 5.0.3
# Expected: `junitparser merge` keeps what each suite says about itself.
# What happens: each suite's time is overwritten by the sum of its cases' times (1300 s and 60 s become 1235 s and
#   1 s: what a suite spends outside of its cases is gone), and the name, timestamp and id of <testsuites> are
#   dropped, also those of the only file.
# Hurts: who takes a run's duration, time or id from a merged file.
# Date: 2026-11-30
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install -qq 'junitparser==5.0.3'
cd "$dir"
cat > first.xml <<'XML'
<testsuites name="nightly" id="run-7" timestamp="2026-11-30T01:00:00Z"><testsuite name="orders" tests="2" failures="1" time="1300" timestamp="2026-11-30T01:00:00Z"><properties><property name="run_id" value="first"/></properties><testcase classname="orders" name="not_null" time="0.5"><failure message="5 rows"/></testcase><testcase classname="orders" name="slow" time="1,234.5"/></testsuite></testsuites>
XML
cat > second.xml <<'XML'
<testsuites name="nightly" timestamp="2026-11-30T02:00:00Z"><testsuite name="orders" tests="1" failures="0" time="60" timestamp="2026-11-30T02:00:00Z"><properties><property name="run_id" value="second"/></properties><testcase classname="orders" name="not_null" time="1"/></testsuite></testsuites>
XML
"$dir/venv/bin/junitparser" merge first.xml second.xml both.xml
"$dir/venv/bin/junitparser" merge first.xml one.xml
cat both.xml one.xml
echo
"$dir/venv/bin/python" - <<'PY'
from xml.etree import ElementTree

both = ElementTree.parse("both.xml").getroot()
assert [suite.get("time") for suite in both] == ["1235.0", "1.0"]
assert [suite.get("timestamp")[11:13] for suite in both] == ["01", "02"]
for name in ("both", "one"):
    root = ElementTree.parse(f"{name}.xml").getroot()
    assert [root.get(key) for key in ("name", "timestamp", "id")] == [None, None, None], root.attrib
PY
