"""The store suite over stacks of layers: each of its tests meets a stack of its own, drawn by the test's name.

On memory, files, a log and SQLite all of the suite; on databases what concerns bytes and records, for queries are answered
below the layers as they are without them; on clouds, which differ from a log in their driver alone, a smoke.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest

from tests.smoke import SMOKE
from tests.stacks.backends import Backend, Place, backend
from tests.stacks.test_random_stacks import LAYERS
from truthstore import RESULTS, BaseStore
from truthstore.testing import StoreSuite
from truthstore.testing.suite.items import ItemTests
from truthstore.testing.suite.records import RecordTests

AT_ONCE = frozenset({"test_what_put_returns_is_what_is_stored", "test_changes_are_announced"})
"""What layers that let saves wait do later: annotate a record, and announce it (tests/batching says how)."""
WAITING = frozenset({"batched", "batched durably", "write behind"})


@pytest.fixture(scope="class")
def places(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Backend]:
    """Places on the backend of a class."""
    kind = getattr(request.cls, "kind")  # noqa: B009  # a class, which pytest does not know to be there
    with backend(kind, tmp_path_factory.mktemp(kind)) as new:
        yield new


class OverStacks:
    """Opens the stack of a test, at a place of its own.

    Attributes:
        kind: the backend.
    """

    kind: ClassVar[str]
    # A cache does not see what stores beside it write, and layers add annotations and tombstones of their own.
    concurrent = False
    shared_between_processes = False
    namespaces = False
    transparent = False

    @pytest.fixture
    def location(
        self, places: Backend, request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> tuple[Place, list[str]]:
        monkeypatch.chdir(tmp_path)  # where write-behind keeps its spool
        drawn = random.Random(request.node.nodeid)
        layers = [name for name in LAYERS if name not in WAITING or request.node.name not in AT_ONCE]
        names = drawn.sample(layers, drawn.randint(2, 4))
        return places(), sorted(names, key=list(LAYERS).index)

    def make_store(self, location: tuple[Place, list[str]], *, collection: Any = RESULTS, **options: Any) -> Any:
        place, names = location
        store: BaseStore[Any] = place(collection)
        for name in names:
            store = LAYERS[name](store)
        return store


class TestStacksInMemory(OverStacks, StoreSuite):
    smoke = SMOKE

    kind = "memory"


class TestStacksOnFiles(OverStacks, StoreSuite):
    kind = "filesystem"


class TestStacksOnALog(OverStacks, StoreSuite):
    kind = "log"


class TestStacksOnSQLite(OverStacks, StoreSuite):
    kind = "sqlite"


@pytest.mark.xdist_group("postgresql-16")
class TestStacksOnPostgreSQL(OverStacks, ItemTests, RecordTests):
    kind = "postgresql"


@pytest.mark.xdist_group("mariadb")
class TestStacksOnMariaDB(OverStacks, ItemTests, RecordTests):
    kind = "mariadb"


@pytest.mark.xdist_group("s3")
class TestStacksOnS3(OverStacks, ItemTests, RecordTests):
    smoke = SMOKE

    kind = "s3"


@pytest.mark.xdist_group("gcs")
class TestStacksOnGCS(OverStacks, ItemTests, RecordTests):
    smoke = SMOKE

    kind = "gcs"


@pytest.mark.xdist_group("azure")
class TestStacksOnAzure(OverStacks, ItemTests, RecordTests):
    smoke = SMOKE

    kind = "azure"
