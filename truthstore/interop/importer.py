"""What each importer says of itself: its name, its function, and how the results of its tool are known."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec

from truthstore.items.results import ValidationResult

__all__ = ["Importer"]


class Importer(msgspec.Struct, frozen=True, kw_only=True):
    """How the results of one tool are known and converted.

    Attributes:
        name: name of the tool.
        convert: the function; it takes what `from_any` was given, ``data_asset`` and the keywords of `ImportOptions`, and
            returns a result or a list of them.
        recognises: tells by a cheap look whether something is of this tool: an object, a dict, a list, or what a file
            holds (of XML its root element, of Parquet a `ParquetRows`). What is, but cannot be converted, `convert`
            refuses with the reason.
        wants: what it recognises, for the error where nothing fits.
        last: asked after all others, because it recognises much.
    """

    name: str
    convert: Callable[..., ValidationResult | list[ValidationResult]]
    recognises: Callable[[Any], bool]
    wants: str
    last: bool = False
