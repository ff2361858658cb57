"""Which collections a copy takes, and what belongs to the items of each."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from truthstore.checks.notes import notes_of
from truthstore.errors import StoreConfigError, StoreNotSupportedError
from truthstore.items.check_rows import has_checks
from truthstore.items.expectations import SUITES
from truthstore.items.parts import STREAM_TAG, parts_of
from truthstore.items.results import RESULTS
from truthstore.model.query import StoreQuery
from truthstore.observability.audit.store import AUDIT
from truthstore.retention.apply import quarantine_of
from truthstore.versioning.meta import ITEM, history_of

if TYPE_CHECKING:
    from truthstore.model.collection import Collection
    from truthstore.model.record import Record
    from truthstore.store.store import BaseStore

__all__ = ["Scope", "belonging", "scope_of"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Scope:
    """The collections of a copy.

    Attributes:
        collections: those that are named, in order.
        names: those that the source holds; None where it cannot list them.
        versions: records come as the layers of the source stored them, with tombstones and older versions.
        left_out: those that are not copied though all are: the state of layers.
        live: others may write to the source meanwhile.
    """

    collections: Sequence[Collection[Any]]
    names: frozenset[str] | None
    versions: bool
    left_out: tuple[str, ...] = ()
    live: bool = True

    def derived(self, collection: Collection[Any]) -> list[Collection[Any]]:
        """Return the collections of what belongs to the items of a collection."""
        if not collection.is_users:
            return []
        found = [history_of(collection)] if self.versions else []
        found += [parts_of(collection), notes_of(collection)] if has_checks(collection) else []
        found.append(quarantine_of(collection))
        return [one for one in found if self.names is None or one.name in self.names]


def scope_of(
    source: BaseStore[Any], collections: Iterable[Collection[Any]], *, everything: bool, versions: bool
) -> Scope:
    """Return the collections that a copy of a store takes; the options are those of `copy_store`.

    Raises:
        StoreConfigError: the store holds a collection of a user that is declared nowhere.
        StoreNotSupportedError: it cannot list its collections, and all are wanted.
    """
    own = source._collection  # noqa: SLF001  # the collection that a store is open for
    given = list(collections)
    try:
        names = source.collection_names()
    except StoreNotSupportedError:
        if everything:
            raise
        names = None
    wanted = named(names or frozenset(), [own, *given]) if everything else given or [own]
    histories = {history_of(collection).name for collection in wanted if collection.is_users}
    keeps_versions = any(hasattr(type(layer), "history_of") for layer in source.layers())
    if keeps_versions and names is not None:
        names |= histories
    scope = Scope(
        collections=wanted,
        names=names,
        # Where none are kept, versions are left to the layers of the target.
        versions=versions and (keeps_versions or bool(names and names & histories)),
    )
    if not everything or names is None:
        return scope
    rows = {collection.rows.name for collection in wanted if collection.rows is not None}
    copied = {one.name for collection in wanted for one in (collection, *scope.derived(collection))}
    return Scope(
        collections=wanted, names=names, versions=scope.versions, left_out=tuple(sorted(names - copied - rows))
    )


def named(names: frozenset[str], declared: Iterable[Collection[Any]]) -> list[Collection[Any]]:
    """Return the collections with these names that are no others' derived ones.

    Raises:
        StoreConfigError: one of a user is declared nowhere.
    """
    known = {collection.name: collection for collection in (RESULTS, SUITES, AUDIT, *declared)}
    if unknown := sorted(name for name in names if "." not in name and name not in known):
        raise StoreConfigError(
            f"there are {', '.join(unknown)}, and only a declaration says what is in them: give collections=[…]"
        )
    return [known[name] for name in sorted(names & known.keys())]


def belonging(
    records: Sequence[Record], collection: Collection[Any], among: Sequence[Collection[Any]]
) -> Iterator[tuple[Collection[Any], StoreQuery]]:
    """Iterate over what belongs to some items: their older versions, and the parts of runs with their notes."""
    history = history_of(collection)
    if any(one.name == history.name for one in among):
        yield history, StoreQuery(where={ITEM: ("in", [record.id for record in records])})
    streams = {record.id: tag for record in records if (tag := record.meta.tags.get(STREAM_TAG))}
    if streams and has_checks(collection):
        yield parts_of(collection), StoreQuery(where={"stream": ("in", list(streams.values()))})
        yield notes_of(collection), StoreQuery(where={"kind": "streamed", "check_id": ("in", list(streams))})
