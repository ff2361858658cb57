"""Results of other tools, as `truthstore.items.results.ValidationResult`.

Each tool has a module with a function ``from_<tool>``; it takes what the tool hands out, objects or files, and imports
no tool itself. `from_any` finds out by itself which tool it was. All of them take `ImportOptions`.

A run that its tool gave an id of its own, and a document, get the same `run_id` however often they are converted, so that
a job which is repeated can ask for it to be stored once: ``store.save(result, expect=ABSENT)``.
"""

from __future__ import annotations

from truthstore.interop.datacontract import from_datacontract
from truthstore.interop.dbt import from_dbt
from truthstore.interop.dqx import from_dqx
from truthstore.interop.evidently import from_evidently
from truthstore.interop.frictionless import from_frictionless
from truthstore.interop.great_expectations import from_great_expectations, from_great_expectations_checkpoint
from truthstore.interop.importer import Importer
from truthstore.interop.junit import from_junit
from truthstore.interop.pandera import from_pandera
from truthstore.interop.pointblank import from_pointblank
from truthstore.interop.recognise import from_any, importer_of, list_importers
from truthstore.interop.row_errors import from_json_schema, from_pydantic
from truthstore.interop.soda import from_soda
from truthstore.interop.table import from_table
from truthstore.interop.truthound import from_truthound
from truthstore.interop.validoopsie import from_validoopsie
from truthstore.items.conversion import ImportOptions
from truthstore.model.values import storable

__all__ = [
    "ImportOptions",
    "Importer",
    "from_any",
    "from_datacontract",
    "from_dbt",
    "from_dqx",
    "from_evidently",
    "from_frictionless",
    "from_great_expectations",
    "from_great_expectations_checkpoint",
    "from_json_schema",
    "from_junit",
    "from_pandera",
    "from_pointblank",
    "from_pydantic",
    "from_soda",
    "from_table",
    "from_truthound",
    "from_validoopsie",
    "importer_of",
    "list_importers",
    "storable",
]
