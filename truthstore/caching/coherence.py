"""Who loads or writes what at this moment, and what was announced meanwhile.

An answer may be cached only if nothing was announced of its id between the moment it was asked for and the moment it is
kept. Loads of one id at one time are one load, whose answer all share.
"""

from __future__ import annotations

import copy
import threading
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

from truthstore.runtime.forks import Rank, watch_forks

if TYPE_CHECKING:
    from truthstore.model.record import Change, Record, Revision

__all__ = ["Coherence", "Flight", "Key", "Session"]

Key: TypeAlias = tuple[str, str]
"""Name of the collection, and id."""


class Flight:
    """One load, and those that wait for it."""

    __slots__ = ("_done", "error", "is_stale", "record")

    def __init__(self) -> None:
        self.is_stale = False
        self.record: Record | None = None
        self.error: BaseException | None = None
        self._done = threading.Event()

    def land(self) -> None:
        """The load is over: `record` or `error` is set, or it was given up."""
        self._done.set()

    def wait(self) -> Record | None:
        """What the load found; None if it was given up. Raises its error, a copy for each that waits."""
        self._done.wait()
        if isinstance(self.error, Exception):
            raise _copied(self.error) from self.error
        return self.record


class Session:
    """A write or a bulk read, and what was announced while it went on."""

    __slots__ = ("announced", "is_stale")

    def __init__(self) -> None:
        self.is_stale = False
        self.announced: dict[Key, list[Revision | None]] = {}


class Coherence:
    """Keeps the account of loads and writes of one store.

    Args:
        forget: removes keys from the cache.
    """

    def __init__(self, forget: Callable[[Sequence[Key]], None]) -> None:
        self._forget = forget
        self._anew()
        watch_forks(self, Rank.COHERENCE)

    def _anew(self) -> None:
        self.lock = threading.Lock()
        self._flights: dict[Key, Flight] = {}
        self._sessions: set[Session] = set()

    def board(self, key: Key) -> tuple[Flight, bool]:
        """The load of a key that is on its way, and whether it is the caller's own: then the caller must load."""
        with self.lock:
            flight = self._flights.get(key)
            if flight is not None:
                return flight, False
            flight = self._flights[key] = Flight()
            return flight, True

    def leave(self, key: Key, flight: Flight) -> None:
        """A load is over; its answer goes to those that wait."""
        with self.lock:
            if self._flights.get(key) is flight:
                del self._flights[key]
        flight.land()

    def begin(self) -> Session:
        """A write or a bulk read begins."""
        session = Session()
        with self.lock:
            self._sessions.add(session)
        return session

    def end(self, session: Session) -> None:
        """It is over."""
        with self.lock:
            self._sessions.discard(session)

    def hear(self, changes: Sequence[Change]) -> None:
        """What the backend announces: called in the writer's thread, when the write is durable."""
        self.changed([((change.collection, change.id), change.revision) for change in changes])

    def changed(self, changes: Iterable[tuple[Key, Revision | None]]) -> None:
        """Ends loads of these keys and removes what is cached of them."""
        keys: list[Key] = []
        flights = self._flights
        with self.lock:
            for key, revision in changes:
                keys.append(key)
                if flights and (flight := flights.pop(key, None)) is not None:
                    flight.is_stale = True
                for session in self._sessions:
                    session.announced.setdefault(key, []).append(revision)
        self._forget(keys)

    def cleared(self) -> None:
        """Everything is about to leave the cache: what was asked for before now must not be kept afterwards."""
        with self.lock:
            for flight in self._flights.values():
                flight.is_stale = True
            self._flights.clear()
            for session in self._sessions:
                session.is_stale = True

    def saw(self, key: Key, revision: Revision, *, by: Flight | Session | None = None) -> None:
        """Somebody is told of a revision that may not have been announced yet; called with the lock held.

        Whoever has written or read an earlier one must not keep it now, and nobody may join a load that began earlier:
        that somebody would go back in time.

        Args:
            key: whose revision.
            revision: the revision.
            by: the load or bulk read that found it.
        """
        flight = self._flights.get(key)
        if flight is not None and flight is not by:
            flight.is_stale = True
            del self._flights[key]
        for session in self._sessions:
            if session is by:
                continue
            announced = session.announced.setdefault(key, [])
            if revision not in announced:
                announced.append(revision)

    def before_fork(self) -> None:
        """Waits until no thread is in the middle of a change."""
        self.lock.acquire()

    def after_fork(self, *, child: bool) -> None:
        """In a child nobody is left who loads or writes."""
        if child:
            self._anew()
        else:
            self.lock.release()


def _copied(error: Exception) -> Exception:
    try:
        copied = copy.copy(error)
    except Exception:  # noqa: BLE001  # a class whose constructor wants more than its arguments
        return error
    return copied if isinstance(copied, Exception) else error


def untouched(session: Session, key: Key, revision: Any) -> bool:
    """Whether nothing was announced but this revision, which the session itself has written or read."""
    announced = session.announced.get(key)
    return not session.is_stale and (not announced or announced == [revision])
