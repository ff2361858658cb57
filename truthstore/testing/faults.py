"""Storage that fails on demand, storage that is slow, and a clock that moves on request.

`FaultyBlobs` fails a call before or after it took effect. It does not tear writes: a put of blobs is atomic by contract,
and whether a driver keeps that contract when its process dies shows only in a process that is killed.
"""

from __future__ import annotations

import random
import threading
import time
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, ClassVar, Final, Literal, NamedTuple, TypeAlias, TypeVar

from truthstore.errors import StoreConnectionError
from truthstore.model.fields import EPOCH, to_microseconds
from truthstore.model.record import ANY, NONE
from truthstore.store.wrapper import WrapperStore

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from truthstore.model.collection import Collection
    from truthstore.model.query import StoreQuery
    from truthstore.model.record import Expect, Options, Record
    from truthstore.storage.objects.blobs import BlobExpect, Blobs, Tag
    from truthstore.store.store import BaseStore

__all__ = [
    "Call",
    "FaultKind",
    "FaultPlan",
    "FaultyBlobs",
    "FaultyStore",
    "LatencyBlobs",
    "ManualClock",
    "SimulatedCrashError",
]

T = TypeVar("T")

FaultKind: TypeAlias = Literal["before", "after", "crash-before", "crash-after"]
"""When a call fails: before it took effect or after it; an error, or the death of the process."""

FAULTS: Final[tuple[FaultKind, ...]] = ("before", "after")
CRASHES: Final[tuple[FaultKind, ...]] = ("crash-before", "crash-after")


class SimulatedCrashError(BaseException):
    """The process died here: no handler of ordinary errors sees this, and the storage no longer answers."""


class Call(NamedTuple):
    """One call that reached the storage."""

    method: str
    key: str


class FaultPlan:
    """Which of the calls that pass here fail, and how.

    Args:
        fail_at: fail the call with this number, counted from 1 from now on, and no other.
        seed: instead of `fail_at`, fail about every tenth call, always the same ones for the same seed.
        kinds: how to fail; with several, the seed chooses.
    """

    def __init__(
        self, *, fail_at: int | None = None, seed: int | None = None, kinds: Sequence[FaultKind] = FAULTS
    ) -> None:
        self.calls: list[Call] = []
        """What reached this object, in order, failed calls too."""
        self.failures = 0
        """How many calls were failed so far."""
        self._lock = threading.Lock()
        self._left: int | None = None
        self._times = 1
        self._kind: FaultKind = kinds[0]
        self._crashed = False
        self._random = random.Random(seed) if seed is not None else None
        self._kinds = tuple(kinds)
        if fail_at is not None:
            self.arm(fail_at, kinds[0])

    def arm(self, fail_at: int, kind: FaultKind = "before", *, times: int = 1) -> None:
        """Fail the call with this number, counted from 1 from now on.

        Args:
            fail_at: the number.
            kind: how it fails.
            times: so many calls in a row fail; those behind the first before they take effect, as in an outage.
        """
        if fail_at < 1 or times < 1:
            raise ValueError("calls are counted from 1")
        with self._lock:
            self._left, self._kind, self._times = fail_at, kind, times

    def disarm(self) -> bool:
        """Fail no further call; whether `arm` had asked for more failures than came."""
        with self._lock:
            waiting, self._left, self._random = self._left is not None, None, None
            return waiting

    @property
    def crashed(self) -> bool:
        """True if the process that uses this object is dead."""
        return self._crashed

    def enter(self, method: str, key: str) -> FaultKind | None:
        """Count a call before it takes effect, and fail it if its time has come."""
        with self._lock:
            if self._crashed:
                raise SimulatedCrashError(f"{method} {key} after the crash")
            self.calls.append(Call(method, key))
            if self._left is not None:
                self._left -= 1
                if self._left:
                    return None
                kind = self._kind
                self._times -= 1
                self._left, self._kind = (1, "before") if self._times else (None, kind)
            elif self._random is not None and self._random.random() < 0.1:
                kind = self._random.choice(self._kinds)
            else:
                return None
            self.failures += 1
            if kind == "before":
                raise StoreConnectionError("faulty", f"{method} {key} failed on purpose, before it took effect")
            if kind == "crash-before":
                self._crashed = True
                raise SimulatedCrashError(f"before {method} {key}")
            return kind

    def leave(self, method: str, key: str, kind: FaultKind | None) -> None:
        """Fail a call that took effect, if `enter` said so."""
        if kind is None:
            return
        if kind == "after":
            raise StoreConnectionError("faulty", f"{method} {key} failed on purpose, after it took effect")
        self._crashed = True
        raise SimulatedCrashError(f"after {method} {key}")


