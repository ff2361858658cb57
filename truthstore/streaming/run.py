"""A run that is written check by check, in parts.

The run itself is stored first, as an error that says that it is not finished, and last with its figures. Between the
two, each part is created under an id that follows from the run and the part's number: a writer that goes on after a
crash finds what is there by counting, and of two writers of one run the second fails. A part without checks is the last
one: it keeps another writer from adding to a run that is finished.
"""

from __future__ import annotations

import secrets
import sqlite3
import threading
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import msgspec

from truthstore.checks.compare import run_of
from truthstore.checks.notes import add_note, all_notes
from truthstore.errors import StoreConflictError, StoreKeyError, StoreQueryError, StoreWriteError, shown
from truthstore.items.check_rows import check_ids, require_checks
from truthstore.items.checks import VALIDATOR_ERROR, ResultStatistics, ResultStatus, ValidatorResult, status_of
from truthstore.items.parts import STREAM_TAG, Part, part_id, parts_of
from truthstore.model.encoding import Codec
from truthstore.model.fields import MAX_ID, check_id
from truthstore.model.record import ABSENT, NONE, Options, Record
from truthstore.model.values import storable_mapping
from truthstore.streaming.reading import PARTS, kept_parts

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self

    from truthstore.model.collection import Collection
    from truthstore.streaming.target import Target

__all__ = ["OpenRun"]

MOST_CHECKS: Final = 1_000
MOST_BYTES: Final = 1 << 20
UNFINISHED: Final = ValidatorResult(
    "run", success=False, issue_type=VALIDATOR_ERROR, message="this run is not finished: open it again to go on"
)
OPEN: Final = {"complete": False, "unfinished": True}
"""Metadata of a run that is not finished: nothing is fixed by it."""
FIGURES: Final = [field.name for field in msgspec.structs.fields(ResultStatistics)]

_codec: Final = Codec(ValidatorResult)


