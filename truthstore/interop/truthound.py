"""Truthound: the run result of `truthound.check()`, and the `Report` of older versions."""

from __future__ import annotations

from typing import Any, Final

from truthstore.interop.importer import Importer
from truthstore.items.conversion import read
from truthstore.items.results import ValidationResult

__all__ = ["IMPORTER", "from_truthound"]

from_truthound: Final = ValidationResult.from_report


def _recognises(thing: Any) -> bool:
    return read(thing, "source") is not None and isinstance(read(thing, "issues"), list | tuple)


IMPORTER: Final = Importer(
    name="truthound",
    convert=from_truthound,
    recognises=_recognises,
    wants="a Report, the run result of check(), or the dict of either",
)
