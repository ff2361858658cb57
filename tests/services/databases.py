"""Places in the servers of the tests: each test gets a namespace of its own in tables that are made once."""

from __future__ import annotations

import itertools
import os
from typing import Any, NamedTuple

from truthstore.backends.database import DatabaseStore
from truthstore.results import RESULTS

_numbers = itertools.count()


class Place(NamedTuple):
    """A namespace in a database."""

    url: str
    space: str

    def open(self, collection: Any = RESULTS, *, namespace: str = "default", **options: Any) -> DatabaseStore[Any]:
        """A store in this place."""
        return DatabaseStore(
            connection_url=self.url, collection=collection, namespace=f"{self.space}/{namespace}", **options
        )


def new_place(url: str) -> Place:
    """A place that nobody has used."""
    return Place(url, f"{os.getpid()}-{next(_numbers)}")