class OpenRun:
    """A run under way, larger than memory: a context manager, made by `BaseStore.open_run`.

    Attributes:
        run_id: the id of the run.
        resumed: checks that were kept when it was opened: not 0 where a writer before did not finish. Leave out as many.
        count: checks that were added, those among them.
        total_rows: rows of the table, if you know.
        total_columns: its columns.
    """

    def __init__(
        self,
        store: Target,
        collection: Collection[Any],
        run_id: str,
        data_asset: str,
        *,
        run_time: datetime | None = None,
        tags: Mapping[str, str] | None = None,
        metadata: Mapping[str, Any] | None = None,
        suite_name: str | None = None,
        interval_start: datetime | None = None,
        interval_end: datetime | None = None,
        options: Options = NONE,
    ) -> None:
        require_checks(collection)
        self.run_id = check_id(run_id)
        self.resumed = self.count = self.total_rows = self.total_columns = 0
        self._store = store
        self._options = options
        self._collection = collection
        self._parts = parts_of(collection)
        assert collection.rows is not None
        assert self._parts.rows is not None
        if unknown := collection.rows.fields.keys() - self._parts.rows.fields.keys():
            raise StoreQueryError(
                f"the checks of {collection.name} have a field {min(unknown)!r}, which those of a run in parts lack: save "
                "its runs as a whole",
                collection=collection.name,
            )
        self._lock = threading.Lock()
        stream = secrets.token_hex(8)
        if (most := MAX_ID - len(part_id("", stream, 0))) < len(run_id):
            raise StoreKeyError(f"run_id of {len(run_id)} characters: a run in parts has at most {most}")
        run = collection.type(
            run_id=self.run_id,
            run_time=run_time or datetime.now(UTC),
            data_asset=data_asset,
            status=ResultStatus.ERROR,
            results=[UNFINISHED],
            tags={**(tags or {}), STREAM_TAG: stream},
            metadata={**storable_mapping(metadata or {}), **OPEN},
            suite_name=suite_name,
            interval_start=interval_start,
            interval_end=interval_end,
        )
        # As it is read back: what cannot be stored is refused here.
        self._run: Any = collection.decode(collection.encode(run))
        self._revision = ""
        self._statistics = ResultStatistics()
        self._written = 0
        self._checks: list[ValidatorResult] = []
        self._size = 0
        self._sent: tuple[Record, list[ValidatorResult]] | None = None
        self._ids: _Identities | None = None

    def __enter__(self) -> Self:
        if self._revision:
            raise ValueError(f"{self.run_id} was opened already: call open_run again")
        self._ids = _Identities()
        try:
            self._open()
        except BaseException:
            self._close()
            raise
        return self

    def _open(self) -> None:
        try:
            self._revision = self._save(ABSENT)
        except StoreConflictError:
            self._go_on()
        stream = self._run.tags[STREAM_TAG]
        notes = all_notes(self._store, self._collection, [self.run_id])
        if all(note.kind != "streamed" or note.value != stream for note in notes):
            add_note(self._store, self._collection, kind="streamed", check_id=self.run_id, value=stream)

    def _save(self, expect: Any) -> str:
        record = self._collection.encode(self._run, self._store.encoding, indent=self._store.indent)
        stored = self._store.put_record(record, collection=self._collection, expect=expect, options=self._options)
        return stored.revision

    def _go_on(self) -> None:
        """Take up the run where a writer before left it.

        Raises:
            StoreConflictError: there is a run of this id that was finished, or is not kept in parts.
        """
        record = run_of(self._store, self._collection, self.run_id)
        there: Any = self._collection.decode(record)
        stream = there.tags.get(STREAM_TAG)
        if stream is None or PARTS in there.metadata:
            raise StoreConflictError(
                f"{self._collection.name} {shown(self.run_id)} exists already, and is finished: choose another id, or "
                "delete it first",
                collection=self._collection.name,
                identifier=self.run_id,
            )
        if there.data_asset != self._run.data_asset:
            raise StoreConflictError(
                f"{self._collection.name} {shown(self.run_id)} is an unfinished run of {shown(there.data_asset)}, not of "
                f"{shown(self._run.data_asset)}: choose another id",
                collection=self._collection.name,
                identifier=self.run_id,
            )
        self._run, self._revision = there, record.revision
        for part in kept_parts(self._store, self._collection, self.run_id, stream):
            self._kept(part.results)
            for check in part.results:
                self._identities.name(check)
            if not part.results:  # the writer before was about to finish: from now on it fails
                self._revision = self._save(self._revision)
        self.resumed = self.count = self._statistics.total_validators

    @property
    def _identities(self) -> _Identities:
        if self._ids is None:
            raise ValueError(f"{self.run_id} is not open: use it as `with store.open_run(…) as run`")
        return self._ids

    def _kept(self, checks: list[ValidatorResult]) -> None:
        new = ResultStatistics.from_results(checks)
        added = {name: getattr(self._statistics, name) + getattr(new, name) for name in FIGURES}
        self._statistics = ResultStatistics(**added)
        self._written += 1

    def add(self, check: ValidatorResult) -> None:
        """Add the result of a check. It is durable after `flush`, which is called after every 1,000 checks, or 1 MiB.

        Raises:
            TypeError: it is no `ValidatorResult`.
            ValueError: it contradicts itself.
            StoreWriteError: it cannot be stored, or the checks before it could not. It was not added.
            StoreConflictError: another process writes this run.
        """
        if not isinstance(check, ValidatorResult):
            raise TypeError(f"a run holds ValidatorResult items, not {type(check).__name__}")
        status_of(check)  # which raises where it contradicts itself
        body = _codec.encode(check)
        copy = _codec.decode(body)  # the caller may go on with the object
        with self._lock:
            identities = self._identities
            if len(self._checks) >= MOST_CHECKS or (self._checks and self._size + len(body) > MOST_BYTES):
                self._flush()
            self._checks.append(identities.name(copy))
            self._size += len(body)
            self.count += 1

    def flush(self) -> None:
        """Store what was added.

        Raises:
            StoreWriteError: it could not be stored; it is kept, so that this can be tried again.
            StoreConflictError: another process writes this run.
        """
        with self._lock:
            self._flush()

    def _flush(self) -> None:
        while self._sent is not None or self._checks:
            if self._sent is None:
                self._send(self._checks)
                self._checks, self._size = [], 0
            assert self._sent is not None
            record, checks = self._sent
            self._store.put_record(record, collection=self._parts, expect=ABSENT)
            self._kept(checks)
            self._sent = None

    def _send(self, checks: list[ValidatorResult]) -> None:
        """Make the next part, which stays the same record until it is known to be stored: to write it twice is harmless."""
        run = self._run
        part = Part(
            id=part_id(run.run_id, run.tags[STREAM_TAG], self._written),
            run_id=run.run_id,
            stream=run.tags[STREAM_TAG],
            run_time=run.run_time,
            data_asset=run.data_asset,
            results=checks,
            suite_name=run.suite_name,
            tags=run.tags,
            metadata={name: run.metadata[name] for name in ("tool",) if name in run.metadata},
            interval_start=run.interval_start,
            interval_end=run.interval_end,
        )
        self._sent = self._parts.encode(part, self._store.encoding), checks

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            with self._lock:
                self._flush()
                if error is None:
                    self._finish()
        except Exception as second:
            if error is None:
                raise
            error.add_note(f"{self.run_id}: the last checks were not stored: {type(second).__name__}: {second}")
        finally:
            self._close()

    def _close(self) -> None:
        self._identities.close()
        self._ids = None

    def _finish(self) -> None:
        self._send([])
        self._flush()
        run, figures = self._run, self._statistics
        figures.total_rows, figures.total_columns = self.total_rows, self.total_columns
        run.results, run.statistics, run.counted = [], figures, False
        run.status = ResultStatus.of_figures(figures) if figures.total_validators else ResultStatus.ERROR
        run.metadata = {
            **{name: value for name, value in run.metadata.items() if name not in OPEN},
            PARTS: self._written,
        }
        try:
            self._save(self._revision)
        except StoreConflictError as error:
            raise StoreConflictError(
                f"{self._collection.name} {shown(self.run_id)} was changed or deleted while it was written: open it again, "
                "which goes on with what is there",
                collection=self._collection.name,
                identifier=self.run_id,
            ) from error


