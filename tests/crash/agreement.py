"""What a store holds, asked in every way that there is: the ways must give one answer."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import pytest

from truthstore.errors import StoreNotFoundError
from truthstore.model.query import StoreQuery

if TYPE_CHECKING:
    from truthstore.model.record import Record
    from truthstore.store.store import BaseStore


def contents(store: BaseStore[Any], gone: Iterable[str] = (), *, first: int = 0, rows: bool = True) -> dict[str, Any]:
    """The items of a store by id, after `query`, `list_ids`, `count`, `entries`, `rows`, `get` and `exists` agreed on them.

    Args:
        store: the store.
        gone: ids that may or may not be there, to be asked for by name too.
        first: which of the ways is asked first. A way that repairs something on its way would hide from the others
            that it was broken.
        rows: ask for rows too. The first question about them writes, which a full disk refuses.
    """
    asked = list(gone)
    collection = store._collection
    asks_rows = rows and collection.rows is not None
    answers: dict[str, Any] = {}
    ways: list[tuple[str, Callable[[], Any]]] = [
        ("query", store.query),
        ("list_ids", store.list_ids),
        ("count", store.count),
        ("entries", lambda: {head.id: head.revision for head in store.entries()}),
        ("rows", lambda: _rows(store.scan_rows(StoreQuery(), collection=collection)) if asks_rows else {}),
        ("get", lambda: {id: item for id in asked if (item := _get(store, id)) is not None}),
        ("exists", lambda: {id for id in asked if store.exists(id)}),
    ]
    first %= len(ways)
    for name, way in ways[first:] + ways[:first]:
        answers[name] = way()
    items = {collection.id_of(item): item for item in answers["query"]}
    assert Counter(answers["list_ids"]) == Counter(items.keys()), "list_ids differs from query"
    assert len(answers["query"]) == len(items), "query gives an item twice"
    assert answers["count"] == len(items), "count differs from query"
    assert answers["entries"].keys() == items.keys(), "entries differ from query"
    expected = _rows(row for item in answers["query"] for row in collection.rows_of(collection.encode(item)))
    assert not asks_rows or answers["rows"] == expected, "rows differ from query"
    assert answers["get"] == {id: items[id] for id in asked if id in items}, "get differs from query"
    assert answers["exists"] == {id for id in asked if id in items}, "exists differs from query"
    for id, item in items.items():
        assert store.get(id) == item
        assert store.exists(id)
        assert store.head(id).revision == answers["entries"][id], f"index and file of {id} are of two writes"
        assert store.list_ids(StoreQuery(ids=[id])) == [id]
    for id in asked:
        if id not in items:
            with pytest.raises(StoreNotFoundError):
                store.get(id)
    return items


def _rows(rows: Iterable[Record]) -> dict[str, dict[str, Any]]:
    return {row.id: dict(row.meta.fields) for row in rows}


def _get(store: BaseStore[Any], id: str) -> Any:
    try:
        return store.get(id)
    except StoreNotFoundError:
        return None
