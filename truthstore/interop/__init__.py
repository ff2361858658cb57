"""Results of other tools, as `truthstore.items.results.ValidationResult`.

Each tool has a module with a function ``from_<tool>``; it takes the objects that the tool hands out and imports no
tool itself. They share `values` (a tool's values as storable builtins) and `conversion` (ids, messages, the result).

A run that its tool gave an id of its own gets the same `run_id` however often it is converted, so that a job which is
repeated can ask for it to be stored once: ``store.save(result, expect=ABSENT)``.
"""

from __future__ import annotations

from truthstore.interop.great_expectations import from_great_expectations, from_great_expectations_checkpoint
from truthstore.interop.pandera import from_pandera
from truthstore.interop.truthound import from_truthound
from truthstore.model.values import storable

__all__ = [
    "from_great_expectations",
    "from_great_expectations_checkpoint",
    "from_pandera",
    "from_truthound",
    "storable",
]
