"""A decorator that records how a function ended."""

from __future__ import annotations

import asyncio
import functools
import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypedDict, TypeVar, Unpack, cast

from truthstore.recording.run import OnError, Run, record

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping

    from truthstore.store.store import BaseStore

__all__ = ["records"]

F = TypeVar("F", bound=Callable[..., Any])


class RunOptions(TypedDict, total=False):
    """Those of `record`, but for the id, which is a new one at each call."""

    tags: Mapping[str, str] | None
    metadata: Mapping[str, Any] | None
    suite_name: str | None
    on_error: OnError
    path: str | os.PathLike[str] | None


def records(store: BaseStore[Any], data_asset: str, **options: Unpack[RunOptions]) -> Callable[[F], F]:
    """Record each call of a function that returns a table or raises: a run with one check, named after the function.

    What a known tool raised, such as pandera, becomes its checks. Functions may be asynchronous.

    Args:
        store: where the results are kept.
        data_asset: the data that the function returns.
        **options: see `record`.

    Raises:
        TypeError: the function is a generator, which returns before anything is known.
    """

    def decorate(function: F) -> F:
        name = getattr(function, "__name__", type(function).__name__)
        if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
            raise TypeError(f"{name} is a generator: what it gives is known when it ends; use record() around its loop")

        if inspect.iscoroutinefunction(function):

            @functools.wraps(function)
            async def recorded_later(*args: Any, **kwargs: Any) -> Any:
                run = record(store, data_asset, **options).__enter__()
                try:
                    table = await function(*args, **kwargs)
                except BaseException as error:
                    await _leave(run, error)
                    raise
                _returned(run, name, table)
                await _leave(run)
                return table

            return cast("F", recorded_later)

        @functools.wraps(function)
        def recorded(*args: Any, **kwargs: Any) -> Any:
            with record(store, data_asset, **options) as run:
                table = function(*args, **kwargs)
                _returned(run, name, table)
            return table

        return cast("F", recorded)

    return decorate


async def _leave(run: Run, error: BaseException | None = None) -> None:
    """End a run in a thread, for a store may be slow; in the loop where that is none of asyncio's."""
    ending = functools.partial(run.__exit__, type(error) if error else None, error, None)
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        ending()
    else:
        await asyncio.to_thread(ending)


def _returned(run: Run, name: str, table: Any) -> None:
    """Record what a function returned, and of a table its number of rows."""
    if hasattr(table, "columns") and hasattr(table, "__len__"):
        run.total_rows = len(table)
    is_open = inspect.isawaitable(table) or inspect.isgenerator(table) or inspect.isasyncgen(table)
    run.check(name, passed=None if is_open else True, checked=run.total_rows or None)
