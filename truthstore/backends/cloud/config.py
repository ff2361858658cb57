"""What the object storage drivers share: options, names, clients per process, and one way to report a failed request."""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Generic, Literal, NamedTuple, TypeVar

from truthstore.errors import (
    StoreConfigError,
    StoreConnectionError,
    StoreError,
    StoreNotFoundError,
    StoreNotSupportedError,
    StoreReadError,
    StoreWriteError,
)
from truthstore.model.record import ABSENT, ANY
from truthstore.storage.objects.names import object_name
from truthstore.store.config import StoreConfig
from truthstore.store.records import conflict

if TYPE_CHECKING:
    from truthstore.storage.objects.blobs import BlobExpect, Blobs, Tag

__all__ = [
    "CloudConfig",
    "PerProcess",
    "SingleWriterBlobs",
    "Trouble",
    "ascending",
    "content_type",
    "failure",
    "hidden",
    "place_of",
]

C = TypeVar("C")

Action = Literal["read", "list", "write", "remove", "reach"]
Kind = Literal["connection", "refused", "unsupported", "settings"]

LOCKS: Final = 64
INDEX: Final = "_truthstore/"
_CONTENT_TYPES: Final = {
    "json": "application/json",
    "yaml": "application/yaml",
    "msgpack": "application/msgpack",
    "gz": "application/gzip",
    "zst": "application/zstd",
}
_SECRET: Final = re.compile(r"(?i)\b(sig|signature|x-amz-security-token|accountkey|token)=[^&\s;'\"]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class CloudConfig(StoreConfig):
    """Options of every store in a bucket or container; objects lie below ``{prefix}/{namespace}/``.

    Attributes:
        use_compression: gzip, unless `compression` says otherwise.
        single_writer: use a service without conditional writes. Only one process may write then; see the documentation.
        concurrency: at most so many requests at a time in bulk operations, and so many connections are kept.
        timeout: seconds to wait for an answer to one request.
        retries: how often a request is repeated that failed for a passing reason.
        cache_dir: where this machine's copy of the index lies; the user's cache folder by default. It holds the indexed
            fields in plain text, and may be deleted at any time.
    """

    prefix: str = "truthstore/"
    single_writer: bool = False
    concurrency: int = 16
    timeout: float = 60.0
    retries: int = 4
    cache_dir: str | os.PathLike[str] | None = None

    def __post_init__(self) -> None:
        if self.use_compression is None:
            object.__setattr__(self, "use_compression", self.compression is None or bool(self.compression))
        StoreConfig.__post_init__(self)
        for name, least in (("concurrency", 1), ("retries", 0)):
            value = getattr(self, name)
            if not isinstance(value, int) or value < least:
                raise StoreConfigError(f"{name} is a number of at least {least}, not {value!r}")
        if not self.timeout > 0:
            raise StoreConfigError(f"timeout is a number of seconds above 0, not {self.timeout!r}")


def needed(value: object, name: str, owner: str) -> None:
    """Checks an option that has no default.

    Raises:
        TypeError: it is not a string.
        StoreConfigError: it is missing.
    """
    if not isinstance(value, str):
        raise TypeError(f"{name} of {owner} is a string, not {type(value).__name__}")
    if not value:
        raise StoreConfigError(f"{owner} needs {name}=")


def place_of(config: StoreConfig) -> str:
    """What the names of all objects of a store start with: the prefix, then the namespace, each part escaped.

    The prefix comes first, so that permissions and lifecycle rules for it cover all namespaces.

    Raises:
        StoreConfigError: a part is empty.
    """
    prefix = config.prefix.strip("/")
    parts = [*(prefix.split("/") if prefix else []), config.namespace]
    if not all(parts):
        raise StoreConfigError(f"namespace {config.namespace!r} and prefix {config.prefix!r}: no part may be empty")
    return "".join(f"{object_name(part)}/" for part in parts)


def content_type(key: str) -> str:
    """The content type of an object, by the end of its name. A content encoding is never set: clients undo it unasked."""
    return _CONTENT_TYPES.get(key.rpartition(".")[2], "application/octet-stream")


def is_index(key: str) -> bool:
    """Whether an object belongs to the index, which is read all the time and must never lie in a slow storage class."""
    return key.startswith(INDEX)


class PerProcess(Generic[C]):
    """The client of a service, made when first used and anew in a forked child: connections are not shared.

    Args:
        make: makes one.
        close: gives up one's connections.
    """

    def __init__(self, make: Callable[[], C], close: Callable[[C], object]) -> None:
        self._make = make
        self._close = close
        self._made: tuple[int, C] | None = None
        self._locks: dict[int, threading.Lock] = {}

    def __call__(self) -> C:
        """This process's client."""
        made, pid = self._made, os.getpid()
        if made is not None and made[0] == pid:
            return made[1]
        # A fork copies the parent's lock as it was, perhaps held by a thread that was not copied.
        with self._locks.get(pid) or self._locks.setdefault(pid, threading.Lock()):
            made = self._made
            if made is None or made[0] != pid:
                made = (pid, self._make())
                self._made = made
            return made[1]

    def close(self) -> None:
        """Gives up connections; they are made anew when they are needed again."""
        made, self._made = self._made, None
        if made is not None and made[0] == os.getpid():
            self._close(made[1])


class Trouble(NamedTuple):
    """What the error of a service means.

    Attributes:
        advice: what is wrong and what to do.
        retryable: whether the same request may succeed when it is simply repeated.
        kind: ``connection`` if the service, or the bucket, cannot be used at all; ``refused`` if it is this request;
            ``unsupported`` if the service does not offer it; ``settings`` if options are wrong.
    """

    advice: str
    retryable: bool = False
    kind: Kind = "connection"


def failure(backend: str, action: Action, what: str, trouble: Trouble, *, repeated: bool = False) -> StoreError:
    """The error for a request that failed, or that nobody answered.

    A connection error that is not retryable means that nothing was written.

    Args:
        backend: name of the backend.
        action: what was asked for.
        what: the object, or the bucket.
        trouble: what it means.
        repeated: whether the client had sent the request before, and may have got no answer.
    """
    writes = action in {"write", "remove"}
    message = f"cannot {action} {what}: {hidden(trouble.advice)}"
    if writes and (trouble.retryable or repeated):
        message += " (it may or may not have happened)"
    if trouble.kind == "connection" and writes and repeated and not trouble.retryable:
        return StoreWriteError(message, backend=backend, store_trouble=True)
    if trouble.kind == "connection":
        return StoreConnectionError(backend, message, retryable=trouble.retryable)
    if trouble.kind == "unsupported":
        return StoreNotSupportedError(message, backend=backend)
    if trouble.kind == "settings":
        return StoreConfigError(message, backend=backend)
    kind = StoreWriteError if writes else StoreReadError
    return kind(message, backend=backend, retryable=trouble.retryable)


def hidden(text: str) -> str:
    """A text without the signatures, keys and tokens that addresses and connection strings hold."""
    return _SECRET.sub(r"\1=…", text)


def cause(error: Exception) -> Exception | None:
    """What an error is raised from: the driver's own, unless a traceback would show a secret."""
    text = f"{error} {error.__cause__ or error.__context__ or ''}"
    return error if hidden(text) == text else None


def ascending(names: Iterable[str], after: str, backend: str) -> Iterator[str]:
    """Names after a given one, as the service lists them; the order is checked, because queries rely on it.

    Raises:
        StoreNotSupportedError: the service lists in another order.
    """
    last = ""
    for name in names:
        if name <= last:
            raise StoreNotSupportedError(
                "this service does not list names in ascending order (directory buckets and hierarchical namespaces "
                "do not): use an ordinary bucket or container",
                backend=backend,
            )
        last = name
        if name > after:
            yield name


class SingleWriterBlobs:
    """Blobs that look before they write, for a service without conditional writes.

    Threads of one process exclude each other; another process is not noticed.

    Args:
        blobs: the service.
        backend: name of the backend, for messages.
    """

    def __init__(self, blobs: Blobs, backend: str) -> None:
        self._blobs = blobs
        self._backend = backend
        self._locks: dict[int, list[threading.Lock]] = {}

    def _lock(self, key: str) -> threading.Lock:
        pid = os.getpid()
        locks = self._locks.get(pid) or self._locks.setdefault(pid, [threading.Lock() for _ in range(LOCKS)])
        return locks[hash(key) % LOCKS]

    def get(self, key: str) -> tuple[bytes, Tag]:
        """The bytes and their tag."""
        return self._blobs.get(key)

    def put(self, key: str, data: bytes, *, expect: BlobExpect = ANY) -> Tag:
        """Stores bytes, after a look at what is there."""
        with self._lock(key):
            if expect is not ANY:
                self._check(key, expect)
            return self._blobs.put(key, data)

    def delete(self, key: str, *, expect: BlobExpect = ANY) -> bool:
        """Removes a key, after a look at what is there."""
        with self._lock(key):
            if expect is not ANY and self._tag(key) is not None:
                self._check(key, expect)
            return self._blobs.delete(key)

    def _tag(self, key: str) -> Tag | None:
        try:
            return self._blobs.get(key)[1]
        except StoreNotFoundError:
            return None

    def _check(self, key: str, expect: BlobExpect) -> None:
        actual = self._tag(key)
        if (actual is not None) if expect is ABSENT else actual != expect:
            raise conflict(key, expect, actual, backend=self._backend, collection="object")

    def list(self, prefix: str, *, after: str | None = None) -> Iterator[str]:
        """Keys in ascending order."""
        return self._blobs.list(prefix, after=after)

    def close(self) -> None:
        """Gives up connections."""
        self._blobs.close()


def options_of(config: CloudConfig) -> dict[str, Any]:
    """What a store of an object storage service hands on to the log."""
    return {
        "cache_dir": config.cache_dir,
        "single_writer": config.single_writer,
        "concurrency": config.concurrency,
    }
