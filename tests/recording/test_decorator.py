"""A decorator that records how a function ended."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator

import pytest

from truthstore.items.checks import status_of
from truthstore.recording import records


def only(store):
    (run,) = store.query()
    return run


def test_a_function_that_returns_a_table_has_passed(store):
    polars = pytest.importorskip("polars")

    @records(store, "orders", tags={"team": "sales"})
    def load(rows):
        """Load."""
        return polars.DataFrame({"id": range(rows)})

    assert len(load(3)) == 3
    assert (load.__name__, load.__doc__) == ("load", "Load.")
    run = only(store)
    assert (run.data_asset, run.status, run.tags, run.statistics.total_rows) == (
        "orders",
        "success",
        {"team": "sales"},
        3,
    )
    assert [(check.validator_name, check.success, check.checked) for check in run.results] == [("load", True, 3)]


def test_a_function_that_raises_is_an_error(store):
    @records(store, "orders")
    def load():
        raise OSError("no such table")

    with pytest.raises(OSError, match="no such table"):
        load()
    assert (only(store).status, only(store).results[0].message) == ("error", "OSError: no such table")


def test_asynchronous_functions_too(store):
    @records(store, "orders")
    async def load(fails: bool):
        await asyncio.sleep(0)
        if fails:
            raise OSError("no such table")
        return [1]

    async def both():
        try:
            raise KeyError("of somebody else")
        except KeyError:
            assert await load(fails=False) == [1]
        with pytest.raises(OSError):
            await load(fails=True)

    asyncio.run(both())
    assert sorted(run.status for run in store.query()) == ["error", "success"]


def test_a_cancelled_call_is_an_error(store):
    @records(store, "orders")
    async def load():
        await asyncio.sleep(60)

    async def cancel():
        task = asyncio.create_task(load())
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(cancel())
    assert only(store).status == "error"


def test_it_needs_no_loop_of_asyncio(store):
    @records(store, "orders")
    async def load():
        return [1]

    call = load()
    with pytest.raises(StopIteration) as ended:
        call.send(None)
    assert ended.value.value == [1]
    assert only(store).success


def test_generators_are_refused(store):
    def rows() -> Iterator[int]:
        yield 1

    async def later() -> AsyncIterator[int]:
        yield 1

    for function in (rows, later):
        with pytest.raises(TypeError, match="is a generator"):
            records(store, "orders")(function)


def test_what_is_yet_to_come_has_not_passed(store):
    @records(store, "orders")
    def load():
        return (row for row in [1])

    assert list(load()) == [1]
    assert status_of(only(store).results[0]) == "not_evaluated"
    assert only(store).status == "error"


def test_two_calls_are_two_runs(store):
    load = records(store, "orders")(lambda: [1])
    load()
    load()
    assert len(list(store.query())) == 2
