"""Part of the store suite: records, as layers above hand them down and get them back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from truthstore.errors import StoreBulkError, StoreConflictError, StoreNotFoundError
from truthstore.model.collection import Collection
from truthstore.model.digest import digests, key_of
from truthstore.model.query import StoreQuery
from truthstore.model.record import ABSENT, ANY, Change, Expect, Meta, Record
from truthstore.store.records import RecordStore
from truthstore.testing.sample import BASE_TIME, SAMPLES, Sample, make_samples
from truthstore.testing.suite.case import StoreCase

if TYPE_CHECKING:
    from collections.abc import Sequence

    from truthstore.store.store import BaseStore

__all__ = ["RecordTests"]


def opaque(id: str, body: bytes, **changes: Any) -> Record:
    """Return a record whose body only the layer that made it can read."""
    meta = SAMPLES.encode(Sample(id, name="name", count=5, moment=BASE_TIME, tags={"a": "b"}, note="some words")).meta
    made = {"size": len(body), "encodings": ("zstd", "aes-gcm"), "text": meta.text}
    return Record(meta.replace(**{**made, **changes}), body)


BODIES = {
    "random": bytes(range(256)) * 40,
    "empty": b"",
    "NUL": b"\0",
    "braces": b"{}",
    "like JSON": b'{"a": 1}',
    "like a document": b'{"a":1,"_truthstore":{"format":1}}',
    "broken JSON": b'{"a": nonsense, "b"}',
    "line breaks": b'{\r\n  "a": 1\n}\n',
    "gzip": b"\x1f\x8b\x08\0\0",
    "zstd": b"\x28\xb5\x2f\xfd",
    "magic": b"\x89TST\x01\0\0\0\0",
    "UTF-16": "{}".encode("utf-16"),
    "large": b"\xff" * 2_000_000,
}


class RecordTests(StoreCase):
    """Records, as layers above hand them down and get them back."""

    def test_it_is_a_record_store(self, store: BaseStore[Sample]):
        assert isinstance(store, RecordStore)

    @pytest.mark.parametrize("encodings", [("zstd", "aes-gcm"), ()], ids=["encoded", "plain"])
    @pytest.mark.parametrize("body", BODIES.values(), ids=BODIES)
    def test_bytes_come_back_as_they_were(self, body: bytes, encodings: tuple[str, ...], store: BaseStore[Sample]):
        stored = store.put_record(opaque("a", body, encodings=encodings), collection=SAMPLES)
        assert stored.body is None or stored.body == body
        got = store.get_record("a", collection=SAMPLES)
        assert got.body == body
        assert got.meta.encodings == encodings
        assert got.revision == stored.revision

    @pytest.mark.parametrize("encoding", ["json", "msgpack"])
    @pytest.mark.parametrize("indent", [False, True])
    def test_serialised_items_come_back_as_they_were(self, encoding: Any, indent: bool, store: BaseStore[Sample]):  # noqa: FBT001
        for sample in make_samples():
            record = SAMPLES.encode(sample, encoding, indent=indent)
            store.put_record(record, collection=SAMPLES)
            got = store.get_record(sample.id, collection=SAMPLES)
            assert got.body == record.body
            assert got.meta.encoding == encoding
            assert dict(got.meta.fields) == dict(record.meta.fields)
            assert dict(got.meta.tags) == dict(record.meta.tags)
            assert got.meta.size == len(record.body or b"")
        assert store.verify().ok

    def test_a_record_that_cannot_be_read_is_found_by_its_head(self, store: BaseStore[Sample]):
        store.put_record(opaque("a", b"\xff secret"), collection=SAMPLES)
        six = {**dict.fromkeys(SAMPLES.fields), "count": 6}
        store.put_record(opaque("b", b"\xfe secret", fields=six), collection=SAMPLES)
        for query, expected in (
            (StoreQuery(where={"count": 5}), ["a"]),
            (StoreQuery(where={"name": "name"}), ["a"]),
            (StoreQuery(order_by="count"), ["b", "a"]),
            (StoreQuery(tags={"a": "b"}, order_by="id", ascending=True), ["a", "b"]),
            (StoreQuery(text="words some", ids=["a"]), ["a"]),
            (StoreQuery(text="secret"), []),
        ):
            assert store.list_ids(query) == expected
        assert store.rebuild_index() in {0, 2}
        assert store.list_ids(StoreQuery(where={"count": 5})) == ["a"]
        assert store.list_ids(StoreQuery(text="some words", ids=["a"])) == ["a"]

    def test_annotations_are_kept(self, store: BaseStore[Sample]):
        self._need_transparency()
        annotations = {"layer": {"version": 3, "by": "Ünï", "list": [1, None, True, 2.5]}, "other": "x"}
        for record in (opaque("a", b"\0\1"), SAMPLES.encode(Sample("b")), SAMPLES.encode(Sample("c"), indent=True)):
            meta = record.meta.replace(annotations=annotations)
            stored = store.put_record(Record(meta, record.body), collection=SAMPLES)
            assert dict(stored.meta.annotations) == annotations
            got = store.get_record(record.id, collection=SAMPLES)
            assert dict(got.meta.annotations) == annotations
            assert got.body == record.body
        for head in store.scan(StoreQuery(), collection=SAMPLES):
            assert dict(head.meta.annotations) == annotations
        store.put_record(SAMPLES.encode(Sample("b")), collection=SAMPLES)
        assert dict(store.head_record("b", collection=SAMPLES).meta.annotations) == {}

    def test_tombstones_are_hidden_unless_asked_for(self, store: BaseStore[Sample]):
        self._need_transparency()
        store.save_many([Sample("live", data_asset="orders"), Sample("dead", data_asset="orders")])
        tombstone = SAMPLES.empty_meta("dead", deleted=True)
        annotated = Record(tombstone.replace(annotations={"layer": {"version": 2}}), b"")
        put = store.put_record(annotated, collection=SAMPLES, expect=store.head("dead").revision)
        assert not store.exists("dead")
        for ask in (lambda: store.get("dead"), lambda: store.head("dead"), lambda: store.get_many(["dead"])):
            with pytest.raises(StoreNotFoundError):
                ask()
        assert store.get_many(["dead"], missing="skip") == {}
        assert store.list_ids() == ["live"]
        assert store.count() == 1
        assert store.aggregate(by="data_asset") == [{"data_asset": "orders", "count": 1}]
        everything = StoreQuery(include_deleted=True, order_by="id", ascending=True)
        assert store.list_ids(everything) == ["dead", "live"]
        assert store.count(everything) == 2
        dead, live = store.entries(everything)
        assert dead.meta.deleted
        assert dead.revision == put.revision
        assert dict(dead.meta.annotations) == {"layer": {"version": 2}}
        assert not live.meta.deleted
        record = store.get_record("dead", collection=SAMPLES)
        assert record.meta.deleted
        assert not record.body
        store.put_record(SAMPLES.encode(Sample("dead", count=2)), collection=SAMPLES, expect=put.revision)
        assert store.get("dead").count == 2
        assert store.count() == 2

    def test_digests_are_those_of_the_heads(self, store: BaseStore[Sample]):
        assert store.digest_records([""], collection=SAMPLES) == {}
        store.save_many(make_samples(60))
        store.put_record(Record(SAMPLES.empty_meta("gone", deleted=True), b""), collection=SAMPLES)
        heads = list(store.scan(StoreQuery(include_deleted=True), collection=SAMPLES))
        revisions = [(head.id, head.revision) for head in heads]
        above = store.digest_records([""], collection=SAMPLES)
        assert above == digests(revisions, [""])
        some = sorted(above)[::2]
        assert store.digest_records(some, collection=SAMPLES) == digests(revisions, some)
        below = {id: revision for id, revision in revisions if key_of(id)[0] in some}
        assert store.revision_records(some, collection=SAMPLES) == below

    def test_what_is_there_is_never_surely_lacking(self, store: BaseStore[Sample]):
        for id in ("item", "é" * 1_024, "../../x"):
            store.save(Sample(id))
            assert not store.definitely_absent(id, collection=SAMPLES)

    def test_a_tombstone_is_never_surely_lacking(self, store: BaseStore[Sample]):
        self._need_transparency()
        store.put_record(Record(SAMPLES.empty_meta("dead", deleted=True), b""), collection=SAMPLES)
        assert not store.definitely_absent("dead", collection=SAMPLES)

    def test_a_tombstone_is_no_item(self, store: BaseStore[Sample]):
        self._need_transparency()
        tombstone = Record(SAMPLES.empty_meta("dead", deleted=True), b"")
        store.put_record(tombstone, collection=SAMPLES)
        assert store.delete("dead") is False
        assert store.list_ids(StoreQuery(include_deleted=True)) == []
        assert store.verify().checked == store.rebuild_index() == 0
        store.put_record(tombstone, collection=SAMPLES, expect=ABSENT)
        with pytest.raises(StoreConflictError):
            store.save(Sample("dead"), expect="0" * 24)
        store.save(Sample("dead", count=1), expect=ABSENT)
        assert store.get("dead").count == 1
        with pytest.raises(StoreConflictError):
            store.put_record(Record(tombstone.meta, b""), collection=SAMPLES, expect=ABSENT)

    def test_a_tombstone_is_announced_as_a_removal(self, store: BaseStore[Sample]):
        self._need_transparency()
        seen: list[Change] = []

        def watch(changes: Sequence[Change]) -> None:
            seen.extend(change for change in changes if change.collection == "samples")

        store.subscribe(watch)
        tombstone = Record(SAMPLES.empty_meta("dead", deleted=True), b"")
        store.put_record(tombstone, collection=SAMPLES)
        store.put_records([Record(tombstone.meta, b"")], collection=SAMPLES)
        assert seen == [Change("samples", "dead", None)] * 2

    def test_heads_and_records_agree(self, filled: BaseStore[Sample]):
        with_bodies = list(filled.scan(StoreQuery(), collection=SAMPLES, bodies=True))
        heads = list(filled.scan(StoreQuery(), collection=SAMPLES))
        assert [record.head() for record in with_bodies] == heads
        for record in with_bodies:
            assert record == filled.get_record(record.id, collection=SAMPLES)
            assert record.head() == filled.head_record(record.id, collection=SAMPLES)
        assert all(head.body is None for head in heads)

    def test_what_put_returns_is_what_is_stored(self, store: BaseStore[Sample]):
        for sample in make_samples(5):
            stored = store.put_record(SAMPLES.encode(sample), collection=SAMPLES)
            assert stored.head() == store.head_record(sample.id, collection=SAMPLES)
        stored_many = store.put_records([SAMPLES.encode(sample) for sample in make_samples(9)], collection=SAMPLES)
        assert [head.id for head in stored_many] == [sample.id for sample in make_samples(9)]
        for head in stored_many:
            assert head.head() == store.head_record(head.id, collection=SAMPLES)

    def test_the_writer_chooses_the_revision(self, store: BaseStore[Sample]):
        records = [SAMPLES.encode(sample) for sample in make_samples(4)]
        heads = [store.put_record(records[0], collection=SAMPLES), *store.put_records(records[1:], collection=SAMPLES)]
        chosen = {record.id: record.revision for record in records}
        assert {head.id: head.revision for head in heads} == chosen
        assert {head.id: head.revision for head in store.entries()} == chosen
        assert {id: store.get_record(id, collection=SAMPLES).revision for id in chosen} == chosen
        assert {id: store.head_record(id, collection=SAMPLES).revision for id in chosen} == chosen

    @pytest.mark.parametrize("form", ["alone", "in bulk"])
    @pytest.mark.parametrize("condition", ["any", "absent", "revision"])
    def test_the_same_revision_again_is_done(self, condition: str, form: str, store: BaseStore[Sample]):
        """A write whose answer was lost is sent once more: it is no conflict with itself, and nothing is written twice."""
        expect: Expect = {"any": ANY, "absent": ABSENT}.get(condition, "")
        if condition == "revision":
            store.save(Sample("a", count=1))
            expect = store.head("a").revision
        record = SAMPLES.encode(Sample("a", count=2, tags={"team": "sales"}))

        def put() -> Record:
            if form == "in bulk":
                return store.put_records([record], collection=SAMPLES, expect=expect)[0]
            return store.put_record(record, collection=SAMPLES, expect=expect)

        first = put()
        stored = store.get_record("a", collection=SAMPLES)
        again = put()
        assert first.revision == again.revision == record.revision
        assert again.meta.annotations == first.meta.annotations
        now = store.get_record("a", collection=SAMPLES)
        assert (now.meta, now.body, now.revision) == (stored.meta, stored.body, stored.revision)
        assert [head.revision for head in store.entries(StoreQuery(tags={"team": "sales"}))] == [record.revision]
        assert store.count() == 1

    def test_an_old_item_written_anew_is_another_write(self, store: BaseStore[Sample]):
        store.save(Sample("a", count=1))
        old = store.get_record("a", collection=SAMPLES)
        store.save(Sample("a", count=2))
        restored = store.put_record(Record(old.meta, old.body), collection=SAMPLES)
        assert restored.revision != old.revision
        with pytest.raises(StoreConflictError):
            store.save(Sample("a", count=3), expect=old.revision)
        assert store.get("a").count == 1

    def test_bulk_forms_are_their_loops(self, store: BaseStore[Sample]):
        samples = make_samples(20)
        other: Collection[Any] = Collection.of(
            Sample, name="others", time="moment", tags="tags", index={"count": int, "name": str}
        )
        for sample in samples:
            store.put_record(other.encode(sample), collection=other)
        twin: Collection[Any] = Collection.of(
            Sample, name="twins", time="moment", tags="tags", index={"count": int, "name": str}
        )
        store.put_records([twin.encode(sample) for sample in samples], collection=twin)

        def seen(collection: Collection[Any]) -> list[object]:
            return [
                (r.id, r.body, dict(r.meta.fields), dict(r.meta.tags), r.meta.size, r.meta.encodings)
                for r in store.scan(StoreQuery(), collection=collection, bodies=True)
            ]

        assert seen(other) == seen(twin)
        wanted = [sample.id for sample in samples[::3]] + ["nothing"]
        found = store.get_records(wanted, collection=twin)
        assert list(found) == wanted[:-1]
        for id, record in found.items():
            assert record == store.get_record(id, collection=twin)
        assert store.delete_records(wanted, collection=twin) == wanted[:-1]
        for id in wanted[:-1]:
            assert store.delete_record(id, collection=other)
        assert seen(other) == seen(twin)
        assert store.count_records(StoreQuery(), collection=twin) == len(seen(twin))

    def test_a_bulk_put_writes_what_it_can_and_names_the_rest(self, store: BaseStore[Sample]):
        store.save(Sample("b", count=0))
        records = [SAMPLES.encode(Sample(id, count=1)) for id in "abc"]
        with pytest.raises(StoreBulkError) as caught:
            store.put_records(records, collection=SAMPLES, expect=ABSENT)
        assert set(caught.value.failed) == {"b"}
        assert sorted(caught.value.stored) == ["a", "c"]
        assert {s.id: s.count for s in store.query()} == {"a": 1, "b": 0, "c": 1}

    def test_scan_is_lazy_about_errors_of_nobody(self, store: BaseStore[Sample]):
        assert list(store.scan(StoreQuery(limit=0), collection=SAMPLES)) == []
        assert list(store.scan(StoreQuery(), collection=SAMPLES, bodies=True)) == []

    def test_missing_records(self, store: BaseStore[Sample]):
        with pytest.raises(StoreNotFoundError):
            store.get_record("a", collection=SAMPLES)
        with pytest.raises(StoreNotFoundError):
            store.head_record("a", collection=SAMPLES)
        assert store.delete_record("a", collection=SAMPLES) is False
        assert store.get_records(["a"], collection=SAMPLES) == {}
        assert store.delete_records(["a"], collection=SAMPLES) == []
        with pytest.raises(StoreConflictError):
            store.put_record(Record(Meta("a"), b"{}"), collection=SAMPLES, expect="0" * 24)

    def _need_transparency(self) -> None:
        if not self.transparent:
            pytest.skip("adds annotations or tombstones of its own")
