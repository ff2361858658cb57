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

__all__ = ["belonging", "by_name", "derived", "own_of", "owners_of"]


def derived(source: BaseStore[Any], owners: Iterable[Collection[Any]], *, versions: bool) -> list[Collection[Any]]:
    """Return the collections that a store holds now of what belongs to the items of others."""
    try:
        names: frozenset[str] | None = source.collection_names()
    except StoreNotSupportedError:
        names = None
    found = [one for owner in owners for one in _derived(owner) if versions or one is not history_of(owner)]
    return [one for one in found if names is None or one.name in names]


def _derived(collection: Collection[Any]) -> list[Collection[Any]]:
    if not collection.is_users:
        return []
    found: list[Collection[Any]] = [history_of(collection), quarantine_of(collection)]
    return [*found, parts_of(collection), notes_of(collection)] if has_checks(collection) else found


def belonging(collection: Collection[Any], ids: Sequence[str]) -> dict[str, list[StoreQuery]]:
    """Return the queries for what belongs to some items, by collection; notes that are about no run belong to all."""
    found = {history_of(collection).name: [StoreQuery(where={ITEM: ("in", ids)})]}
    if has_checks(collection):
        runs = StoreQuery(where={"kind": "streamed", "check_id": ("in", ids)})
        found[notes_of(collection).name] = [runs, StoreQuery(where={"kind": ("!=", "streamed")})]
        found[parts_of(collection).name] = [StoreQuery(where={"run_id": ("in", ids)})]
    return found


def by_name(given: Iterable[Collection[Any]], names: Iterable[str]) -> list[Collection[Any]]:
    """Return the collections with these names, but for those with the state of layers.

    Raises:
        StoreConfigError: one of a user is declared nowhere.
    """
    users: tuple[Collection[Any], ...] = (RESULTS, SUITES, AUDIT, *given)
    known = {one.name: one for user in users for one in (user, *_derived(user))}
    if unknown := sorted(name for name in names if "." not in name and name not in known):
        raise StoreConfigError(f"only a declaration says what {', '.join(unknown)} holds: give collections=[…]")
    return [known[name] for name in sorted(names) if name in known]


def own_of(store: BaseStore[Any]) -> Collection[Any]:
    """Return the collection that a store is open for."""
    return store._collection  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]  # as layers do


def owners_of(source: BaseStore[Any], given: Sequence[Collection[Any]], *, everything: bool) -> list[Collection[Any]]:
    """Return the collections that a copy takes, without those that belong to them."""
    if not everything:
        return list(given) or [own_of(source)]
    found = by_name([own_of(source), *given], source.collection_names())
    return [collection for collection in found if collection.is_users or collection is AUDIT]
