"""Truthound: the run result of `truthound.check()`, and the `Report` of older versions."""

from __future__ import annotations

from typing import Final

from truthstore.items.results import ValidationResult

__all__ = ["from_truthound"]

from_truthound: Final = ValidationResult.from_report
