"""Write-behind over a database: what says nothing of the item waits, and what judges it is set aside."""

from __future__ import annotations

from typing import Any

import pytest

pytest.importorskip("sqlalchemy")
from sqlalchemy import event, exc

from truthstore import StoreWriteError
from truthstore.backends.database import DatabaseStore
from truthstore.backends.database.failures import AmbiguousError, is_item_error
from truthstore.caching import CachedStore, CacheMode
from truthstore.caching.refused import is_refusal
from truthstore.testing import SAMPLES, Sample


class CodedError(Exception):
    """An error of a driver, with the database's own code."""

    def __init__(self, code: str | int | None, text: str = "") -> None:
        super().__init__(*([code] if isinstance(code, int) else []), text)
        self.sqlstate = code if isinstance(code, str) else None


WAITS = [
    (exc.OperationalError, "53100"),  # PostgreSQL: the disk is full
    (exc.InternalError, "25006"),  # a transaction that can only read
    (exc.ProgrammingError, "42501"),  # no permission
    (exc.OperationalError, 1290),  # MySQL: --read-only
    (exc.OperationalError, 1021),  # the disk is full
    (exc.ProgrammingError, 1142),  # no permission
    (exc.OperationalError, None),  # SQLite: database or disk is full, readonly database
]
JUDGED = [
    (exc.DataError, "22001"),  # too long
    (exc.DataError, 1406),
    (exc.IntegrityError, "23514"),  # somebody's own check
    (exc.OperationalError, "54000"),  # a row that is too large
    (exc.OperationalError, 1153),  # a packet that is too large
    (exc.DataError, None),  # SQLite: string or blob too big
]


@pytest.fixture
def base(tmp_path):
    with DatabaseStore(connection_url=f"sqlite:///{tmp_path / 'd.sqlite'}", collection=SAMPLES) as base:
        base.save(Sample("known"))
        yield base


@pytest.fixture
def store(base, tmp_path):
    return CachedStore(
        base,
        mode=CacheMode.WRITE_BEHIND,
        flush_interval_seconds=None,
        spool_durability="os",
        spool_path=str(tmp_path / "queue.db"),
    )


def queue_of(store: CachedStore[Sample]) -> dict[str, Any]:
    figures: dict[str, Any] = store.get_stats()["write_behind"]
    return figures


@pytest.mark.parametrize(("kind", "code"), WAITS)
def test_trouble_of_the_database_does_not_judge_the_item(base, kind, code):
    error = kind("INSERT", {}, CodedError(code, "database or disk is full"))
    assert not is_item_error(error)
    explained = base._database.explained(error, StoreWriteError)
    assert explained.store_trouble
    assert not is_refusal(explained)


@pytest.mark.parametrize(("kind", "code"), JUDGED)
def test_an_item_that_no_such_database_takes_is_judged(base, kind, code):
    error = kind("INSERT", {}, CodedError(code, "too large"))
    explained = base._database.explained(error, StoreWriteError)
    assert not explained.store_trouble
    assert is_refusal(explained)


def test_a_value_that_cannot_be_bound_is_the_item_s():
    assert is_item_error(exc.StatementError("not a number", "INSERT", {}, ValueError("x")))
    assert not is_item_error(exc.InvalidRequestError("no transaction"))
    assert not is_item_error(AmbiguousError())


@pytest.mark.parametrize("pragma", ["query_only=1", "max_page_count=1"])
@pytest.mark.parametrize("others", [0, 30])
def test_what_meets_a_full_or_read_only_database_waits(base, store, pragma, others):
    store.save_many([Sample("a", note="word " * 5_000), *(Sample(f"b{n}", note="word " * 500) for n in range(others))])
    engine = base._database.engine
    usual = {"query_only=1": "query_only=0", "max_page_count=1": "max_page_count=1000000"}[pragma]
    wanted = [pragma]

    def limit(connection, *_):
        connection.execute(f"PRAGMA {wanted[0]}").close()

    event.listen(engine, "checkout", limit)
    with pytest.raises(StoreWriteError, match="wait in"):
        store.flush()
    assert queue_of(store)["refused"] == []
    assert queue_of(store)["waiting"] == others + 1
    wanted[0] = usual
    store.flush()
    event.remove(engine, "checkout", limit)
    assert base.count() == others + 2


@pytest.mark.parametrize("others", [0, 2])
def test_a_write_that_is_in_doubt_waits(base, store, monkeypatch, others):
    store.save_many([Sample("a"), *(Sample(f"b{n}") for n in range(others))])

    def lost(*_, **__):
        raise AmbiguousError

    for name in ("write",):
        monkeypatch.setattr(base._database, name, lost)
    with pytest.raises(StoreWriteError, match="may or may not"):
        store.flush()
    monkeypatch.undo()
    assert queue_of(store)["refused"] == []
    store.flush()
    assert base.count() == others + 2
