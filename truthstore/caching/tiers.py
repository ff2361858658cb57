"""How records lie in a cache: as they are in one of this process, as documents in one that is shared."""

from __future__ import annotations

import itertools
import logging
import secrets
import threading
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, Final, Protocol

import msgspec

from truthstore.caching.shared import Debts
from truthstore.errors import (
    StoreConflictError,
    StoreCorruptError,
    StoreError,
    StoreNotFoundError,
    StoreNotSupportedError,
    StoreWriteError,
)
from truthstore.model.collection import Collection
from truthstore.model.meta_codec import pack, unpack
from truthstore.model.record import ABSENT, Meta, Record

if TYPE_CHECKING:
    from truthstore.caching.base import BaseCache, SharedCache
    from truthstore.caching.coherence import Key
    from truthstore.store.store import BaseStore

__all__ = ["MISSING", "Identity", "LocalTier", "SharedTier", "Tier"]

MISSING: Final = Record(Meta("missing", fields={}, tags={}, text="", deleted=True))
"""Stands in a cache for an id that does not exist."""

IDENTITY: Final = Collection.of_records("store.identity", index={})
_tokens: Final = itertools.count(1)
log: Final = logging.getLogger("truthstore.caching")


class Identity:
    """The name of a store for all processes: chosen at random once, and kept in the store."""

    def __init__(self, base: BaseStore[Any]) -> None:
        self._base = base
        self._known = ""

    def __call__(self) -> str:
        """The name.

        Raises:
            StoreError: the store cannot be reached.
        """
        if not self._known:
            self._known = self._read() or self._write()
        return self._known

    def _read(self) -> str:
        try:
            body = self._base.get_record("identity", collection=IDENTITY).body or b""
        except StoreNotFoundError:
            return ""
        return str(msgspec.json.decode(body)["identity"])

    def _write(self) -> str:
        name = secrets.token_hex(8)
        body = msgspec.json.encode({"identity": name})
        record = Record(Meta("identity", fields={}, tags={}, text="", size=len(body)), body)
        try:
            self._base.put_record(record, collection=IDENTITY, expect=ABSENT)
        except StoreConflictError:
            return self._read()
        return name


class Tier(Protocol):
    """Records in a cache."""

    def find(self, id: str, collection: Collection[Any]) -> Record | None:
        """The record, `MISSING`, or None if the cache does not know."""
        ...

    def claim(self, keys: Iterable[Key], *, force: bool = False) -> dict[Key, bytes]:
        """Permits to keep these keys; with `force`, for a write, what is cached of them is forgotten."""
        ...

    def keep(self, key: Key, record: Record, claim: bytes, ttl: float | None) -> bool:
        """Keeps a record, if the permit still holds."""
        ...

    def forget(self, keys: Sequence[Key]) -> None:
        """Removes keys."""
        ...

    def on_clear(self, callback: Callable[[], object]) -> None:
        """Calls a method before everything is forgotten."""
        ...


class LocalTier:
    """Records in a cache of this process; whoever keeps one holds the lock of the account of loads and writes."""

    def __init__(self, cache: BaseCache[Any]) -> None:
        self.token = next(_tokens)  # one cache may serve several stores
        self._cache = cache

    def find(self, id: str, collection: Collection[Any]) -> Record | None:
        """The record, `MISSING`, or None."""
        found: Record | None = self._cache.get((self.token, collection.name, id))
        return found

    def on_clear(self, callback: Callable[[], object]) -> None:
        """Calls a method before everything is forgotten."""
        self._cache.on_clear(callback)

    def holds(self, key: Key) -> bool:
        """Whether a key is there."""
        return self._cache.exists((self.token, *key))

    def claim(self, keys: Iterable[Key], *, force: bool = False) -> dict[Key, bytes]:
        """Permits without further ado."""
        return dict.fromkeys(keys, b"")

    def keep(self, key: Key, record: Record, claim: bytes, ttl: float | None) -> bool:
        """Keeps a record."""
        self._cache.set((self.token, *key), record, ttl)
        return True

    def forget(self, keys: Sequence[Key]) -> None:
        """Removes keys."""
        for key in keys:
            self._cache.delete((self.token, *key))


