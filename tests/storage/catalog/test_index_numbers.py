"""A number of the index is never given twice, so that what was read of one item is not taken for what came after it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from truthstore import Collection, StoreQuery
from truthstore.backends.filesystem import FileSystemStore
from truthstore.storage.catalog.catalog import Catalog
from truthstore.testing.sample import SAMPLES, Sample


def overwrite(store: FileSystemStore[Sample]) -> None:
    store.save(Sample("x", tags={"team": "new"}, note="fresh words"))


def make_anew(store: FileSystemStore[Sample]) -> None:
    store.delete("x")
    overwrite(store)


@pytest.mark.parametrize("change", [overwrite, make_anew])
@pytest.mark.parametrize(
    ("step", "old", "new"),
    [
        ("_tag_terms", StoreQuery(tags={"team": "old"}), StoreQuery(tags={"team": "new"})),
        ("_word_terms", StoreQuery(text="stale"), StoreQuery(text="fresh")),
    ],
)
def test_an_item_that_is_replaced_while_it_is_posted(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    change: Callable[[FileSystemStore[Sample]], None],
    step: str,
    old: StoreQuery,
    new: StoreQuery,
):
    with (
        FileSystemStore(base_path=tmp_path, durability="os", collection=SAMPLES) as reader,
        FileSystemStore(base_path=tmp_path, durability="os", collection=SAMPLES) as writer,
    ):
        reader.save(Sample("x", tags={"team": "old"}, note="stale words"))
        terms: Any = getattr(Catalog, step)
        changed: list[bool] = []

        def read_then_replaced(*given: Any) -> Any:
            found = terms(*given)
            if not changed:
                changed.append(True)
                change(writer)
            return found

        monkeypatch.setattr(Catalog, step, read_then_replaced)
        reader.list_ids(old)
        assert changed
        assert reader.list_ids(new) == ["x"]
        assert reader.list_ids(old) == []


class Old(msgspec.Struct):
    """Has the fields of both declarations; the older one indexes the first alone."""

    id: str
    first: str = ""
    second: str = ""


OLD = Collection.of(Old, name="things", index={"first": str})
NEW = Collection.of(Old, name="things", index={"first": str, "second": str})


def test_an_item_that_a_process_with_the_older_declaration_overwrites_is_found_by_the_newer_one(tmp_path: Path):
    with (
        FileSystemStore(base_path=tmp_path, durability="os", collection=OLD) as older,
        FileSystemStore(base_path=tmp_path, durability="os", collection=NEW) as newer,
    ):
        for word in ("one", "two", "three"):
            older.save(Old("x", "1", word))
            assert newer.list_ids(StoreQuery(where={"second": word})) == ["x"]
        older.delete("x")
        older.save(Old("y", "1", "four"))
        assert newer.list_ids(StoreQuery(where={"second": "four"})) == ["y"]