class FaultyBlobs(FaultPlan):
    """Passes calls on to other blobs, remembers them, and fails the ones that its plan names.

    With no faults armed it is a counter: see `calls`. A list counts as one call, made when its first key is asked for;
    after taking effect it fails behind its first key, as a list that comes in pages does.

    Args:
        blobs: what keeps the bytes.
        fail_at: see `FaultPlan`.
        seed: see `FaultPlan`.
        kinds: see `FaultPlan`.
    """

    def __init__(
        self,
        blobs: Blobs,
        *,
        fail_at: int | None = None,
        seed: int | None = None,
        kinds: Sequence[FaultKind] = FAULTS,
    ) -> None:
        super().__init__(fail_at=fail_at, seed=seed, kinds=kinds)
        self.blobs = blobs

    def restarted(self) -> FaultyBlobs:
        """Return the same storage as the next process sees it."""
        return FaultyBlobs(self.blobs)

    def get(self, key: str) -> tuple[bytes, Tag]:
        """Return the bytes and their tag."""
        kind = self.enter("get", key)
        found = self.blobs.get(key)
        self.leave("get", key, kind)
        return found

    def put(self, key: str, data: bytes, *, expect: BlobExpect = ANY) -> Tag:
        """Store bytes and return their tag."""
        kind = self.enter("put", key)
        tag = self.blobs.put(key, data, expect=expect)
        self.leave("put", key, kind)
        return tag

    def delete(self, key: str, *, expect: BlobExpect = ANY) -> bool:
        """Remove a key."""
        kind = self.enter("delete", key)
        deleted = self.blobs.delete(key, expect=expect)
        self.leave("delete", key, kind)
        return deleted

    def list(self, prefix: str, *, after: str | None = None) -> Iterator[str]:
        """Return keys that start with a prefix."""
        kind = self.enter("list", prefix)
        for key in self.blobs.list(prefix, after=after):
            yield key
            self.leave("list", prefix, kind)
        self.leave("list", prefix, kind)

    def close(self) -> None:
        """Close the storage below; a dead process closes nothing."""
        if not self._crashed:
            self.blobs.close()


class LatencyBlobs:
    """Passes calls on to other blobs after a while.

    Args:
        blobs: what keeps the bytes.
        seconds: how long each call takes, or a function of the method's name.
        sleep: what waits.
    """

    def __init__(
        self, blobs: Blobs, seconds: float | Callable[[str], float], *, sleep: Callable[[float], object] = time.sleep
    ) -> None:
        self.blobs = blobs
        self._seconds = seconds
        self._sleep = sleep

    def _wait(self, method: str) -> None:
        self._sleep(self._seconds(method) if callable(self._seconds) else self._seconds)

    def get(self, key: str) -> tuple[bytes, Tag]:
        """Return the bytes and their tag."""
        self._wait("get")
        return self.blobs.get(key)

    def put(self, key: str, data: bytes, *, expect: BlobExpect = ANY) -> Tag:
        """Store bytes and return their tag."""
        self._wait("put")
        return self.blobs.put(key, data, expect=expect)

    def delete(self, key: str, *, expect: BlobExpect = ANY) -> bool:
        """Remove a key."""
        self._wait("delete")
        return self.blobs.delete(key, expect=expect)

    def list(self, prefix: str, *, after: str | None = None) -> Iterator[str]:
        """Return keys that start with a prefix."""
        self._wait("list")
        return self.blobs.list(prefix, after=after)

    def close(self) -> None:
        """Close the storage below, at once."""
        self.blobs.close()


class ManualClock:
    """A clock that stands still until `advance` moves it. Calling it gives UTC microseconds since 1970.

    Args:
        start: the time it shows first; a naive time means local time.
    """

    def __init__(self, start: datetime = datetime(2026, 1, 1, tzinfo=UTC)) -> None:
        self._microseconds = to_microseconds(start)
        self._lock = threading.Lock()

    def __call__(self) -> int:
        return self._microseconds

    def now(self) -> datetime:
        """Return the time that it shows, in UTC."""
        return EPOCH + timedelta(microseconds=self._microseconds)

    def advance(self, seconds: float = 0, **parts: float) -> datetime:
        """Go on by so many seconds, and ``minutes=``, ``hours=``, ``days=``; backwards too."""
        with self._lock:
            self._microseconds += timedelta(seconds=seconds, **parts) // timedelta(microseconds=1)
        return self.now()


class FaultyStore(WrapperStore[T]):
    """Passes record operations on to another store, and fails the ones that its plan says; bulk forms are loops.

    Args:
        base: the store below.
        plan: which calls fail; none by default.
    """

    name: ClassVar[str] = "faulty"

    def __init__(self, base: BaseStore[T], plan: FaultPlan | None = None) -> None:
        super().__init__(base)
        self.plan = FaultPlan() if plan is None else plan

    def put_record(
        self, record: Record, *, collection: Collection[Any], expect: Expect = ANY, options: Options = NONE
    ) -> Record:
        """Store a record, or fail before or after."""
        kind = self.plan.enter("put", record.id)
        head = self._base.put_record(record, collection=collection, expect=expect, options=options)
        self.plan.leave("put", record.id, kind)
        return head

    def get_record(self, id: str, *, collection: Collection[Any], options: Options = NONE) -> Record:
        """Return a record, or fail."""
        self.plan.leave("get", id, self.plan.enter("get", id))
        return self._base.get_record(id, collection=collection, options=options)

    def delete_record(
        self, id: str, *, collection: Collection[Any], expect: Expect = ANY, options: Options = NONE
    ) -> bool:
        """Remove a record, or fail before or after."""
        kind = self.plan.enter("delete", id)
        deleted = self._base.delete_record(id, collection=collection, expect=expect, options=options)
        self.plan.leave("delete", id, kind)
        return deleted

    def scan(
        self, query: StoreQuery, *, collection: Collection[Any], bodies: bool = False, options: Options = NONE
    ) -> Iterator[Record]:
        """Answer a query, or fail."""
        self.plan.leave("scan", collection.name, self.plan.enter("scan", collection.name))
        return self._base.scan(query, collection=collection, bodies=bodies, options=options)
