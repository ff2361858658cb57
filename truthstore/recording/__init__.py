"""Recording at hand: results kept as checks run, by whatever runs them.

`record` is a block, `records` a decorator, `keep` takes results that are there already; a plugin records tests of pytest,
and `truthstore.recording.great_expectations` is an action for checkpoints. None of them fails the job, unless asked to.
"""

from __future__ import annotations

from truthstore.recording.decorator import records
from truthstore.recording.run import Run, keep, record

__all__ = ["Run", "keep", "record", "records"]
