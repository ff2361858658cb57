"""Every Python block of the README and of docs/ runs, page by page, as for a reader who types it in from the top.

Two titles of a fence mean something here, and both are shown to the reader:

- ```` ```python title="Not run: it needs a bucket" ```` is not run; the reason is required.
- ```` ```text title="Output" ```` right after a Python block is what that block must print, to the letter.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from tests.docs.blocks import OUTPUT, Block, python_blocks, run

ROOT = Path(__file__).parents[2]
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])


@pytest.fixture(autouse=True)
def empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_the_blocks_of_a_page_run(page: Path):
    run(python_blocks(page.read_text(encoding="utf-8")), page)


def test_every_page_is_in_the_navigation():
    listed = re.findall(r"[\w/-]+\.md", (ROOT / "mkdocs.yml").read_text(encoding="utf-8"))
    pages = [str(page.relative_to(ROOT / "docs")) for page in PAGES if page.is_relative_to(ROOT / "docs")]
    assert sorted(listed) == sorted(pages)


def test_the_readme_shows_something():
    blocks = python_blocks((ROOT / "README.md").read_text(encoding="utf-8"))
    assert blocks
    assert not [block for block in blocks if block.not_run]  # on the project's front page the reason would not show


def suite_of_the_page(page: Path, name: str) -> type:
    """A test class that a page defines."""
    names: dict[str, Any] = {}
    run(python_blocks(page.read_text(encoding="utf-8")), page, names)
    found = names[name]
    assert isinstance(found, type)
    return found


TestTheBackendOfTheGuide = suite_of_the_page(ROOT / "docs" / "guides" / "third-party-backends.md", "TestDictStore")


def page_of(*lines: str) -> list[Block]:
    return python_blocks("\n".join(lines))


def test_blocks_share_a_page_and_print_what_is_told():
    blocks = page_of(
        "```python", "a = 1", "```", "words", "```python", "print(a)", "```", "", "```" + OUTPUT, "1", "```"
    )
    assert run(blocks, Path("page.md")) == 2
    blocks[1].output = "2"
    with pytest.raises(AssertionError, match=r"page\.md:5 prints something else"):
        run(blocks, Path("page.md"))


def test_a_block_in_a_list_or_tab_counts():
    (block,) = page_of("- so:", "", "    ```python", "    if True:", "        x = 1", "    ```")
    assert block.code == "if True:\n    x = 1"


def test_an_error_names_the_line_of_the_page():
    blocks = page_of("# Title", "", "```python", "x = 1", "x / 0", "```")
    with pytest.raises(ZeroDivisionError) as caught:
        run(blocks, Path("page.md"))
    assert caught.traceback[-1].lineno == 4  # counted from 0


def test_a_block_is_left_out_only_for_a_reason():
    blocks = page_of('```python title="Not run: it needs a bucket"', "1 / 0", "```")
    assert run(blocks, Path("page.md")) == 0
    with pytest.raises(AssertionError, match="say why"):
        run(page_of('```python title="Not run:"', "1 / 0", "```"), Path("page.md"))


@pytest.mark.parametrize(
    "page", [("```python", "x = 1"), ("```" + OUTPUT, "1", "```"), ("```python", "```", "so", "```" + OUTPUT, "```")]
)
def test_a_page_that_is_not_well_formed_fails(page: tuple[str, ...]):
    with pytest.raises(ValueError, match="line"):
        page_of(*page)