class SharedTier:
    """Records as documents in a cache of several processes.

    Args:
        cache: the cache.
        identity: the name of the store, which sets its keys apart.
    """

    def __init__(self, cache: SharedCache, identity: Callable[[], str]) -> None:
        self._cache = cache
        self._identity = identity
        self._own = threading.local()
        self._unnamed: Debts[Key] = Debts()

    def _names(self, keys: Iterable[Key]) -> dict[str, Key]:
        """The keys by what they are called in the cache.

        Raises:
            StoreError: the store cannot be asked for its name.
        """
        identity = self._identity()
        if self._unnamed:
            self._settle(identity)
        return {_name(identity, key): key for key in keys}

    def _names_if_known(self, keys: Iterable[Key]) -> dict[str, Key]:
        try:
            return self._names(keys)
        except StoreError as error:
            log.warning("the store could not be asked for its name, so nothing is cached: %s", error)
            return {}

    def _settle(self, identity: str) -> None:
        """Removes what could not be named when it should have been removed."""
        owed = self._unnamed.now()
        if owed.everything:
            self._cache.clear()
        else:
            self._cache.delete_many([_name(identity, key) for key in owed.keys])
        self._unnamed.paid(owed)

    def find(self, id: str, collection: Collection[Any]) -> Record | None:
        """The record, `MISSING`, or None."""
        for name in self._names_if_known([(collection.name, id)]):
            data = self._cache.get(name)
            if data is None:
                return None
            if not data:
                return MISSING
            try:
                record = unpack(data)
            except StoreCorruptError as error:
                log.warning("a damaged entry of the %s cache is dropped: %s", self._cache.name, error)
                self._cache.delete(name)
                return None
            return record if record.id == id else None
        return None

    def claim(self, keys: Iterable[Key], *, force: bool = False) -> dict[Key, bytes]:
        """Leases.

        Raises:
            StoreWriteError: with `force`, the store cannot be asked for its name, by which others may know the keys.
        """
        names = self._names_to_write(keys) if force else self._names_if_known(keys)
        leases = self._cache.lease(names, force=force)
        claims = {names[name]: lease for name, lease in leases.items()}
        if force:
            self._own.keys = set(claims)
        return claims

    def _names_to_write(self, keys: Iterable[Key]) -> dict[str, Key]:
        try:
            return self._names(keys)
        except StoreNotSupportedError as error:
            # Then it has a name for nobody, and nobody has cached anything.
            log.warning("the store can keep no name, so nothing is cached: %s", error)
            return {}
        except StoreError as error:
            raise StoreWriteError(
                "nothing was written: the store could not be asked for its name, by which other processes may have "
                f"cached what is there now: {error}",
                backend=error.backend,
                retryable=error.retryable,
            ) from error

    def keep(self, key: Key, record: Record, claim: bytes, ttl: float | None) -> bool:
        """Keeps a record, if the lease still holds."""
        try:
            data = b"" if record is MISSING else pack(record)
        except StoreCorruptError:
            return False
        return any(self._cache.fill(name, claim, data, ttl) for name in self._names_if_known([key]))

    def forget(self, keys: Sequence[Key]) -> None:
        """Removes keys, but for those that this thread is writing: their leases took the place of what was there."""
        own: set[Key] = getattr(self._own, "keys", set())
        others = [key for key in keys if key not in own]
        try:
            names = self._names(others)
        except StoreError as error:
            self._unnamed.owe(others)
            log.warning("the store could not be asked for its name; %d keys are removed later: %s", len(others), error)
            return
        if names:
            self._cache.delete_many(names)

    def on_clear(self, callback: Callable[[], object]) -> None:
        """Calls a method before everything is forgotten."""
        self._cache.on_clear(callback)

    def release(self) -> None:
        """This thread has written."""
        self._own.keys = set()


def _name(identity: str, key: Key) -> str:
    return f"{identity}:{key[0]}:{key[1]}"
