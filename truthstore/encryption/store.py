"""The store whose records are encrypted below it."""

from __future__ import annotations

import base64
import hashlib
import os
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, Final, TypeVar

import msgspec

from truthstore.checks.notes import notes_of
from truthstore.encryption.base import ALGORITHMS, EncryptionConfig, KeyProvider, Rotation, library
from truthstore.encryption.datakeys import KEYS, DataKeys
from truthstore.encryption.index import Index, Shown
from truthstore.encryption.local import NONCE, MemoryKeys
from truthstore.errors import StoreConflictError, StoreCorruptError, StoreNotFoundError, shown
from truthstore.items.check_rows import has_checks
from truthstore.items.parts import parts_of
from truthstore.model.collection import Derivation
from truthstore.model.query import EVERYTHING, TIME_ALIAS, StoreQuery
from truthstore.model.record import NO_ANNOTATIONS, NONE, FieldValue, Options, Record
from truthstore.store.codec import READERS, CodecStore, is_item, readable
from truthstore.store.config import configure
from truthstore.store.records import RecordStore, item_of, rows_collection, series_of

if TYPE_CHECKING:
    from truthstore.model.aggregate import Aggregation, Row
    from truthstore.model.collection import Collection
    from truthstore.model.query import BoundQuery
    from truthstore.model.record import Meta
    from truthstore.store.store import BaseStore

__all__ = ["EncryptedStore"]

T = TypeVar("T")

PAGE: Final = 100
LENGTH: Final = 4
BY_ID: Final = StoreQuery(order_by="id", ascending=True, include_deleted=True)


class _Private(msgspec.Struct, omit_defaults=True):
    """What a head says in secret."""

    annotations: dict[str, Any] = {}
    fields: dict[str, FieldValue] | None = None
    tags: dict[str, str] | None = None


