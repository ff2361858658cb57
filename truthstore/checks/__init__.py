"""The questions about checks: ``store.checks``, and the values that it takes and returns.

Everything is answered from the index: the rows of the results, `truthstore.items.check_rows`, and the notes that people
leave, `notes`. A module has one question, or several of one kind; `view` puts them together.
"""

from __future__ import annotations

from truthstore.checks.blame import Blame, Difference
from truthstore.checks.check import FAILING, OUTCOMES, Acknowledgement, Check
from truthstore.checks.compare import CheckChange, Comparison
from truthstore.checks.flaky import Flaky
from truthstore.checks.forget import Trace
from truthstore.checks.notes import CheckNote
from truthstore.checks.overdue import Overdue, OverdueAsset
from truthstore.checks.query import CheckQuery
from truthstore.checks.view import Checks
from truthstore.checks.worst import Ranked

__all__ = [
    "FAILING",
    "OUTCOMES",
    "Acknowledgement",
    "Blame",
    "Check",
    "CheckChange",
    "CheckNote",
    "CheckQuery",
    "Checks",
    "Comparison",
    "Difference",
    "Flaky",
    "Overdue",
    "OverdueAsset",
    "Ranked",
    "Trace",
]
