"""Every Python block of the README and of docs/ runs, page by page, as for a reader who types it in from the top.

Two titles of a fence mean something here, and both are shown to the reader:

- ```` ```python title="Not run: it needs a bucket" ```` is not run; the reason is required.
- ```` ```text title="Output" ```` right after a Python block is what that block must print, to the letter.
"""

from __future__ import annotations

import contextlib
import io
import re
import sys
import textwrap
import types
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from truthstore import get_store
from truthstore.backends.filesystem import FileSystemConfig
from truthstore.results import ValidationResult

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROOT = Path(__file__).parents[2]
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])
GUIDE = Path(__file__).parent / "guide" / "stores-guide.md"

FENCE = re.compile(r"^[ ]*(?P<ticks>`{3,})(?P<info>[^`\n]*)$")
OUTPUT = 'text title="Output"'
NOT_RUN = re.compile(r'title="not run:(?P<reason>[^"]*)"', re.IGNORECASE)


@dataclass
class Block:
    """One Python block: its code, the line it starts on, why it is not run (if so), and what it must print (if told)."""

    code: str
    line: int
    not_run: str | None = None
    output: str | None = None


def fences(text: str) -> Iterator[tuple[str, str, int, int]]:
    """Yield each fenced block: info string, content, and the lines of its opening and closing fence, from 1."""
    lines = text.splitlines()
    at = 0
    while at < len(lines):
        if opening := FENCE.match(lines[at]):
            end = at + 1
            while end < len(lines) and lines[end].strip() != opening["ticks"]:
                end += 1
            if end == len(lines):
                raise ValueError(f"the block that opens on line {at + 1} never closes")
            yield opening["info"].strip(), textwrap.dedent("\n".join(lines[at + 1 : end])), at + 1, end + 1
            at = end
        at += 1


def python_blocks(text: str) -> list[Block]:
    blocks: list[Block] = []
    lines = text.splitlines()
    last: Block | None = None  # the fence before this one, if it is Python
    last_end = 0
    for info, content, start, end in fences(text):
        if info.split(" ")[0] in {"python", "py", "python3", "pycon"}:
            marker = NOT_RUN.search(info)
            last = Block(content, start, not_run=marker["reason"].strip() if marker else None)
            blocks.append(last)
        else:
            if info == OUTPUT:
                if last is None or "".join(lines[last_end : start - 1]).strip():
                    raise ValueError(f"the output on line {start} does not follow a Python block")
                last.output = content
            last = None
        last_end = end
    return blocks


def run(blocks: list[Block], page: Path, names: dict[str, Any] | None = None) -> int:
    """Run the blocks in one namespace, which starts with `names` and is left there; the number of blocks run."""
    module = types.ModuleType("page_" + re.sub(r"\W", "_", page.stem))
    if names is not None:
        vars(module).update(names)
    sys.modules[module.__name__] = module  # dataclasses and the like look their module up
    count = 0
    try:
        for block in blocks:
            if block.not_run is not None:
                assert block.not_run, f"{page}:{block.line}: say why the block is not run"
                continue
            # Blank lines before the code, so that a traceback names the line of the page.
            code = compile("\n" * block.line + block.code, str(page), "exec", dont_inherit=True)
            printed = io.StringIO()
            with contextlib.redirect_stdout(printed):
                exec(code, vars(module))
            if block.output is not None:
                assert printed.getvalue().strip() == block.output.strip(), f"{page}:{block.line} prints something else"
            count += 1
    finally:
        del sys.modules[module.__name__]
        if names is not None:
            names.update(vars(module))
    return count


@pytest.fixture(autouse=True)
def empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_the_blocks_of_a_page_run(page: Path):
    run(python_blocks(page.read_text(encoding="utf-8")), page)


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


# --- the blocks themselves are read right -----------------------------------------------------------------------------


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


# --- the guide that users of Truthound's stores know ------------------------------------------------------------------


class Severity(Enum):
    HIGH = "high"
    LOW = "low"


@dataclass
class Issue:
    """The fields of a Truthound issue."""

    column: str
    issue_type: str
    count: int
    severity: Severity
    details: str | None = None
    expected: Any = None
    actual: Any = None
    sample_values: list[Any] | None = None
    validator_name: str | None = None
    success: bool = False


@dataclass
class Report:
    """The fields of a Truthound report."""

    issues: list[Issue]
    source: str
    row_count: int
    column_count: int
    success: bool = False


def names_of_the_guide() -> dict[str, Any]:
    """What a block of the guide takes for granted."""
    report = Report(
        [Issue("email", "null", 3, Severity.HIGH, details="3 nulls"), Issue("age", "outlier", 1, Severity.LOW)],
        source="customers.csv",
        row_count=100,
        column_count=4,
    )
    store = get_store("filesystem", base_path="a store")
    store.save(ValidationResult.from_report(report, "customers.csv"))
    return {
        "FileSystemConfig": FileSystemConfig,
        "ValidationResult": ValidationResult,
        "datetime": datetime,
        "report": report,
        "store": store,
    }


GUIDE_CHECKS: dict[str, Callable[[dict[str, Any]], bool]] = {
    "Quick Start": lambda names: names["loaded"] == names["result"],
    "Production Storage: saving with metadata": lambda names: (
        names["store"].get(names["run_id"]).tags == {"environment": "production", "team": "data-eng"}
    ),
    "Query Historical Results": lambda names: [r.issue_count for r in names["results"]] == [2],
    "Using the Factory": lambda names: names["store"].list_ids() == [],
    "Direct Instantiation": lambda names: names["store"].list_ids() == [],
    "Common Operations": lambda names: names["exists"] and names["deleted"] and len(names["ids"]) == 1,
    "Error Handling": lambda names: issubclass(names["StoreNotFoundError"], names["StoreError"]),
    "Base Configuration": lambda names: names["config"].namespace == "production",
    "Compression": lambda _: True,
}


def guide_sections() -> dict[str, str]:
    """The sections by title, each on the lines that it has in the file."""
    text = GUIDE.read_text(encoding="utf-8")
    starts = [*re.finditer(r"^## (.+)$", text, flags=re.MULTILINE)]
    ends = [*(start.start() for start in starts[1:]), len(text)]
    return {
        start[1]: "\n" * text.count("\n", 0, start.start()) + text[start.start() : end]
        for start, end in zip(starts, ends, strict=True)
    }


def test_every_section_of_the_guide_is_checked():
    assert list(guide_sections()) == list(GUIDE_CHECKS)


@pytest.mark.parametrize("section", GUIDE_CHECKS)
def test_the_guide_to_truthounds_stores_holds_here(section: str):
    names = names_of_the_guide()
    blocks = python_blocks(guide_sections()[section].replace("truthound.stores", "truthstore"))
    assert run(blocks, GUIDE, names) == 1
    assert GUIDE_CHECKS[section](names)
