"""What tools handed out is recognised as theirs, and by nobody else's importer."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.interop.recordings import RECORDED, recorded
from truthstore.backends.memory import MemoryStore
from truthstore.interop import from_any, list_importers
from truthstore.model.record import ABSENT

PARTS = {"soda-3.5.6": "scan_results", "soda-4.28.0": "result"}
FILES = sorted(path.relative_to(RECORDED) for path in RECORDED.glob("*/*.json") if "manifest" not in path.name)


@pytest.mark.parametrize("file", FILES, ids=str)
def test_one_importer_alone_recognises_a_file(file: Path):
    tool = str(file.parent)
    content = recorded(tool, file.name)
    if tool in PARTS:
        content = content[PARTS[tool]]
    found = [importer.name for importer in list_importers() if importer.recognises(content)]
    assert len(found) == 1
    assert tool.startswith(found[0].removesuffix("-cli"))


RAN_NOTHING = {"no tests.json", "compiled-run_results.json", "nothing.json"}


@pytest.mark.parametrize("file", [file for file in FILES if file.name not in RAN_NOTHING], ids=str)
def test_what_is_imported_can_be_stored_with_the_raw_artefact(file: Path):
    content = recorded(str(file.parent), file.name)
    content = content[PARTS[str(file.parent)]] if str(file.parent) in PARTS else content
    store = MemoryStore()
    for result in from_any(content, "asset", keep_raw=True):
        store.save(result, expect=ABSENT)
        stored = store.get(result.run_id)
        assert stored.metadata["raw"]
        assert stored.statistics == result.statistics
