"""Measures truthstore beside a peer and beside what one would write by hand, all in one run.

Run `python -m benchmarks.run` in the folder above. What counts are the ratios: times differ from machine to machine.
"""

from __future__ import annotations

import argparse
import platform
import sqlite3
import sys
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from benchmarks import (
    batching,
    bulk,
    caching,
    checks,
    codecs,
    copying,
    database,
    filesystem,
    frames,
    importers,
    memory,
    observability,
    query,
    replication,
    retention,
    s3,
    startup,
    streaming,
    tiering,
    versioning,
    wrapper,
)
from benchmarks.measure import Figure, progress
from benchmarks.places import Places

GROUPS: dict[str, Callable[[Places], Iterator[Figure]]] = {
    # First what only reads the big store, so that it holds what the index made by hand holds.
    "query": query.figures,
    "retention": retention.figures,
    "checks": checks.figures,
    "startup": startup.figures,
    "filesystem": filesystem.figures,
    "memory": memory.figures,
    "wrapper": wrapper.figures,
    "caching": caching.figures,
    "batching": batching.figures,
    "codecs": codecs.figures,
    "replication": replication.figures,
    "versioning": versioning.figures,
    "frames": frames.figures,
    "importers": importers.figures,
    "streaming": streaming.figures,
    "tiering": tiering.figures,
    "observability": observability.figures,
    "bulk": bulk.figures,
    "s3": s3.figures,
    "database": database.figures,
    "copying": copying.figures,
}
TABLE_START = "<!-- table: benchmarks/run.py -->\n"
TABLE_END = "<!-- end of table -->\n"


def main(arguments: Sequence[str] | None = None) -> int:
    """Measures, prints, and writes the table into a page if asked to; 1 if something is not as wanted."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("groups", nargs="*", metavar="group", help=f"some of {', '.join(GROUPS)}; all if none is named")
    parser.add_argument("--quick", action="store_true", help="less of everything, for a first look")
    parser.add_argument("--markdown", type=Path, metavar="PAGE", help="replace the table in this page")
    parser.add_argument("--folder", type=Path, help="where to work: a folder on the disk that is to be measured")
    options = parser.parse_args(arguments)
    if unknown := set(options.groups) - set(GROUPS):
        parser.error(f"no group {', '.join(sorted(unknown))}: there are {', '.join(GROUPS)}")
    if options.markdown and TABLE_START not in options.markdown.read_text(encoding="utf-8"):
        parser.error(f"{options.markdown} has no line {TABLE_START.strip()}")

    figures: list[Figure] = []
    with tempfile.TemporaryDirectory(prefix="truthstore-benchmarks-", dir=options.folder) as folder:
        places = Places(Path(folder), quick=options.quick)
        for name in options.groups or GROUPS:
            progress(name)
            for figure in GROUPS[name](places):
                figures.append(figure)
                progress(f"{figure.what}: {measured(figure)} ({wanted(figure)}) {figure.detail}")
        progress("removing what was stored")
    table = "".join(f"{line}\n" for line in lines(figures))
    print(table)
    if options.markdown:
        page = options.markdown.read_text(encoding="utf-8")
        before, _, rest = page.partition(TABLE_START)
        _, _, after = rest.partition(TABLE_END)
        options.markdown.write_text(f"{before}{TABLE_START}\n{table}\n{TABLE_END}{after}", encoding="utf-8")
    return 0 if all(figure.passed for figure in figures) else 1


def lines(figures: Iterable[Figure]) -> Iterator[str]:
    """The table in Markdown."""
    yield "| truthstore | beside | measured | wanted | | one run: truthstore : beside |"
    yield "|---|---|---|---|---|---|"
    for figure in figures:
        mark = "✓" if figure.passed else "✗"
        yield f"| {figure.what} | {figure.against} | {measured(figure)} | {wanted(figure)} | {mark} | {figure.detail} |"
    yield ""
    yield f"Python {platform.python_version()}, SQLite {sqlite3.sqlite_version}, {platform.system()}."


def measured(figure: Figure) -> str:
    """A figure with its unit."""
    digits = 0 if figure.measured >= 100 else 1 if figure.measured >= 10 else 2
    return f"{figure.measured:.{digits}f} {figure.unit}"


def wanted(figure: Figure) -> str:
    """What it should be."""
    return f"{'≤' if figure.sense == 'at most' else '≥'} {figure.wanted:g} {figure.unit}"


if __name__ == "__main__":
    sys.exit(main())
