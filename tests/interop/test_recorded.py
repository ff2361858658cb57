"""What tools handed out is recognised as theirs, and by nobody else's importer."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.interop.recordings import RECORDED, recorded
from truthstore.interop import list_importers

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
