"""The guide to Truthound's stores, whole: every Python block runs here as printed, `truthound.stores` read as `truthstore`.

S3 is moto and PostgreSQL a real server; the variables that boto3 and libpq read themselves lead there. Each block starts
anew, with the names that the guide takes for granted at that point.
"""

from __future__ import annotations

import sys
import types
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import Enum
from pathlib import Path
from typing import Any

import pytest

from tests.docs.blocks import Block, python_blocks, run
from tests.services.postgresql import PostgreSQL, postgresql
from tests.services.process import shared
from truthstore import get_store
from truthstore.backends.azure_blob import AzureBlobConfig
from truthstore.backends.filesystem import FileSystemConfig
from truthstore.backends.s3 import S3Config, S3Store
from truthstore.results import ValidationResult
from truthstore.versioning import VersionedStore

GUIDE = Path(__file__).parent / "guide" / "stores-guide.md"
RUN = "run-of-the-guide"
NOW = datetime.now(UTC)

Names = dict[str, Any]


class Severity(Enum):
    HIGH = "high"
    LOW = "low"


@dataclass
class Issue:
    """The fields of a Truthound issue."""

    column: str
    issue_type: str
    count: int
    severity: Severity
    details: str | None = None
    expected: Any = None
    actual: Any = None
    sample_values: list[Any] | None = None
    validator_name: str | None = None
    success: bool = False


@dataclass
class Report:
    """The fields of a Truthound report."""

    issues: list[Issue]
    source: str
    row_count: int
    column_count: int
    success: bool = False


REPORT = Report(
    [Issue("email", "null", 3, Severity.HIGH, details="3 nulls"), Issue("age", "outlier", 1, Severity.LOW)],
    source="customers.csv",
    row_count=100,
    column_count=4,
)


def result_of(number: int) -> ValidationResult:
    """A result under the id that the guide calls `run_id`."""
    result = ValidationResult.from_report(REPORT, "customers.csv", run_id=RUN, metadata={"number": number})
    result.run_time = NOW
    return result


@pytest.fixture(scope="module")
def postgresql_16() -> Iterator[PostgreSQL]:
    yield from shared(postgresql, 16)


