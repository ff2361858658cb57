"""The journal of a store's recorders: runs under way, check by check, and results that wait for the store.

It is a durable queue. A run has an entry under `runs`, which says whose it is, and one for each check under `checks`. Its end
replaces them, in one transaction, by the result, which the outbox of batching delivers: so a run is stored once,
whoever dies at whatever moment. What a dead process left is ended in the same way by the next that looks.
"""

from __future__ import annotations

import os
import secrets
from typing import TYPE_CHECKING, Any, Final

import msgspec

from truthstore.batching.base import BatchConfig
from truthstore.batching.outbox import Outbox, queue_path
from truthstore.batching.store import BatchedStore
from truthstore.items.checks import VALIDATOR_ERROR, ResultStatus, ValidatorResult
from truthstore.model.meta_codec import pack, unpack
from truthstore.model.record import Meta, Record
from truthstore.runtime.presence import claim, release

if TYPE_CHECKING:
    from truthstore.items.results import ValidationResult
    from truthstore.model.collection import Collection
    from truthstore.store.store import BaseStore

__all__ = ["Journal", "ended"]

FOLDER: Final = os.path.join(".truthstore", "recording")
RUN_CHECK: Final = "run"
"""Name of the check that a run has if it did not come to its end."""


def ended(message: str, **details: Any) -> ValidatorResult:
    """Return the check that says why a run did not come to its end."""
    return ValidatorResult(RUN_CHECK, success=False, issue_type=VALIDATOR_ERROR, message=message, details=details)


class Journal:
    """What the recorders of a store wrote down, in one file.

    Args:
        store: the store. Layers of batching outside are passed by: this is one, and keeps what they would lose.
        path: the file; by default one named after the store in ``.truthstore/recording`` below the current folder.

    Raises:
        StoreConfigError: nothing names the file.
    """

    def __init__(self, store: BaseStore[Any], path: str | os.PathLike[str] | None = None) -> None:
        while isinstance(store, BatchedStore):
            store = store.base
        self._store = store
        self._collection: Collection[Any] = store._collection  # noqa: SLF001  # pyright: ignore[reportPrivateUsage]  # as layers do
        # A killed process loses nothing; waiting for the disk at every check would slow those that record thousands.
        config = BatchConfig(
            durable=True, path=path or queue_path(store, FOLDER), flush_interval_seconds=None, durability="os"
        )
        self._outbox = Outbox(store, self._collection, config, lambda _: None)
        self._queue = self._outbox.queue
        self._topic = self._outbox.topic(self._collection)
        self._runs, self._checks = f"{self._topic}/runs", f"{self._topic}/checks"
        self._notes = self._collection.derived("journal")
        self._presence = f"{self._queue.path}.runs" if self._queue.path else None

    def begin(self, run: ValidationResult) -> int:
        """Note a run, and return its place, which is held until `end` or the death of this process."""
        place = secrets.randbits(62)
        if self._presence:
            claim(self._presence, place)  # first: an entry whose place nobody holds is that of a dead process
        try:
            self._queue.append(self._runs, [(run.run_id, self._sealed(run.run_id, {**run.to_dict(), "place": place}))])
        except BaseException:
            self.leave(place)
            raise
        return place

    def add(self, run_id: str, check: ValidatorResult) -> int:
        """Note a check, and return its number."""
        (number,) = self._queue.append(self._checks, [(run_id, self._sealed(run_id, check.to_dict()))])
        return number

    def _sealed(self, run_id: str, note: dict[str, Any]) -> bytes:
        """Return a note as it lies in the file: as JSON, or encrypted, where the store is."""
        body = msgspec.json.encode(note)
        plain = Record(Meta(run_id, size=len(body)), body)
        sealed = self._store.sealed(plain, self._notes)
        return body if sealed is plain else pack(sealed)

    def _opened(self, payload: bytes) -> dict[str, Any]:
        if payload[:1] != b"{":
            payload = self._store.opened(unpack(payload), self._notes).body or b""
        note: dict[str, Any] = msgspec.json.decode(payload)
        return note

    def checks(self, run_id: str) -> dict[int, ValidatorResult]:
        """Return the checks of a run that were noted, by number."""
        return {
            entry.number: ValidatorResult.from_dict(self._opened(entry.payload))
            for entry in self._queue.pending(self._checks, key=run_id)
        }

    def end(self, result: ValidationResult) -> None:
        """Put the result of a run in the place of its notes."""
        self._replace(result, queued_only=False)

    def leave(self, place: int) -> None:
        """Give up the place of a run: if it was not ended, it is now that of a dead process."""
        if self._presence:
            release(self._presence, place)

    def _replace(self, result: ValidationResult, *, queued_only: bool) -> None:
        record = self._collection.encode(result, self._store.encoding, indent=self._store.indent)
        topics = (self._runs, self._checks)
        payload = self._outbox.packed(record, self._collection)
        self._queue.replace(topics, record.id, self._topic, payload, queued_only=queued_only)

    def recover(self) -> None:
        """End the runs of dead processes: each is an error, with the checks that were noted.

        Raises:
            Exception: notes cannot be read or stored: the first such error, when the other runs were ended.
        """
        errors: list[Exception] = []
        for entry in self._queue.pending(self._runs) if self._presence else ():
            try:
                self._end_if_dead(self._opened(entry.payload))
            except Exception as error:  # noqa: BLE001  # it must not hold up the others
                errors.append(error)
        if errors:
            raise errors[0]

    def _end_if_dead(self, fields: dict[str, Any]) -> None:
        place = fields.pop("place")
        if self._presence is None or not claim(self._presence, place):
            return
        try:
            run = self._collection.type.from_dict(fields)
            run.results = [
                *self.checks(run.run_id).values(),
                ended("the process that recorded this run ended before the run did"),
            ]
            run.status = ResultStatus.ERROR
            run.metadata["unfinished"] = True
            self._replace(run, queued_only=True)  # another process may have been faster
        finally:
            release(self._presence, place)

    def put(self, result: ValidationResult) -> None:
        """Queue a result."""
        record = self._collection.encode(result, self._store.encoding, indent=self._store.indent)
        self._outbox.put((record,), self._collection)

    def close(self) -> None:
        """Deliver what waits, and close the file.

        Raises:
            StoreWriteError: something was not stored: it waits in the file, or was rejected.
        """
        try:
            self._outbox.flush()
        finally:
            self._outbox.close()
