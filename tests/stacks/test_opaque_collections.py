"""Collections of records whose bodies belong to a layer: fields come with the record, and a rebuild finds them again."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from truthstore import Collection, Meta, Record, StoreConfigError, StoreQuery
from truthstore.backends.filesystem import FileSystemStore
from truthstore.backends.memory import MemoryData, MemoryStore
from truthstore.model.record import FieldValue

HISTORY = Collection.of_records("results.versions", index={"item": str, "number": int, "weight": float})


def version(number: int, body: bytes = b'{"any": "thing"}') -> Record:
    fields: dict[str, FieldValue] = {"item": "a", "number": number, "weight": math.inf if number == 1 else 0.5}
    return Record(Meta(f"a@{number}", fields=fields, tags={"by": "me"}, size=len(body)), body)


@pytest.mark.parametrize("body", [b'{"any": "thing"}', b'{\n  "any": "thing"\n}', b"\x00\xff", b""])
@pytest.mark.parametrize("kind", ["memory", "filesystem"])
def test_fields_survive_a_rebuild(tmp_path: Path, kind: str, body: bytes):
    blobs = MemoryData()

    def make():
        return MemoryStore(data=blobs) if kind == "memory" else FileSystemStore(base_path=tmp_path, durability="os")

    with make() as store:
        for number in (1, 2, 3):
            store.put_record(version(number, body), collection=HISTORY)
    if kind == "filesystem":
        for index in tmp_path.rglob("index-*"):
            index.unlink()
    with make() as store:
        query = StoreQuery(where={"item": "a", "number": (">", 1)}, order_by="number", tags={"by": "me"})
        found = list(store.scan(query, collection=HISTORY, bodies=True))
        assert [record.meta.fields["number"] for record in found] == [3, 2]
        assert {record.body for record in found} == {body}
        heaviest = store.get_record("a@1", collection=HISTORY)
        assert heaviest.meta.fields == {"item": "a", "number": 1, "weight": math.inf}


def test_names_with_a_dot_are_the_librarys_own():
    with pytest.raises(StoreConfigError):
        Collection.of(Record, name="results.versions", id="revision")
    with pytest.raises(StoreConfigError):
        Collection.of_records("Results", index={})
