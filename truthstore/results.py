"""Validation results: the items of the default collection."""

from __future__ import annotations

from truthstore.items.checks import VALIDATOR_ERROR, CheckStatus, ResultStatistics, ResultStatus, ValidatorResult
from truthstore.items.results import RESULTS, ValidationResult
from truthstore.items.run_ids import new_run_id

__all__ = [
    "RESULTS",
    "VALIDATOR_ERROR",
    "CheckStatus",
    "ResultStatistics",
    "ResultStatus",
    "ValidationResult",
    "ValidatorResult",
    "new_run_id",
]
