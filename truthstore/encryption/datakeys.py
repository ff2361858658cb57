"""The data keys of a store, which encrypt its records: kept in the store, each wrapped by a key of the provider.

A record names its data key, so that keys can change while both are in use. Which key encrypts now is a record too, changed
by compare-and-set; a process looks at it once a minute. No data key is ever removed: a process may still write with it.
Each record carries its own data key, too, wrapped: where a place is emptied under an open store, what is saved then is
readable for everybody. The keys in the store are those that change with the keys of the provider.
"""

from __future__ import annotations

import hashlib
import secrets
import time
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

import msgspec

from truthstore.encryption.base import ALGORITHMS, KEY_BYTES, KeyProvider, WrappedKey, library
from truthstore.errors import StoreConfigError, StoreConflictError, StoreCorruptError, StoreNotFoundError
from truthstore.model.collection import Collection
from truthstore.model.fields import FIELD_TYPES, Field
from truthstore.model.query import EVERYTHING
from truthstore.model.record import ABSENT, Meta, Record

if TYPE_CHECKING:
    from collections.abc import Callable

    from truthstore.model.record import Expect
    from truthstore.store.store import BaseStore

__all__ = ["KEYS", "Current", "DataKeys"]

KEYS: Final = Collection.of_records("store.keys", index={})
"""Wrapped data keys by their ids; under `CURRENT` the one that encrypts now, under `HASHING` the one that hashes."""

CURRENT: Final = "current"
HASHING: Final = "hashing"
LOOK_AGAIN: Final = 60.0
TYPES: Final = {kind.__name__: kind for kind in FIELD_TYPES}


class _Declaration(msgspec.Struct, frozen=True, array_like=True):
    fields: dict[str, tuple[str, bool]]
    time: str | None
    lookups: tuple[tuple[str, ...], ...]


class Current(msgspec.Struct, frozen=True, array_like=True):
    """The data key that encrypts now.

    Attributes:
        key_id: its id.
        rotating: records under older keys are being encrypted with it.
        collections: all collections that were written to, with the declarations of those that hold records of layers.
    """

    key_id: str
    rotating: bool = False
    collections: dict[str, _Declaration | None] = {}


_read_current: Final = msgspec.msgpack.Decoder(Current).decode
_read_wrapped: Final = msgspec.msgpack.Decoder(WrappedKey).decode


