"""The conformance suite of stores: inherit `StoreSuite`, write `make_store`, and pytest does the rest."""

from __future__ import annotations

from truthstore.testing.suite.concurrency import ConcurrencyTests
from truthstore.testing.suite.ids import IdTests
from truthstore.testing.suite.items import ItemTests
from truthstore.testing.suite.life import LifeTests
from truthstore.testing.suite.queries import FigureTests, QueryTests
from truthstore.testing.suite.records import RecordTests
from truthstore.testing.suite.rows import RowTests
from truthstore.testing.suite.streams import StreamTests

__all__ = ["StoreSuite"]


class StoreSuite(
    ItemTests, LifeTests, QueryTests, FigureTests, IdTests, RecordTests, RowTests, StreamTests, ConcurrencyTests
):
    """The duties of every backend and every wrapper.

    ```python
    class TestMyStore(StoreSuite):
        namespaces = False

        def make_store(self, location, *, collection=RESULTS, **options):
            return MyStore(location, collection=collection)
    ```

    Class attributes say what the store can do; see `StoreCase`. What it cannot do is skipped by name, never silently.
    """