@pytest.fixture
def postgres(postgresql_16: PostgreSQL, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    import psycopg

    monkeypatch.setenv("PGPORT", str(postgresql_16.port))
    monkeypatch.setenv("PGUSER", postgresql_16.user)
    monkeypatch.setenv("PGPASSWORD", postgresql_16.password)
    with psycopg.connect(postgresql_16.url, autocommit=True) as connection:
        connection.execute("DROP DATABASE IF EXISTS truthound")
        connection.execute("CREATE DATABASE truthound")
        with get_store("database", connection_url="postgresql://localhost/truthound") as store:
            store.save(ValidationResult.from_report(REPORT, "customers.csv"))
        yield
        connection.execute("DROP DATABASE truthound WITH (FORCE)")


def a_folder() -> Names:
    """An open store with one result in it, and what earlier blocks imported."""
    store = get_store("filesystem", base_path="a store")
    store.save(ValidationResult.from_report(REPORT, "customers.csv"))
    return {"store": store, "datetime": datetime}


def a_history() -> Names:
    """Three versions of a run, which an earlier job saved."""
    earlier = VersionedStore(get_store("s3", bucket="validation-results", prefix="prod/"))
    for number in (1, 2, 3):
        earlier.save(result_of(number))
    earlier.close()
    return {"run_id": RUN, "validation_result": result_of(4)}


def configurations() -> Names:
    return {"FileSystemConfig": FileSystemConfig, "S3Config": S3Config, "AzureBlobConfig": AzureBlobConfig}


def saved(names: Names) -> None:
    assert names["loaded"] == names["result"]
    assert names["loaded"].issue_count == 2


def saved_with_tags(names: Names) -> None:
    stored = names["store"].get(names["run_id"])
    assert stored == names["result"]
    assert stored.tags == {"environment": "production", "team": "data-eng"}


def rolled_back(names: Names) -> None:
    store = names["store"]
    assert names["result"] == RUN
    assert [version.version for version in names["history"]] == [4, 3, 2, 1]
    assert store.get(RUN).metadata["number"] == 3  # the cache is right at once
    assert store.get(RUN, version=4).metadata["number"] == 4
    # The rollback of the layer below the audit is a save there, too.
    assert [event.event_type for event in store.audit.query(item=RUN)] == ["save", "save"]
    assert store.audit.verify_chain()
    with VersionedStore(get_store("s3", bucket="validation-results", prefix="prod/")) as another:
        assert another.get(RUN).metadata["number"] == 3
        assert len(another.get_history(RUN)) == 5


def found(names: Names) -> None:
    assert [result.issue_count for result in names["results"]] == [2]


def cleaned(names: Names) -> None:
    store = names["store"]
    old = result_of(1)
    old.run_time -= timedelta(days=91)
    store.save(old)
    store.save(ValidationResult.from_report(REPORT, "customers.csv"))
    store.maintain()
    assert RUN not in store.list_ids()
    assert store.count() == 1


def opened_lazily(names: Names) -> None:
    assert "postgresql" in repr(names["store"])
    assert "pass" not in repr(names["store"])


def compressed(names: Names) -> None:
    store = names["store"]
    assert isinstance(store, S3Store)
    assert store.get(store.save(result_of(1))) == result_of(1)


def operated(names: Names) -> None:
    assert names["exists"]
    assert names["deleted"]
    assert len(names["ids"]) == 1
    assert names["results"] == []


def composed(names: Names) -> None:
    store = names["store"]
    store.save(result_of(1), message="first")
    store.save(result_of(2), message="second")
    assert [version.message for version in names["versioned"].get_history(RUN)] == ["second", "first"]
    assert store.get(RUN) == result_of(2)
    assert store.list_ids() == [RUN]


def caught(names: Names) -> None:
    assert issubclass(names["StoreNotFoundError"], names["StoreError"])
    assert "result" not in names


def named(names: Names) -> None:
    assert names["config"].namespace == "production"


def accepted(_: Names) -> None:
    """Three expressions, whose worth is that they raise nothing."""


CHECKS: dict[str, tuple[Callable[[], Names], Callable[[Names], None]]] = {
    "Quick Start": (lambda: {"report": REPORT}, saved),
    "Workflow 1: Production Storage with S3": (dict, saved_with_tags),
    "Workflow 2: Combining Versioning + Caching + Observability": (a_history, rolled_back),
    "Workflow 3: Query Historical Results": (dict, found),
    "Workflow 4: Retention Policy with Auto-Cleanup": (dict, cleaned),
    "Using the Factory": (dict, opened_lazily),
    "Direct Instantiation": (dict, compressed),
    "Common Operations": (lambda: {**a_folder(), "report": REPORT}, operated),
    "Composing Features": (dict, composed),
    "Error Handling": (a_folder, caught),
    "Base Configuration": (dict, named),
    "Compression": (configurations, accepted),
}
"""For the block under each title: the names that are there already, and what must hold after it."""


def blocks() -> dict[str, Block]:
    """The blocks of the guide by the title above them."""
    text = GUIDE.read_text(encoding="utf-8").replace("truthound.stores", "truthstore")
    lines = text.splitlines()
    found: dict[str, Block] = {}
    for block in python_blocks(text):
        title = next(line for line in reversed(lines[: block.line - 1]) if line.startswith("##"))
        found[title.lstrip("# ")] = block
    return found


def test_every_block_of_the_guide_is_run():
    assert list(blocks()) == list(CHECKS)
    assert len(CHECKS) == GUIDE.read_text(encoding="utf-8").count("```python")


@pytest.mark.xdist_group("s3")
@pytest.mark.usefixtures("nothing_of_the_user", "amazon", "postgres")
@pytest.mark.parametrize("title", CHECKS)
def test_the_block_runs_as_printed(title: str, monkeypatch: pytest.MonkeyPatch):
    checker = types.ModuleType("truthound")
    checker.__dict__["check"] = lambda _: REPORT
    monkeypatch.setitem(sys.modules, "truthound", checker)
    granted, holds = CHECKS[title]
    names = granted()
    assert run([blocks()[title]], GUIDE, names) == 1
    holds(names)
    if "store" in names:
        names["store"].close()
