"""What encryption promises: nothing but what is told is shown below, nothing that was touched is read, queries answer."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import pytest

from tests.encryption.conftest import SECRETS, result
from truthstore import RESULTS, StoreQuery, open_store, stack
from truthstore.backends.database import DatabaseStore
from truthstore.backends.filesystem import FileSystemStore
from truthstore.backends.memory import MemoryData, MemoryStore
from truthstore.batching import BatchedStore
from truthstore.caching import CachedStore, DiskCache
from truthstore.checks import CheckQuery
from truthstore.compression import CompressedStore
from truthstore.encryption import EncryptedStore, EncryptionConfig, MemoryKeys, generate_key
from truthstore.encryption.datakeys import KEYS
from truthstore.errors import StoreConfigError, StoreConnectionError, StoreCorruptError, StoreError, StoreQueryError
from truthstore.model.record import Record
from truthstore.recording import record
from truthstore.retention import RetentionStore, TimeBasedPolicy
from truthstore.testing import SAMPLES, FaultyStore, Sample
from truthstore.versioning import VersionedStore

KEY = generate_key()
ALGORITHMS = ("aes-256-gcm", "chacha20-poly1305")


def files(folder: Path) -> bytes:
    return b"".join(path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file())


def shown_below(base: Any) -> str:
    """All that a record says below encryption but for its body: also what files hold packed or compressed."""
    records = [base.get_record(id, collection=RESULTS) for id in base.list_ids()]
    return "".join(f"{record.meta.parts()} {record.meta.rows!r}" for record in records)


@pytest.mark.parametrize("index", ["plain", "hashed"])
class TestWhatIsShown:
    def test_a_folder_holds_no_content(self, index: str, tmp_path):
        base: Any = FileSystemStore(base_path=tmp_path / "s", durability="os")
        with stack(base, lambda b: EncryptedStore(b, KEY, index=index, text="hashed"), VersionedStore) as opened:
            store: Any = opened
            for number in (1, 1, 2):
                store.save(result(number), message="alicenote", created_by="aliceauthor")
            assert len(store.checks.query()) == 4
            assert store.count(StoreQuery(text="alicemessage")) == 2
            assert store.get_version_info("run-1", 1).message == "alicenote"
            stored = files(tmp_path / "s") + shown_below(base).encode()
        for secret in (*SECRETS, "alicenote", "aliceauthor", KEY):
            assert secret.encode() not in stored, secret
        for name in (b"orders", b"sales", b"not_null", b"email"):
            assert (name in stored) is (index == "plain"), name

    def test_a_database_holds_no_content(self, index: str, tmp_path):
        base: Any = DatabaseStore(connection_url=f"sqlite:///{tmp_path / 'd' / 's.db'}")
        with EncryptedStore(base, KEY, index=index) as store:
            store.save_many(map(result, range(3)))
            assert len(store.checks.query()) == 6
            stored = files(tmp_path / "d") + shown_below(base).encode()
        for secret in (*SECRETS, KEY):
            assert secret.encode() not in stored, secret
        for name in (b"orders", b"sales", b"not_null"):
            assert (name in stored) is (index == "plain"), name

    def test_nor_do_a_durable_queue_and_a_shared_cache(self, index: str, tmp_path):
        base = FaultyStore(FileSystemStore(base_path=tmp_path / "s", durability="os"))
        store: Any = stack(
            base,
            lambda b: EncryptedStore(b, KEY, index=index),
            CompressedStore,
            VersionedStore,
            lambda b: BatchedStore(b, durable=True, path=tmp_path / "q" / "queue.db", flush_interval_seconds=None),
            lambda b: CachedStore(b, DiskCache(tmp_path / "c")),
        )
        (tmp_path / "q").mkdir()
        store.save(result(1))
        assert store.get("run-1") == result(1)
        assert store.layer(BatchedStore).pending == 1
        waiting = files(tmp_path / "q")
        assert waiting
        store.layer(BatchedStore).flush()
        assert store.get("run-1") == result(1)
        store.layer(CachedStore).cache.close()
        store.close()
        for place in (waiting, files(tmp_path / "q"), files(tmp_path / "c"), files(tmp_path / "s")):
            for secret in SECRETS:
                assert secret.encode() not in place, secret
            if index == "hashed":
                assert b"orders" not in place

    def test_nor_does_the_journal_of_a_recorder(self, index: str, tmp_path):
        base = FileSystemStore(base_path=tmp_path / "s", durability="os")
        store = EncryptedStore(base, KEY, index=index)
        with record(store, "orders") as run:
            run.check("not_null", passed=False, message="alicemessage", observed="aliceobserved")
            noted = files(tmp_path / ".truthstore")
        (found,) = store.query()
        assert found.results[0].observed == "aliceobserved"
        assert noted
        for secret in SECRETS:
            assert secret.encode() not in noted, secret
        store.close()


def test_a_queue_takes_saves_while_the_store_is_down(tmp_path):
    """What waits brings its key along, wrapped: nothing in the store is needed to encrypt it."""
    from truthstore import WrapperStore

    class Down(WrapperStore[Any]):
        down = True

        def put_record(self, record: Any, **options: Any) -> Any:
            if Down.down:
                raise StoreConnectionError("s3", "no route to host")
            return self._base.put_record(record, **options)

        def get_record(self, id: str, **options: Any) -> Any:
            if Down.down:
                raise StoreConnectionError("s3", "no route to host")
            return self._base.get_record(id, **options)

    data = MemoryData()

    def opened() -> BatchedStore[Any]:
        return BatchedStore(
            EncryptedStore(Down(MemoryStore(data=data)), KEY),
            durable=True,
            path=tmp_path / "q.db",
            flush_interval_seconds=None,
        )

    store = opened()
    store.save(result(1))
    assert store.get("run-1") == result(1)
    store.close()
    Down.down = False
    store = opened()
    store.flush()
    assert EncryptedStore(MemoryStore(data=data), KEY).get("run-1") == result(1)
    store.close()


class TestWhatWasTouched:
    @pytest.mark.parametrize("algorithm", ALGORITHMS)
    def test_a_flipped_bit_or_a_cut_is_an_error(self, algorithm: str):
        base = MemoryStore(collection=SAMPLES)
        store = EncryptedStore(base, KEY, algorithm=algorithm, index="hashed")
        store.save(Sample("a", note="x", tags={"a": "b"}))
        whole = base.get_record("a", collection=SAMPLES)
        data = whole.body or b""
        wrong = [data[:end] for end in range(len(data))] + [data + b"\0", data[1:], b""]
        wrong += [data[:p] + bytes([data[p] ^ 1 << bit]) + data[p + 1 :] for p in range(len(data)) for bit in range(8)]
        for other in wrong:
            base.put_record(Record(whole.meta, other), collection=SAMPLES)
            with pytest.raises(StoreCorruptError, match=r"samples 'a' cannot be decrypted"):
                store.get("a")
        head = base64.b64decode(whole.meta.annotations["encrypted"]["head"])
        for place in range(len(head)):
            changed = base64.b64encode(head[:place] + bytes([head[place] ^ 1]) + head[place + 1 :]).decode()
            meta = whole.meta.replace(annotations={"encrypted": {"head": changed}})
            base.put_record(Record(meta, data), collection=SAMPLES)
            with pytest.raises(StoreCorruptError):
                store.head("a")

    def test_every_swap_is_an_error(self):
        """A body under another id, in another collection, with other encodings, another key, as a tombstone, as it was before."""
        base = MemoryStore()
        store = CompressedStore(EncryptedStore(base, KEY))
        store.save_many([result(1), result(2)])
        one = base.get_record("run-1", collection=RESULTS)
        two = base.get_record("run-2", collection=RESULTS)
        encryption = store.layer(EncryptedStore)
        encryption.rotate()
        store.save(result(3))
        three = base.get_record("run-3", collection=RESULTS)
        zstd, key = one.meta.encodings
        other_key = three.meta.encodings[-1]
        changes: list[dict[str, Any]] = [
            {"id": "run-2"},
            {"encoding": "msgpack"},
            {"encodings": (key,)},
            {"encodings": ("gzip", key)},
            {"encodings": (zstd, zstd, key)},
            {"encodings": (zstd, other_key)},
            {"encodings": (zstd, key.replace("aes-256-gcm", "chacha20-poly1305"))},
            {"encodings": (zstd, "aes-256-gcm:" + "0" * 24)},
            {"encodings": (zstd, "aes-256-gcm")},
            {"encodings": (zstd,)},
            {"encodings": ()},
            {"encodings": (key, zstd)},
        ]
        for change in changes:
            base.put_record(Record(one.meta.replace(**change), one.body), collection=RESULTS)
            with pytest.raises(StoreCorruptError):
                store.get(change.get("id", "run-1"))
        base.put_record(Record(one.meta, two.body), collection=RESULTS)
        with pytest.raises(StoreCorruptError, match="changed, cut or moved"):
            store.get("run-1")
        from truthstore.items.parts import parts_of

        parts: Any = parts_of(RESULTS)
        base.put_record(Record(one.meta, one.body), collection=parts)
        with pytest.raises(StoreCorruptError):
            store.get_record("run-1", collection=parts)
        base.put_record(Record(one.meta.replace(deleted=True), one.body), collection=RESULTS)
        with pytest.raises(StoreError):
            store.get_record("run-1", collection=RESULTS)
        base.put_record(Record(one.meta, one.body), collection=RESULTS)
        assert store.get("run-1") == result(1)

    def test_what_is_not_encrypted_is_refused(self):
        base = MemoryStore()
        base.save(result(1))
        store = EncryptedStore(base, KEY)
        with pytest.raises(StoreCorruptError, match="not encrypted; allow_plain=True"):
            store.get("run-1")
        assert set(store.verify().corrupt) == {"run-1"}
        older = EncryptedStore(base, KEY, allow_plain=True)
        assert older.get("run-1") == result(1)
        assert older.rotate().rewritten == 1
        assert store.get("run-1") == result(1)

    def test_verify_names_it(self):
        base = MemoryStore()
        store = EncryptedStore(base, KEY)
        store.save_many(map(result, range(5)))
        assert store.verify().ok
        whole = base.get_record("run-2", collection=RESULTS)
        base.put_record(Record(whole.meta, (whole.body or b"")[1:]), collection=RESULTS)
        assert set(store.verify().corrupt) == {"run-2"}


class TestKeys:
    def test_a_wrong_key_is_named_and_no_key_is_shown(self):
        base = MemoryStore()
        EncryptedStore(base, KEY).save(result(1))
        other = generate_key()
        store = EncryptedStore(base, other)
        right, wrong = (repr(MemoryKeys(key))[11:-1] for key in (KEY, other))
        for call in (lambda: store.get("run-1"), lambda: store.save(result(2)), store.query):
            with pytest.raises(
                StoreConfigError, match=rf"under the key {right}, and the keys given are {wrong}"
            ) as caught:
                call()
            assert KEY not in str(caught.value)
            assert other not in str(caught.value)
        assert EncryptedStore(base, MemoryKeys(other, KEY)).get("run-1") == result(1)

    @pytest.mark.parametrize("harm", ["lost", "damaged"])
    def test_a_data_key_that_is_not_there_is_named(self, harm: str):
        """What it encrypted carries it; nothing more is encrypted with it by processes that do not know it."""
        base = MemoryStore()
        EncryptedStore(base, KEY).save(result(1))
        (name,) = (id for id in base.collection(KEYS).list_ids() if id != "current")
        kept = base.get_record(name, collection=KEYS)
        base.delete_record(name, collection=KEYS)
        if harm == "damaged":
            data = bytearray(kept.body or b"")
            data[-1] ^= 1
            base.put_record(Record(kept.meta, bytes(data)), collection=KEYS)
        with pytest.raises(StoreCorruptError, match="data key"):
            EncryptedStore(base, KEY).save(result(2))
        assert EncryptedStore(base, KEY).query() == [result(1)]
        whole = base.get_record("run-1", collection=RESULTS)
        data = bytearray(whole.body or b"")
        data[40] ^= 1  # in the key that it carries
        base.put_record(Record(whole.meta, bytes(data)), collection=RESULTS)
        with pytest.raises(StoreCorruptError, match=r"data key|damaged|changed"):
            EncryptedStore(base, KEY).get("run-1")

    @pytest.mark.parametrize("options", [{}, {"index": "hashed", "text": "hashed"}])
    def test_an_emptied_place_lacks_nothing_that_was_saved_since(self, options: dict[str, Any], monkeypatch):
        """A process that has the data key in its memory alone goes on; others read what it saves, and it tells the store."""
        data = MemoryData()

        def opened() -> EncryptedStore[Any]:
            return EncryptedStore(MemoryStore(data=data), KEY, **options)

        store = opened()
        store.save(result(1))
        for collection in (RESULTS, KEYS):
            for id in MemoryStore(data=data).collection(collection).list_ids():
                MemoryStore(data=data).delete_record(id, collection=collection)
        store.save(result(2, "customers"))
        assert opened().query() == [result(2, "customers")]
        assert opened().head("run-2").meta.fields["data_asset"] == "customers"
        monkeypatch.setattr("truthstore.encryption.datakeys.LOOK_AGAIN", 0.0)
        store.save(result(3))
        for one in (store, opened()):
            assert one.list_ids(StoreQuery(data_asset="orders")) == ["run-3"]
            assert one.list_ids(StoreQuery(data_asset="customers")) == ["run-2"]
        assert opened().rotate().unfinished == ()
        assert [one.id for one in opened().query()] == ["run-3", "run-2"]

    @pytest.mark.parametrize("saves", [False, True])
    def test_in_an_emptied_place_all_hash_with_the_key_of_who_came_first(self, monkeypatch, *, saves: bool):
        data = MemoryData()

        def opened() -> EncryptedStore[Any]:
            return EncryptedStore(MemoryStore(data=data), KEY, index="hashed")

        first = opened()
        first.save(result(1))
        for collection in (RESULTS, KEYS):
            for id in MemoryStore(data=data).collection(collection).list_ids():
                MemoryStore(data=data).delete_record(id, collection=collection)
        second = opened()
        second.save(result(2, "customers"))
        monkeypatch.setattr("truthstore.encryption.datakeys.LOOK_AGAIN", 0.0)
        if saves:
            first.save(result(3, "customers"))
        else:
            first.maintain()
        for store in (first, second, opened()):
            assert store.list_ids(StoreQuery(data_asset="customers")) == (["run-3"] if saves else []) + ["run-2"]

    def test_a_wrong_key_is_named_where_the_place_was_emptied(self):
        base = MemoryStore()
        EncryptedStore(base, KEY).save(result(1))
        for id in base.collection(KEYS).list_ids():
            base.delete_record(id, collection=KEYS)
        with pytest.raises(StoreConfigError, match=r"under the key .*, and the keys given are"):
            EncryptedStore(base, generate_key()).get("run-1")

    def test_nothing_else_is_a_key(self):
        for wrong in ("", "short", b"short", 5, None, KEY[:-4]):
            with pytest.raises((StoreConfigError, TypeError)) as caught:
                EncryptedStore(MemoryStore(), wrong)  # type: ignore[arg-type]
            assert KEY[:-4] not in str(caught.value)


class TestQuestions:
    @pytest.fixture(params=["plain", "hashed"])
    def stores(self, request: pytest.FixtureRequest, tmp_path):
        base: Any = FileSystemStore(base_path=tmp_path / "s", durability="os")
        store: Any = stack(base, lambda b: EncryptedStore(b, KEY, index=request.param), CompressedStore)
        plain = MemoryStore()
        for one in (store, plain):
            one.save_many([result(number, f"asset-{number % 3}") for number in range(9)])
        yield store, plain
        store.close()

    def test_runs_are_found_as_without_it(self, stores):
        store, plain = stores
        for query in (
            StoreQuery(data_asset="asset-1"),
            StoreQuery(status="failure", tags={"team": "sales"}, limit=3),
            StoreQuery(where={"data_asset": ("in", ["asset-0", "asset-2"])}),
            StoreQuery(where={"data_asset": ("!=", "asset-0")}, ascending=True),
            StoreQuery(where={"total_issues": (">", 2)}, order_by="size"),
        ):
            assert store.list_ids(query) == plain.list_ids(query)
            assert store.query(query) == plain.query(query)
            assert store.count(query) == plain.count(query)
            assert [*store.iter_query(query, batch_size=2)] == plain.query(query)
        assert store.list_assets() == plain.list_assets()
        for by in ("data_asset", "status", "tag:team"):
            assert store.aggregate(by=by) == plain.aggregate(by=by)
        assert [dict(head.meta.fields) for head in store.entries()] == [dict(h.meta.fields) for h in plain.entries()]

    def test_checks_are_found_as_without_it(self, stores):
        store, plain = stores
        for query in (
            CheckQuery(data_asset="asset-1"),
            CheckQuery(check_id="email not_null", limit=4),
            CheckQuery(status="failure", column="email"),
            CheckQuery(where={"observed": "aliceobserved 3"}),
            CheckQuery(where={"expected": "aliceexpected"}, tags={"team": "sales"}),
        ):
            assert store.checks.query(query) == plain.checks.query(query), query
            assert store.checks.count(query) == plain.checks.count(query)
        assert store.checks.history("email not_null") == plain.checks.history("email not_null")
        assert [c.check_id for c in store.checks.latest()] == [c.check_id for c in plain.checks.latest()]
        for by in ("check_id", "data_asset", "status", "observed"):
            assert store.checks.aggregate(by=by) == plain.checks.aggregate(by=by)
        assert store.checks.distinct("check_id") == plain.checks.distinct("check_id")
        assert store.compare("run-0", "run-3") == plain.compare("run-0", "run-3")
        assert store.verify().ok

    def test_an_index_is_rebuilt_below_it(self, stores):
        store, plain = stores
        assert store.rebuild_index() == 9
        assert store.list_ids(StoreQuery(data_asset="asset-2")) == plain.list_ids(StoreQuery(data_asset="asset-2"))
        assert store.checks.query() == plain.checks.query()

    def test_words_are_refused(self, stores):
        store, _ = stores
        for ask in (store.count, store.list_ids, store.query):
            with pytest.raises(StoreQueryError, match=r'show the content: use .*text="hashed"'):
                ask(StoreQuery(text="alicemessage"))

    def test_hashes_have_no_order(self, stores):
        store, plain = stores
        query = StoreQuery(order_by="data_asset")
        if store.layer(EncryptedStore)._config.index == "plain":
            assert store.list_ids(query) == plain.list_ids(query)
        else:
            for wrong in (query, StoreQuery(where={"data_asset": (">", "a")})):
                with pytest.raises(StoreQueryError, match="indexed by hashes, which have no order"):
                    store.list_ids(wrong)


def test_the_layers_above_work():
    base = MemoryStore()
    store: Any = stack(
        base,
        lambda b: EncryptedStore(b, KEY),
        CompressedStore,
        VersionedStore,
        lambda b: RetentionStore(b, TimeBasedPolicy(max_age_days=1)),
        CachedStore,
    )
    store.save(result(1), message="first")
    changed = result(1)
    changed.tags = {"team": "other"}
    store.save(changed, message="second")
    assert store.get("run-1", version=1) == result(1)
    assert store.diff("run-1", 1, 2).changes
    store.rollback("run-1", 1)
    assert store.get("run-1") == result(1)
    assert [info.message for info in store.get_version_history("run-1")][1:] == ["second", "first"]
    assert store.forget("alicemessage")
    assert "alicemessage" not in str(store.get("run-1", version=1).to_dict())
    assert "alicemessage" not in str(store.get("run-1").to_dict())
    with store.open_run("large", "orders") as run:
        run.add(result(1).results[0])
    assert len(list(store.iter_checks("large"))) == 1
    store.protect("run-1")
    assert store.run_cleanup(dry_run=False).items_deleted == 0 or store.exists("run-1")


def test_orders_are_checked():
    for below in (VersionedStore, BatchedStore, CompressedStore, lambda base: EncryptedStore(base, KEY)):
        with pytest.raises(StoreConfigError, match="EncryptedStore cannot stand above"):
            EncryptedStore(below(MemoryStore()), KEY)


def test_options_are_checked():
    wrong: list[dict[str, Any]] = [{"algorithm": "rot13"}, {"index": "none"}, {"text": "plain"}]
    for options in wrong:
        with pytest.raises(StoreConfigError):
            EncryptedStore(MemoryStore(), KEY, **options)
    assert EncryptedStore(MemoryStore(), KEY, EncryptionConfig(index="hashed")).name == "encrypted"


def test_a_file_names_it(tmp_path, monkeypatch):
    path = tmp_path / "truthstore.yaml"
    path.write_text(
        "backend: memory\nlayers:\n  - layer: encryption\n    keys: {type: 'truthstore.encryption:EnvironmentKeys', variable: MY_KEYS}\n"
    )
    monkeypatch.setenv("MY_KEYS", KEY)
    with open_store(path) as store:
        store.save(result(1))
        assert store.get("run-1") == result(1)
        assert store.stats()["layers"] == ["encrypted", "memory"]
