"""The part of an object storage driver that is the same for every service: names, clients per process, lists, errors."""

from __future__ import annotations

import os
import threading
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar, Final

from truthstore.backends.cloud.failures import AMBIGUOUS_RETRY, Action, Failure, Meaning, error_of
from truthstore.errors import StoreConfigError, StoreError, StoreNotFoundError, StoreNotSupportedError
from truthstore.model.record import ABSENT, ANY
from truthstore.runtime.forks import in_child
from truthstore.storage.objects.blobs import Blobs
from truthstore.store.records import conflict

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from truthstore.storage.objects.blobs import BlobExpect, Tag

__all__ = ["CloudBlobs", "SingleWriterBlobs", "content_type", "is_index"]

LOCKS: Final = 64
INDEX: Final = "_truthstore/"
_CONTENT_TYPES: Final = {
    "json": "application/json",
    "yaml": "application/yaml",
    "msgpack": "application/msgpack",
    "gz": "application/gzip",
    "zst": "application/zstd",
}


def content_type(key: str) -> str:
    """Return the content type of an object, by the end of its name.

    A content encoding is never set: clients undo it unasked.
    """
    return _CONTENT_TYPES.get(key.rpartition(".")[2], "application/octet-stream")


def is_index(key: str) -> bool:
    """Return True for an object of the index, which is read all the time and must not lie in a slow storage class."""
    return key.startswith(INDEX)


class CloudBlobs(Blobs, ABC):
    """The objects of a bucket or container below a prefix.

    Attributes:
        scheme: of the URLs in messages.
        noun: the service's word for a bucket, and the name of the option.
        needs: the distribution that holds the service's client.
    """

    backend: ClassVar[str]
    scheme: ClassVar[str]
    noun: ClassVar[str] = "bucket"
    needs: ClassVar[str]

    def __init__(self, bucket: object, prefix: str) -> None:
        if not isinstance(bucket, str):
            raise TypeError(f"{self.noun} of the {self.backend} store is a string, not {type(bucket).__name__}")
        if not bucket:
            raise StoreConfigError(f"the {self.backend} store needs {self.noun}=")
        self._bucket = bucket
        self._prefix = prefix
        self._made: tuple[int, Any] | None = None

    @property
    def place(self) -> str:
        """The URL of the objects, without secrets."""
        return f"{self.scheme}://{self._bucket}/{self._prefix}"

    @property
    @abstractmethod
    def account(self) -> str:
        """The endpoint or account, where the bucket's name alone is not unique; else empty."""

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._bucket!r}, {self._prefix!r})"

    @abstractmethod
    def _connect(self) -> Any:
        """Make a client of the service."""

    def _client(self) -> Any:
        """Return this process's client, made when first used: connections are not shared with a forked child."""
        made, pid = self._made, os.getpid()
        if made is None or made[0] != pid:
            made = self._made = (pid, self._connect())  # opening the store does it, in one thread
        return made[1]

    def close(self) -> None:
        """Close connections; they are made again when they are needed."""
        made, self._made = self._made, None
        if made is not None and made[0] == os.getpid():
            made[1].close()

    def list(self, prefix: str, *, after: str | None = None) -> Iterator[str]:
        """List keys in ascending order; the order is checked, because queries rely on it.

        Raises:
            StoreNotSupportedError: the service lists in another order.
        """
        start = self._prefix + after if after else ""
        token: Any = None
        last = ""
        while True:
            names, token = self._page(self._prefix + prefix, start, token)
            for name in names:
                if name <= last:
                    raise StoreNotSupportedError(
                        "this service does not list names in ascending order (directory buckets and hierarchical "
                        "namespaces do not): use an ordinary bucket or container",
                        backend=self.backend,
                    )
                last = name
                if name > start:
                    yield name[len(self._prefix) :]
            if not token:
                return

    @abstractmethod
    def _page(self, prefix: str, start: str, token: Any) -> tuple[Sequence[str], Any]:
        """Return full names below a prefix, and the token of the next page; names up to `start` may be left out."""

    def set_class(self, key: str, name: str) -> None:
        """Give an object another storage class, where it lies.

        Raises:
            StoreNotFoundError: there is none.
            StoreConflictError: it was written meanwhile.
            StoreConfigError: there is no such class, or what lies in it cannot be read at once.
            StoreNotSupportedError: the driver does not know how.
        """
        raise StoreNotSupportedError("storage classes are changed on S3 and Azure only", backend=self.backend)

    def classes(self, prefix: str) -> Iterator[tuple[str, str]]:
        """Iterate over the keys below a prefix and their storage classes; raise as `set_class` does."""
        raise StoreNotSupportedError("storage classes are listed on S3 and Azure only", backend=self.backend)

    def _error(self, action: Action, key: str, meaning: Meaning, expect: BlobExpect, *, repeated: bool) -> StoreError:
        """Return the error for a request, `repeated` by the client or not, that failed with this meaning."""
        if meaning == "missing":
            if action in {"read", "remove", "change"}:
                return StoreNotFoundError("object", key, backend=self.backend)
            if expect is not ANY:
                return conflict(key, expect, None, backend=self.backend, collection="object")
            meaning = Failure(f"the {self.noun} does not exist: check its name, or create it")
        elif meaning == "changed":
            if not repeated:
                return conflict(key, expect, "another tag", backend=self.backend, collection="object")
            meaning, repeated = AMBIGUOUS_RETRY, False
        return error_of(self.backend, action, self.place + key, meaning, repeated=repeated)


class SingleWriterBlobs:
    """Blobs that look before they write, for a service without conditional writes.

    Threads of one process exclude each other; another process is not noticed.
    """

    def __init__(self, blobs: Blobs, backend: str) -> None:
        self._blobs = blobs
        self._backend = backend
        self.get, self.list, self.close = blobs.get, blobs.list, blobs.close
        self._make_locks()
        in_child(self._make_locks)

    def _make_locks(self) -> None:
        self._locks = [threading.Lock() for _ in range(LOCKS)]

    def _lock(self, key: str) -> threading.Lock:
        return self._locks[hash(key) % LOCKS]

    def put(self, key: str, data: bytes, *, expect: BlobExpect = ANY) -> Tag:
        """Store bytes, after a look at the object."""
        with self._lock(key):
            if expect is not ANY:
                self._check(key, expect, self._tag(key))
            return self._blobs.put(key, data)

    def delete(self, key: str, *, expect: BlobExpect = ANY) -> bool:
        """Remove a key, after a look at the object."""
        with self._lock(key):
            if expect is not ANY and (actual := self._tag(key)) is not None:
                self._check(key, expect, actual)
            return self._blobs.delete(key)

    def _tag(self, key: str) -> Tag | None:
        try:
            return self._blobs.get(key)[1]
        except StoreNotFoundError:
            return None

    def _check(self, key: str, expect: BlobExpect, actual: Tag | None) -> None:
        if (actual is not None) if expect is ABSENT else actual != expect:
            raise conflict(key, expect, actual, backend=self._backend, collection="object")