class EncryptedStore(CodecStore[T]):
    """Encrypt bodies and what layers note beside them; whatever was changed, moved or cut below is an error.

    Each record is encrypted with a data key, which lies in the store, wrapped by a key of the provider. What the index below
    still shows, and what it cannot answer, is told on the page of this layer.

    Args:
        base: the store below.
        keys: a key provider, or a key from `generate_key`.
        config: the options, or
        options: the same as keywords.

    Raises:
        StoreConfigError: no key, an option that makes no sense, or `cryptography` is not installed.
    """

    name: ClassVar[str] = "encrypted"
    CANNOT_COVER: ClassVar[Mapping[str, str]] = MappingProxyType(
        {
            **READERS,
            "compressed": "what is encrypted cannot be compressed: put compression above",
            "encrypted": "one layer encrypts",
        }
    )

    def __init__(
        self,
        base: BaseStore[T],
        keys: KeyProvider | str | bytes,
        config: EncryptionConfig | None = None,
        **options: Any,
    ) -> None:
        super().__init__(base)
        self._config = configure(EncryptionConfig, config, options, "EncryptedStore", ("keys",))
        provider = MemoryKeys(keys) if isinstance(keys, str | bytes) else keys
        if not isinstance(provider, KeyProvider):
            raise TypeError(f"keys are a key provider, or a key from generate_key(), not {type(keys).__name__}")
        self._invalid = library("cryptography.exceptions").InvalidTag
        self._keys = DataKeys(base, provider)
        self._index = Index(self._config, self._keys.hashing)
        self._seen: dict[str, Collection[Any]] = {}
        self._writers: dict[str, tuple[Any, str, bytes]] = {}

    # Records.

    def encoded(self, record: Record, collection: Collection[Any]) -> Record:
        """Return a record encrypted with the current data key."""
        if collection.name not in self._seen:
            self._keys.note(collection)
            self._seen[collection.name] = collection
        meta, index = record.meta, self._index
        index.prepare()
        needs_body = meta.derive is None and not meta.encodings and not meta.deleted and not collection.opaque
        given = readable(record, collection, record.body or b"", ()) if needs_body else record
        changes: dict[str, Any] = {"text": None, "rows": None, "derive": Shown(given, collection, index)}
        if index.is_hashed:
            changes |= {"fields": index.fields(meta.fields, collection), "tags": index.tags(meta.tags)}
        return self._encrypted(record, self._private(meta), collection.name, self._keys.current().key_id, **changes)

    def _private(self, meta: Meta) -> _Private | None:
        """Return what a head may say in secret only, if there is anything."""
        if self._index.is_hashed:
            return _Private(dict(meta.annotations), dict(meta.fields), dict(meta.tags))
        return _Private(dict(meta.annotations)) if meta.annotations else None

    def _encrypted(
        self,
        record: Record,
        private: _Private | None,
        collection: str,
        key_id: str,
        **changes: Any,
    ) -> Record:
        meta = record.meta
        cipher, encoding, key = self._writers.get(key_id) or self._writer(key_id)
        encodings = (*meta.encodings, encoding)
        annotations: Mapping[str, Any] = NO_ANNOTATIONS
        if private is not None:
            head = _bound(meta, encodings, collection, "head")
            annotations = {self.name: {"head": _text(_sealed(cipher, msgspec.json.encode(private), head))}}
        body = _sealed(cipher, record.body or b"", _bound(meta, encodings, collection, "body") + key, before=key)
        return Record(meta.replace(encodings=encodings, annotations=annotations, **changes), body, record.revision)

    def _writer(self, key_id: str) -> tuple[Any, str, bytes]:
        """Return what encrypts with a data key, the name of the encoding, and what stands before each body."""
        algorithm = self._config.algorithm
        carried = self._keys.carried(key_id)
        framed = len(carried).to_bytes(LENGTH) + carried
        self._writers[key_id] = self._keys.cipher(algorithm, key_id), f"{algorithm}:{key_id}", framed
        return self._writers[key_id]

    def decoded(self, record: Record, collection: Collection[Any]) -> Record:
        """Return a record, or a head, decrypted.

        Raises:
            StoreCorruptError: it is not what was encrypted for this place, or not encrypted at all.
            StoreConfigError: its key is not at hand.
        """
        if collection is KEYS:
            return record
        return self._decrypted(record, collection.name, collection)

    def _decrypted(self, record: Record, collection: str, declared: Collection[Any] | None = None) -> Record:
        meta, body = record.meta, record.body
        algorithm, _, key_id = (meta.encodings or ("",))[-1].partition(":")
        if algorithm not in ALGORITHMS or not key_id:
            if body is None or self._config.allow_plain:
                return record
            detail = "it is not encrypted; allow_plain=True reads what is older than encryption"
            raise self._corrupt(record, collection, detail)
        changes: dict[str, Any] = {"encodings": meta.encodings[:-1], "annotations": NO_ANNOTATIONS}
        try:
            beside = msgspec.convert(meta.annotations.get(self.name) or {}, dict[str, str]) if meta.annotations else {}
            if body is not None or beside:
                key, sealed = (b"", b"") if body is None else _cut(body)
                cipher = self._keys.cipher(
                    algorithm, key_id, lambda: _carried(key) if key else self._carried_below(record, declared)
                )
                if "head" in beside:
                    data = _opened(cipher, _bytes(beside["head"]), _bound(meta, meta.encodings, collection, "head"))
                    private = msgspec.json.decode(data, type=_Private)
                    changes["annotations"] = private.annotations or NO_ANNOTATIONS
                    if private.fields is not None:
                        changes |= {"fields": private.fields, "tags": private.tags or {}}
                if body is not None:
                    body = _opened(cipher, sealed, _bound(meta, meta.encodings, collection, "body") + key)
        except (self._invalid, ValueError, msgspec.MsgspecError) as error:
            raise self._corrupt(record, collection, "it was changed, cut or moved since it was encrypted") from error
        except StoreCorruptError as error:
            raise self._corrupt(record, collection, str(error)) from error
        if declared is not None and body is not None and is_item(meta, changes["encodings"], declared):
            changes |= {"text": None, "rows": None, "derive": Derivation(declared, body, meta.encoding)}
        return Record(meta.replace(**changes), body, record.revision)

    def _carried_below(self, head: Record, collection: Collection[Any] | None) -> bytes | None:
        """Return the wrapped data key that the body of a head carries."""
        if collection is None:
            return None
        try:
            return _carried(_cut(self._base.get_record(head.id, collection=collection).body or b"")[0])
        except StoreNotFoundError:
            return None

    @staticmethod
    def _corrupt(record: Record, collection: str, detail: str) -> StoreCorruptError:
        return StoreCorruptError(
            f"{collection} {shown(record.id)} cannot be decrypted: {detail}",
            collection=collection,
            identifier=record.id,
        )

    def sealed(self, record: Record, collection: str) -> Record:
        """Return a record encrypted with a data key of this process."""
        changes: dict[str, Any] = {"text": "", "derive": None}
        if not record.meta.encodings:
            changes["rows"] = b""  # they can be made of the body
        if self._index.is_hashed:
            changes |= {"fields": {}, "tags": {}}
        return self._encrypted(record, self._private(record.meta), collection, self._keys.own(), **changes)

    def opened(self, record: Record, collection: str) -> Record:
        """Return the record that `sealed` was given; raise as `decoded` does."""
        found = self._decrypted(record, collection)
        return found if found.meta.encodings else Record(found.meta.replace(rows=None), found.body, found.revision)

    # Questions that the index answers.

    def scan(
        self, query: StoreQuery, *, collection: Collection[Any], bodies: bool = False, options: Options = NONE
    ) -> Iterator[Record]:
        """Iterate over the answer of the store below, decrypted."""
        return super().scan(self._index.query(query, collection), collection=collection, bodies=bodies, options=options)

    def scan_ids(self, query: StoreQuery, *, collection: Collection[Any], options: Options = NONE) -> list[str]:
        """Return the ids that a query finds, in its order."""
        return self._base.scan_ids(self._index.query(query, collection), collection=collection, options=options)

    def count_records(self, query: StoreQuery, *, collection: Collection[Any], options: Options = NONE) -> int:
        """Return the number of records that fulfil the conditions of a query."""
        return self._base.count_records(self._index.query(query, collection), collection=collection, options=options)

    def aggregate_records(
        self, query: StoreQuery, aggregation: Aggregation, *, collection: Collection[Any], options: Options = NONE
    ) -> list[Row]:
        """Return figures over records; over decrypted heads where what they are about is hashed."""
        if self._index.is_hidden((*aggregation.by, *aggregation.measured), collection):
            return RecordStore.aggregate_records(self, query, aggregation, collection=collection, options=options)
        asked = self._index.query(query, collection)
        return self._base.aggregate_records(asked, aggregation, collection=collection, options=options)

    def scan_rows(self, query: StoreQuery, *, collection: Collection[Any], options: Options = NONE) -> Iterator[Record]:
        """Iterate over rows: those that the index finds, made of the decrypted items; of all items if it cannot know."""
        bound = query.bind(rows_collection(collection))
        if self._reads_all(query, collection):
            return RecordStore.scan_rows(self, query, collection=collection, options=options)
        asked = self._index.query(query, collection, rows=True)
        rows = self._base.scan_rows(asked, collection=collection, options=options)
        return (row for row in self._made(rows, collection) if bound.matches(row.meta))

    def aggregate_rows(
        self, query: StoreQuery, aggregation: Aggregation, *, collection: Collection[Any], options: Options = NONE
    ) -> list[Row]:
        """Return figures over rows; over those of the decrypted items where the index cannot know them."""
        about = (*aggregation.by, *aggregation.measured)
        if self._reads_all(query, collection) or self._index.is_hidden(about, collection, rows=True):
            return RecordStore.aggregate_rows(self, query, aggregation, collection=collection, options=options)
        asked = self._index.query(query, collection, rows=True)
        return self._base.aggregate_rows(asked, aggregation, collection=collection, options=options)

    def latest_rows(self, query: StoreQuery, *, collection: Collection[Any], options: Options = NONE) -> list[Record]:
        """Return the newest row of each series."""
        if self._reads_all(query, collection):
            return RecordStore.latest_rows(self, query, collection=collection, options=options)
        asked = self._index.query(query.replace(order_by=TIME_ALIAS, after=None), collection, rows=True)
        rows = self._base.latest_rows(asked, collection=collection, options=options)
        return sorted(self._made(rows, collection), key=series_of(collection))

    def newest_rows(
        self,
        query: StoreQuery,
        keep: StoreQuery = EVERYTHING,
        *,
        collection: Collection[Any],
        series: Iterable[tuple[Any, ...]] | None = None,
        options: Options = NONE,
    ) -> list[Record]:
        """Return those of `latest_rows` that fulfil another query; of some series, where they are given."""
        if self._reads_all(query, collection) or self._reads_all(keep, collection) or self._index.is_hashed:
            return RecordStore.newest_rows(self, query, keep, collection=collection, series=series, options=options)
        rows = self._base.newest_rows(query, keep, collection=collection, series=series, options=options)
        return sorted(self._made(rows, collection), key=series_of(collection))

    def _rows_made(self, bound: BoundQuery, collection: Collection[Any], options: Options) -> Iterator[Record]:
        item = item_of(bound, collection)
        wanted = EVERYTHING if item is None else StoreQuery(ids=[item])
        records = self._base.scan(wanted, collection=collection, bodies=True, options=options)
        for record in self.whole(records, collection):
            yield from collection.rows_of(record)

    def _reads_all(self, query: StoreQuery, collection: Collection[Any]) -> bool:
        """Return True if a query is about fields of rows that show data, or about an order that hashes do not have."""
        bound = query.bind(rows_collection(collection))
        content = collection.projection.content if collection.projection is not None else ()
        names = [bound.order, *(comparison.field for comparison in bound.comparisons)]
        return any(name in content for name in names) or self._index.is_hidden((bound.order,), collection, rows=True)

    def _made(self, rows: Iterable[Record], collection: Collection[Any]) -> Iterator[Record]:
        """Return rows of the index as the decrypted items give them, but for those of items that have changed meanwhile."""
        projection = collection.projection
        if projection is None or not (projection.content or self._index.is_hashed):
            yield from rows
            return
        found = iter(rows)
        while page := list(islice(found, PAGE)):
            ids = list(dict.fromkeys(str(row.meta.fields[projection.item]) for row in page))
            items = self.whole(self._base.get_records(ids, collection=collection).values(), collection)
            made = {row.id: row for item in items for row in collection.rows_of(item)}
            yield from (made[row.id] for row in page if row.id in made)

    # Changing keys.

    def rotate(self, collections: Iterable[Collection[Any]] = (), *, budget: float | None = None) -> Rotation:
        """Make a new data key, encrypt everything with it, and wrap all data keys with the newest key of the provider.

        Safe beside reads and writes, and to be killed: the next call, or `maintain`, goes on with what is left. Each record
        gets a new revision. The collections of this store are those that this process used, their parts and notes; name
        others.

        Args:
            collections: further collections.
            budget: stop after about so many seconds.

        Returns:
            What was done, and the collections that hold records under older keys.
        """
        self._check()
        current = self._keys.look()
        if not current.rotating:
            current = self._keys.change(key_id=self._keys.new(), rotating=True)
        self._keys.wrap_again()
        self._writers.clear()
        return self._go_on(current.key_id, collections, budget)

    def _go_on(self, key_id: str, collections: Iterable[Collection[Any]], budget: float | None) -> Rotation:
        deadline = None if budget is None else time.monotonic() + budget
        own = self._collection
        kept = self._keys.collections()
        known = {own.name: own, **{c.name: c for c in (*kept, *self._seen.values(), *collections)}}
        for one in [c for c in known.values() if has_checks(c) and c.is_users]:
            known |= {related.name: related for related in (parts_of(one), notes_of(one))}
        left = set(self._keys.current().collections) | ({own.name} if self._config.allow_plain else set())
        rewritten = 0
        for name, collection in known.items():
            for head in self._base.scan(BY_ID, collection=collection):
                if deadline is not None and time.monotonic() >= deadline:
                    return Rotation(key_id=key_id, rewritten=rewritten, unfinished=tuple(sorted(left)))
                rewritten += self._rewrite(head, key_id, collection)
            left.discard(name)
        if not left:
            self._keys.look()
            self._keys.change(rotating=False)
        return Rotation(key_id=key_id, rewritten=rewritten, unfinished=tuple(sorted(left)))

    def _rewrite(self, head: Record, key_id: str, collection: Collection[Any]) -> bool:
        """Encrypt a record with a data key, unless it is; again where another writer was faster."""
        try:
            while (head.meta.encodings or ("",))[-1].partition(":")[2] != key_id:
                record = self._base.get_record(head.id, collection=collection)
                # Alike for an item and an older version that is a copy of it, and for whoever does the same.
                revision = hashlib.sha256(f"{record.revision} {key_id}".encode()).hexdigest()[:24]
                whole = self.decoded(record, collection)
                if whole is record:  # it was stored before there was encryption
                    new = self.encoded(Record(record.meta, record.body, revision), collection)
                else:
                    below = Record(record.meta.replace(encodings=whole.meta.encodings), whole.body, revision)
                    new = self._encrypted(below, self._private(whole.meta), collection.name, key_id)
                try:
                    self._base.put_record(new, collection=collection, expect=record.revision)
                except StoreConflictError:
                    head = self._base.head_record(head.id, collection=collection)
                else:
                    return True
        except StoreNotFoundError:
            pass  # removed meanwhile
        return False

    def maintain(self, budget: float | None = None) -> dict[str, int]:
        """Go on with a rotation that was not finished, and maintain the store below."""
        done = super().maintain(budget)
        if self._collection.is_users and self._keys.look().rotating:
            done["rotated"] = self._go_on(self._keys.current().key_id, (), budget).rewritten
        return done


def _bound(meta: Meta, encodings: Sequence[str], collection: str, part: str) -> bytes:
    """Return what a ciphertext is bound to: it is of use nowhere else."""
    return msgspec.json.encode([part, collection, meta.id, meta.encoding, encodings, meta.deleted])


def _sealed(cipher: Any, data: bytes, bound: bytes, before: bytes = b"") -> bytes:
    nonce = os.urandom(NONCE)
    return b"".join((before, nonce, cipher.encrypt(nonce, data, bound)))  # one copy


def _opened(cipher: Any, data: bytes, bound: bytes) -> bytes:
    opened: bytes = cipher.decrypt(data[:NONCE], data[NONCE:], bound)
    return opened


def _cut(body: bytes) -> tuple[bytes, bytes]:
    """Return the wrapped key before a body, with its length, and what follows it."""
    end = LENGTH + int.from_bytes(body[:LENGTH])
    return body[:end], body[end:]


def _carried(framed: bytes) -> bytes:
    return framed[LENGTH:]


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _bytes(text: str) -> bytes:
    return base64.b64decode(text, validate=True)
