"""One function for the results of every tool: it looks at what it is given and finds the importer for it.

Importers of other packages are found under the entry-point group ``truthstore.importers``: each is an `Importer`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from importlib import metadata as distributions
from typing import TYPE_CHECKING, Any, Final, Unpack

from truthstore.interop import (
    datacontract,
    dbt,
    dqx,
    evidently,
    frictionless,
    great_expectations,
    junit,
    pandera,
    pointblank,
    row_errors,
    soda,
    table,
    truthound,
    validoopsie,
)
from truthstore.interop.importer import Importer
from truthstore.items.artefacts import column_names, opened
from truthstore.items.conversion import ImportOptions, shortened

if TYPE_CHECKING:
    from truthstore.items.results import ValidationResult

__all__ = ["ENTRY_POINTS", "from_any", "importer_of", "list_importers"]

ENTRY_POINTS: Final = "truthstore.importers"

BUILT_IN: Final = (
    datacontract.IMPORTER,
    dbt.IMPORTER,
    dqx.IMPORTER,
    evidently.IMPORTER,
    frictionless.IMPORTER,
    great_expectations.IMPORTER,
    junit.IMPORTER,
    pandera.IMPORTER,
    pointblank.IMPORTER,
    row_errors.JSON_SCHEMA,
    row_errors.PYDANTIC,
    soda.IMPORTER,
    table.IMPORTER,
    truthound.IMPORTER,
    validoopsie.IMPORTER,
)


def from_any(thing: Any, asset: str | None = None, **options: Unpack[ImportOptions]) -> list[ValidationResult]:
    """Convert the result of any known tool.

    Args:
        thing: what the tool handed out, its dict or list, or the path of the file that it wrote.
        asset: name of the data checked; if None, the tool's own.
        **options: see `ImportOptions`.

    Raises:
        TypeError: no importer recognises it; the error says what each of them looks for.
        ValueError: it is a tool's, but cannot be converted, or the file cannot be read; the error says why.
    """
    found = importer_of(thing).convert(thing, data_asset=asset, **options)
    return found if isinstance(found, list) else [found]


def importer_of(thing: Any) -> Importer:
    """Return the importer for the result of a tool, or for a file.

    Raises:
        TypeError: no importer recognises it; the error says what each of them looks for.
        ValueError: the file cannot be read.
    """
    content, _ = opened(thing)
    importers = list_importers()
    for importer in importers:
        if importer.recognises(content):
            return importer
    known = "; ".join(f"{importer.name}: {importer.wants}" for importer in importers)
    raise TypeError(f"{_described(thing, content)} is not the result of a known tool. Known are {known}")


def list_importers() -> list[Importer]:
    """Return the importers of this library and of installed packages, in the order in which they are asked.

    Raises:
        ImportError: that of a package cannot be loaded.
        TypeError: a package offers something else than an `Importer`.
    """
    found = [*BUILT_IN]
    for point in distributions.entry_points(group=ENTRY_POINTS):
        try:
            importer = point.load()
        except ImportError as error:
            raise ImportError(f"the importer {point.name} of {point.value} cannot be loaded: {error}") from error
        if not isinstance(importer, Importer):
            raise TypeError(f"the importer {point.name} of {point.value} is no Importer: {type(importer).__name__}")
        found.append(importer)
    return sorted(found, key=lambda importer: importer.last)


def _described(thing: Any, content: Any) -> str:
    """Say what something is without showing its values."""
    where = f"{os.fsdecode(thing)}: " if isinstance(thing, str | os.PathLike) else ""
    names = list(map(str, content)) if isinstance(content, Mapping) else sorted(column_names(content))
    if isinstance(content, Mapping):
        what = "a dict"
    elif isinstance(content, list):
        what = "a list of rows" if names else f"a list of {type(content[0]).__name__}" if content else "an empty list"
    else:
        what = f"<{content.tag}>" if hasattr(content, "tag") else f"a {type(content).__name__}"
    return where + what + (f" with {', '.join(shortened(name, 40) for name in names[:8])}" if names else "")
