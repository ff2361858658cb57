#!/usr/bin/env bash
# sarif-tools 3.0.5, valid SARIF 2.1.0
# Expected: the summary counts what this run found: not results of an earlier run that are gone (baselineState
#   "absent"), and as many as occurrenceCount says.
# What happens: an absent result counts as an issue and makes `--check error` exit 1; so does one whose suppression
#   was accepted. A result with occurrenceCount 500 counts as 1. `diff` goes by the message's text: the same check
#   on the same table with "5 rows" and then "500 rows" is one issue gone and a new one come.
# Hurts: who exports validation results as SARIF (a baseline, counts of rows in the message) and gates or counts by it.
# Date: 2026-11-30
set -euo pipefail
dir=$(mktemp -d)
trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/venv"
"$dir/venv/bin/pip" install -qq 'sarif-tools==3.0.5'
cd "$dir"
"$dir/venv/bin/python" - <<'PY'
import json
import subprocess
import sys
from pathlib import Path

SARIF = str(Path(sys.executable).with_name("sarif"))


def write(name, text="5 rows are null", **more):
    place = {"physicalLocation": {"artifactLocation": {"uri": "orders"}, "region": {"startLine": 1}}}
    result = {"ruleId": "not_null", "level": "error", "message": {"text": text}, "locations": [place], **more}
    run = {"tool": {"driver": {"name": "quality", "rules": [{"id": "not_null"}]}}, "results": [result]}
    Path(name).write_text(json.dumps({"version": "2.1.0", "runs": [run]}))
    return name


def sarif(*arguments):
    done = subprocess.run([SARIF, "--check", "error", *arguments], capture_output=True, text=True)
    print(" ".join(arguments), "-> exit", done.returncode, "|", done.stdout.strip().replace("\n", " | "))
    return done.returncode, done.stdout


code, text = sarif("summary", write("absent.sarif", baselineState="absent"))
assert code == 1 and "error: 1" in text
code, text = sarif("summary", write("accepted.sarif", suppressions=[{"kind": "external", "status": "accepted"}]))
assert code == 1 and "error: 1" in text
code, text = sarif("summary", write("many.sarif", occurrenceCount=500))
assert code == 1 and "error: 1" in text and "500" not in text
code, text = sarif("diff", write("old.sarif"), write("new.sarif", "500 rows are null"))
assert code == 1 and "error level: +1 -1" in text
PY
