"""truthstore keeps the results of data validation: save them in one line, anywhere, and ask for their history later.

``store = get_store("filesystem", base_path=".truthstore/store")`` opens a store, ``store.save(result)`` keeps a result, and
``store.query(StoreQuery(data_asset="customers.csv", status="failure"))`` gives the history back.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from truthstore import base, expectations, factory, results
from truthstore.base import *
from truthstore.errors import *
from truthstore.expectations import *
from truthstore.factory import *
from truthstore.results import *

if TYPE_CHECKING:
    from truthstore.copying import copy_store, export_store, restore_store
    from truthstore.recording import record, records

__version__ = "0.1.0"

# A program that sets up no logging sees none of ours.
logging.getLogger("truthstore").addHandler(logging.NullHandler())

__all__ = ["__version__", "copy_store", "export_store", "record", "records", "restore_store"]
__all__ += base.__all__
__all__ += expectations.__all__
__all__ += factory.__all__
__all__ += results.__all__


def __getattr__(name: str) -> Any:
    """Load what most programs never need."""
    if name in {"record", "records"}:
        from truthstore import recording

        return getattr(recording, name)
    if name in {"copy_store", "export_store", "restore_store"}:
        from truthstore import copying

        return getattr(copying, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
