"""The collections that a copy takes, and what belongs to the items of each."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from truthstore.checks.notes import notes_of
from truthstore.errors import StoreConfigError, StoreNotSupportedError
from truthstore.items.check_rows import has_checks
from truthstore.items.expectations import SUITES
from truthstore.items.parts import parts_of
from truthstore.items.results import RESULTS
from truthstore.model.query import StoreQuery
from truthstore.observability.audit.store import AUDIT
from truthstore.retention.apply import quarantine_of
from truthstore.versioning.meta import ITEM, history_of

if TYPE_CHECKING:
    from truthstore.model.collection import Collection
    from truthstore.store.store import BaseStore

__all__ = ["belonging", "by_name", "scope_of"]


def _with_derived(collection: Collection[Any]) -> list[Collection[Any]]:
    """Return a collection, and those of what belongs to its items."""
    checked = [parts_of(collection), notes_of(collection)] if has_checks(collection) else []
    others = [history_of(collection), *checked, quarantine_of(collection)]
    return [collection, *(others if collection.is_users else ())]


def belonging(collection: Collection[Any], ids: Sequence[str]) -> dict[str, list[StoreQuery]]:
    """Return the queries for what belongs to some items, by collection; notes that are about no run belong to all."""
    found = {history_of(collection).name: [StoreQuery(where={ITEM: ("in", ids)})]}
    if has_checks(collection):
        runs = StoreQuery(where={"kind": "streamed", "check_id": ("in", ids)})
        found[notes_of(collection).name] = [runs, StoreQuery(where={"kind": ("!=", "streamed")})]
        found[parts_of(collection).name] = [StoreQuery(where={"run_id": ("in", ids)})]
    return found


def by_name(given: Iterable[Collection[Any]], names: Iterable[str]) -> list[Collection[Any]]:
    """Return the collections with these names, those of users first, but for those with the state of layers.

    Raises:
        StoreConfigError: one of a user is declared nowhere.
    """
    users: tuple[Collection[Any], ...] = (RESULTS, SUITES, AUDIT, *given)
    known = {one.name: one for user in users for one in _with_derived(user)}
    if unknown := sorted(name for name in names if "." not in name and name not in known):
        raise StoreConfigError(f"only a declaration says what {', '.join(unknown)} holds: give collections=[…]")
    return [known[name] for name in sorted(names, key=lambda name: ("." in name, name)) if name in known]


def scope_of(
    source: BaseStore[Any], given: Sequence[Collection[Any]], *, everything: bool, versions: bool
) -> list[Collection[Any]]:
    """Return the collections that a copy takes; the options are those of `copy_store`."""
    own = source._collection  # noqa: SLF001  # the collection that a store is open for
    wanted = [one for collection in given or [own] for one in _with_derived(collection)]
    try:
        names = source.collection_names()
    except StoreNotSupportedError:
        if everything:
            raise
    else:
        wanted = by_name([own, *given], names) if everything else [c for c in wanted if c.is_users or c.name in names]
    histories = {history_of(collection).name for collection in wanted}
    return [collection for collection in wanted if versions or collection.name not in histories]
