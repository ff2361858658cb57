"""Remove a personal value from all results, and say where it was."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Final

import msgspec

from truthstore.checks.compare import run_of
from truthstore.checks.notes import CheckNote, Notes, notes_of
from truthstore.errors import StoreConflictError, StoreCorruptError, StoreNotFoundError
from truthstore.items.parts import Part, parts_of
from truthstore.model.query import StoreQuery

if TYPE_CHECKING:
    from truthstore.checks.source import Source
    from truthstore.model.collection import Collection

__all__ = ["Trace", "forget", "save_changed"]

BY_ID: Final = StoreQuery(order_by="id", ascending=True)
OF_RUN: Final = ("metadata", "runtime_environment", "tags")
OF_CHECK: Final = ("message", "observed", "expected", "details")
KEPT_OF_RUN: Final = ("run_id", "data_asset", "suite_name")
KEPT_OF_CHECK: Final = ("validator_name", "column", "columns", "issue_type", "check_id", "owner")


class Trace(msgspec.Struct, frozen=True, kw_only=True):
    """Where a value was.

    Attributes:
        id: the run, or the note.
        place: ``results``, ``notes``, or a place where a layer keeps copies: ``version 3``, ``quarantine``, ``archive``,
            ``queued save``, ``rejected save``.
        removed: the parts that it was removed from: ``results[2].message``, ``metadata.sample[0]``.
        kept: the parts that hold it still, for they name something; and ``body``, for an item that cannot be read.
    """

    id: str
    place: str
    removed: tuple[str, ...] = ()
    kept: tuple[str, ...] = ()


def forget(store: Source, collection: Collection[Any], value: object, replacement: str) -> list[Trace]:
    """Replace a value in all results, their copies and the notes on them; see `Checks.forget`."""
    text = str(value)
    if not text.strip() or value is None:
        raise ValueError("forget takes a value that is not empty")
    find = re.compile(rf"(?<!\w){re.escape(text)}(?!\w)")
    if find.search(replacement):
        raise ValueError("the replacement holds the value")
    traces: list[Trace] = []

    def change(place: str, item: Any) -> Any:
        """Return an item without the value, or None if nothing in it can be changed; note what was found."""
        search = _Search(find, replacement)
        search.note(item) if isinstance(item, CheckNote) else search.result(item)
        if search.removed or search.kept:
            id = item.run_id if isinstance(item, Part) else item.id
            traces.append(Trace(id=id, place=place, removed=tuple(search.removed), kept=tuple(search.kept)))
        return search.item if search.removed else None

    is_streamed = bool(Notes.read(store, collection).streamed)
    parts = [(parts_of(collection), "results")] if is_streamed else []
    for part, place in ((collection, "results"), *parts, (notes_of(collection), "notes")):
        for head in store.scan(BY_ID, collection=part):
            start = len(traces)

            def changed(item: Any, place: str = place, start: int = start) -> Any:
                del traces[start:]  # of an attempt before this one
                return change(place, item)

            try:
                save_changed(store, part, head.id, changed, "a value was forgotten")
            except StoreNotFoundError:
                continue  # removed meanwhile
            except StoreCorruptError:
                traces.append(Trace(id=head.id, place=place, kept=("body",)))
    store.change_copies(change, collection=collection)
    return traces


def save_changed(
    store: Source, collection: Collection[Any], id: str, change: Callable[[Any], Any], message: str
) -> None:
    """Save what `change` returns for an item, unless that is None; again where another writer was faster.

    Raises:
        StoreNotFoundError: there is no such item.
    """
    takes_message = collection.is_users and any("message" in layer.OPTIONS.get("save", ()) for layer in store.layers())
    options: Mapping[str, Any] = {"message": message} if takes_message else {}
    view = store.collection(collection)
    while True:
        record = run_of(store, collection, id)
        item = change(collection.decode(record))
        if item is None:
            return
        try:
            view.save(item, expect=record.revision, **options)
        except StoreConflictError:
            continue
        return


class _Search:
    """The search for a value in one item, whose parts are changed in place."""

    def __init__(self, find: re.Pattern[str], replacement: str) -> None:
        self.find = find
        self.replacement = replacement
        self.removed: list[str] = []
        self.kept: list[str] = []
        self.item: Any = None

    def result(self, item: Any) -> None:
        """Look through a run, or a part of one."""
        self.item = item
        place = f"parts[{item.number}]." if isinstance(item, Part) else ""
        self._parts(place, item, OF_RUN, KEPT_OF_RUN)
        for number, check in enumerate(item.results):
            self._parts(f"{place}results[{number}].", check, OF_CHECK, KEPT_OF_CHECK)

    def note(self, item: CheckNote) -> None:
        """Look through a note."""
        given = {name: getattr(item, name) for name in ("by", "reason")}
        self.item = msgspec.structs.replace(
            item, **{name: self._replaced(value, name) for name, value in given.items()}
        )
        self._keep("", item, ("check_id", "data_asset", "value"))

    def _parts(self, path: str, owner: Any, parts: tuple[str, ...], kept: tuple[str, ...]) -> None:
        for name in parts:
            value = getattr(owner, name, None)  # a part of a run has no environment
            if (new := self._replaced(value, path + name)) is not value:
                setattr(owner, name, new)
        self._keep(path, owner, kept)

    def _keep(self, path: str, owner: Any, names: tuple[str, ...]) -> None:
        for name in names:
            value = getattr(owner, name)
            if any(self.find.search(one) for one in ((value,) if isinstance(value, str) else value or ())):
                self.kept.append(path + name)

    def _replaced(self, value: Any, path: str) -> Any:
        """Return a value of JSON without what is looked for: the same object if it does not hold it."""
        if isinstance(value, Mapping):
            pairs = [
                (self._replaced(key, f"{path} (a key)"), self._replaced(inner, f"{path}.{key}"))
                for key, inner in value.items()
            ]
            same = all(a is key and b is value[key] for key, (a, b) in zip(value, pairs, strict=True))
            return value if same else dict(pairs)
        if isinstance(value, list):
            parts = [self._replaced(inner, f"{path}[{number}]") for number, inner in enumerate(value)]
            return value if all(a is b for a, b in zip(value, parts, strict=True)) else parts
        if isinstance(value, bool) or not isinstance(value, str | int | float):
            return value
        text = value if isinstance(value, str) else repr(value)
        if not (self.find.search(text) if isinstance(value, str) else self.find.fullmatch(text)):
            return value
        self.removed.append(self.find.sub(self.replacement, path))
        return self.find.sub(lambda _: self.replacement, text)