class DataKeys:
    """The data keys in a store, and one of this process alone, for what it keeps outside of the store."""

    def __init__(self, base: BaseStore[Any], provider: KeyProvider) -> None:
        self._base = base
        self._provider = provider
        self._known: dict[str, bytes] = {}
        self._carried: dict[str, bytes] = {}
        self._ciphers: dict[tuple[str, str], Any] = {}
        self._current: tuple[Current, str] | None = None
        self._looked = 0.0
        self._looked_for_hashing = 0.0
        self._own: str | None = None

    def cipher(self, algorithm: str, key_id: str, carried: Callable[[], bytes | None] = lambda: None) -> Any:
        """Return what encrypts and decrypts with a data key: the one that a record carries, wrapped, or one in the store.

        Raises:
            StoreCorruptError: the key is lost or damaged, or the algorithm unknown.
            StoreConfigError: the provider lacks the key that wraps it.
        """
        found = self._ciphers.get((algorithm, key_id))
        if found is None:
            aead = library("cryptography.hazmat.primitives.ciphers.aead")
            if algorithm not in ALGORITHMS:
                raise StoreCorruptError(f"the algorithm {algorithm!r:.40} is not known")
            kind = aead.AESGCM if algorithm == ALGORITHMS[0] else aead.ChaCha20Poly1305
            found = self._ciphers[algorithm, key_id] = kind(self._key(key_id, carried()))
        return found

    def carried(self, key_id: str) -> bytes:
        """Return the wrapped form of a data key, as records carry it."""
        if key_id not in self._carried:
            self._carried[key_id] = msgspec.msgpack.encode(self._wrapped(self._key(key_id)))  # of this process alone
        return self._carried[key_id]

    def _key(self, key_id: str, carried: bytes | None = None) -> bytes:
        if key_id not in self._known:
            self._known[key_id] = self._stored(key_id) if carried is None else self._unwrapped(key_id, carried)
        return self._known[key_id]

    def _unwrapped(self, key_id: str, carried: bytes) -> bytes:
        """Return the data key that a record carries, or the one in the store, which may be under a newer key."""
        try:
            key = self._provider.unwrap(_read_wrapped(carried))
        except msgspec.MsgspecError:
            return self._stored(key_id)
        except StoreConfigError as error:
            try:
                return self._stored(key_id)
            except StoreCorruptError:
                raise error from None
        return key if key_id == _id_of(key) else self._stored(key_id)

    def _stored(self, key_id: str) -> bytes:
        try:
            carried = self._base.get_record(key_id, collection=KEYS).body or b""
            key = self._provider.unwrap(_read_wrapped(carried))
        except StoreNotFoundError as error:
            raise StoreCorruptError(f"the data key {key_id} is lost: restore it in {KEYS.name}") from error
        except msgspec.MsgspecError as error:
            raise StoreCorruptError(f"the data key {key_id} is damaged: restore it in {KEYS.name}") from error
        if key_id not in {_id_of(key), HASHING}:
            raise StoreCorruptError(f"the data key {key_id} is another one: restore it in {KEYS.name}")
        self._carried[key_id] = carried
        return key

    def current(self) -> Current:
        """Return the data key that encrypts now; the first call of all makes one."""
        if self._current is None or time.monotonic() - self._looked > LOOK_AGAIN:
            self.look()
        assert self._current is not None
        return self._current[0]

    def look(self) -> Current:
        """Return the data key that encrypts now, as the store says; a store that was emptied is told what it held."""
        before = None if self._current is None else self._current[0]
        now = self._read()
        while before is not None and before.collections.keys() - now.collections.keys():  # none is ever removed
            with suppress(StoreConflictError):
                self._write(collections={**before.collections, **now.collections})
            now = self._read()
        return now

    def _read(self) -> Current:
        try:
            record = self._base.get_record(CURRENT, collection=KEYS)
        except StoreNotFoundError:
            with suppress(StoreConflictError):  # another process was faster
                self._put(CURRENT, Current(self.new()), ABSENT)
            record = self._base.get_record(CURRENT, collection=KEYS)
        try:
            self._current = _read_current(record.body or b""), record.revision
        except msgspec.MsgspecError as error:
            raise StoreCorruptError(f"{CURRENT!r} of {KEYS.name} is damaged: restore it") from error
        self._looked = time.monotonic()
        return self._current[0]

    def change(self, **changes: Any) -> Current:
        """Change what `current` returns.

        Raises:
            StoreConflictError: another process has changed it.
        """
        self._write(**changes)
        return self.look()

    def _write(self, **changes: Any) -> None:
        assert self._current is not None
        current, revision = self._current
        self._put(CURRENT, msgspec.structs.replace(current, **changes), revision)

    def note(self, collection: Collection[Any]) -> None:
        """Note that a collection is written to, and the declaration of one that holds records of a layer."""
        made: _Declaration | None = None
        if collection.opaque:
            fields = {name: (field.type.__name__, field.indexed) for name, field in collection.fields.items()}
            made = _Declaration(fields, collection.time, collection.lookups)
        while collection.name not in self.current().collections:
            with suppress(StoreConflictError):
                self.change(collections={**self.look().collections, collection.name: made})

    def collections(self) -> list[Collection[Any]]:
        """Return the collections that hold records of layers."""
        return [
            Collection.of_records(
                name,
                index={field: Field(TYPES[kind], indexed=indexed) for field, (kind, indexed) in made.fields.items()},
                time=made.time,
                lookups=made.lookups,
            )
            for name, made in self.current().collections.items()
            if made is not None
        ]

    def new(self) -> str:
        """Make a data key, store it, and return its id."""
        key = secrets.token_bytes(KEY_BYTES)
        key_id = _id_of(key)
        self._carried[key_id] = self._put(key_id, self._wrapped(key), ABSENT)
        self._known[key_id] = key
        return key_id

    def _wrapped(self, key: bytes) -> WrappedKey:
        wrapped = self._provider.wrap(key)
        if self._provider.unwrap(wrapped) != key:
            raise StoreConfigError(f"the key {wrapped.key_id} does not give back what it encrypts: use another one")
        return wrapped

    def own(self) -> str:
        """Return the id of a data key of this process, for which the store need not be asked."""
        if self._own is None:
            key = secrets.token_bytes(KEY_BYTES)
            self._own = _id_of(key)
            self._known[self._own] = key
        return self._own

    def hashing(self) -> bytes:
        """Return the key of hashes, as the store says once a minute: what is indexed is found by it.

        It changes only where the store was emptied: then the first process that sees so puts its own there.
        """
        known = self._known.get(HASHING)
        if known is None or time.monotonic() - self._looked_for_hashing > LOOK_AGAIN:
            try:
                self._known[HASHING] = self._stored(HASHING)
            except StoreCorruptError as error:
                if not isinstance(error.__cause__, StoreNotFoundError):
                    raise
                with suppress(StoreConflictError):  # another process was faster: its key is used
                    self._put(HASHING, self._wrapped(known or secrets.token_bytes(KEY_BYTES)), ABSENT)
                self._known[HASHING] = self._stored(HASHING)
            self._looked_for_hashing = time.monotonic()
        return self._known[HASHING]

    def wrap_again(self) -> None:
        """Wrap all data keys with the newest key of the provider, so that older ones are not needed any more."""
        for record in list(self._base.scan(EVERYTHING, collection=KEYS, bodies=True)):
            if record.id != CURRENT:
                wrapped = self._wrapped(self._key(record.id))
                self._carried[record.id] = self._put(record.id, wrapped, record.revision)

    def _put(self, id: str, value: object, expect: Expect) -> bytes:
        body = msgspec.msgpack.encode(value)
        meta = Meta(id, fields={}, tags={}, text="", size=len(body), stored_at=time.time_ns() // 1_000)
        self._base.put_record(Record(meta, body), collection=KEYS, expect=expect)
        return body


def _id_of(key: bytes) -> str:
    return hashlib.sha256(b"truthstore data key\0" + key).hexdigest()[:24]
