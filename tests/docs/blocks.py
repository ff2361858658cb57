"""Python blocks of a page: found, and run one after the other in one namespace."""

from __future__ import annotations

import contextlib
import io
import re
import sys
import textwrap
import types
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["OUTPUT", "Block", "fences", "python_blocks", "run"]

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
    """The Python blocks of a page."""
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