class _Results:
    """One check, where a result is wanted."""

    def __init__(self, check: ValidatorResult) -> None:
        self.results = [check]


class _Identities:
    """The identities that a run has given, so that equal ones get their ordinals over all parts, as `check_ids` gives them.

    They are in a database of SQLite without a name, which goes to a temporary file where it grows
    (sqlite.org/inmemorydb.html#temp_db).
    """

    def __init__(self) -> None:
        self._database = sqlite3.connect("", isolation_level=None, check_same_thread=False)
        self._database.execute("CREATE TABLE seen (id TEXT PRIMARY KEY, number INTEGER) WITHOUT ROWID")
        self._database.execute("BEGIN")

    def name(self, check: ValidatorResult) -> ValidatorResult:
        """Return a check with the identity that it has in the run.

        Raises:
            StoreWriteError: there is no room for another one.
        """
        try:
            return self._named(check)
        except sqlite3.Error as error:
            self.close()  # those that were given may be lost, so that others would be given twice
            raise StoreWriteError(
                f"the identities of a run need a temporary file: {error}: make room for it, or name a folder in "
                "SQLITE_TMPDIR, and open the run again"
            ) from error

    def _named(self, check: ValidatorResult) -> ValidatorResult:
        (id,) = check_ids(_Results(check))
        if self._is_new(id):
            return check
        (number,) = self._database.execute("SELECT number + 1 FROM seen WHERE id = ?", (id,)).fetchone()
        while not self._is_new(one := f"{id} #{number}"):  # a tool may call a check so itself
            number += 1
        self._database.execute("UPDATE seen SET number = ? WHERE id = ?", (number, id))
        return msgspec.structs.replace(check, check_id=one)

    def _is_new(self, id: str) -> bool:
        return self._database.execute("INSERT OR IGNORE INTO seen VALUES (?, 1)", (id,)).rowcount > 0

    def close(self) -> None:
        """Remove them."""
        self._database.close()
