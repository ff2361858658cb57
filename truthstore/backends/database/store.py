"""A store in a SQL database: SQLite, PostgreSQL, MariaDB or MySQL, through SQLAlchemy Core.

A table per collection holds a row per item, with a real column for each declared field and the body as bytes. The server
holds the index, so every operation is one statement or one transaction, whatever the number of items.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any, ClassVar, Final, Literal, TypeVar, overload

from sqlalchemy import inspect

from truthstore.backends.database.config import DatabaseConfig, PoolingConfig
from truthstore.backends.database.engine import PoolMetrics, execute, is_memory
from truthstore.backends.database.failures import AmbiguousError, doubtful
from truthstore.backends.database.fill import fill_fields, fill_rows, fill_words, refill
from truthstore.backends.database.placing import place_rows, settled
from truthstore.backends.database.pool import Database
from truthstore.backends.database.rows import Rows
from truthstore.backends.database.schema import (
    Tables,
    checks_stand_aside,
    define,
    defined,
    listed_names,
    places_at_once,
    table_name,
)
from truthstore.errors import (
    StoreBulkError,
    StoreConfigError,
    StoreError,
    StoreNotFoundError,
    StoreReadError,
    StoreWriteError,
)
from truthstore.items.results import RESULTS
from truthstore.model.digest import Digest
from truthstore.model.query import EVERYTHING, TIME_ALIAS
from truthstore.model.record import ANY, NONE, Change, Condition, Expect, Listed, Options, Record
from truthstore.storage.sql.compile import Statement, aggregate_statement, condition, partials
from truthstore.storage.sql.dialect import MYSQL, POSTGRESQL, SQLITE
from truthstore.storage.sql.paging import LISTED, PAGE, pages
from truthstore.store.config import configure
from truthstore.store.records import rows_collection, series_of
from truthstore.store.store import BaseStore

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from truthstore.backends.database.projected import ProjectedRows
    from truthstore.items.results import ValidationResult
    from truthstore.model.aggregate import Aggregation, Row
    from truthstore.model.collection import Collection
    from truthstore.model.query import BoundQuery, StoreQuery
    from truthstore.storage.sql.compile import Source
    from truthstore.store.health import Health

__all__ = ["DatabaseConfig", "DatabaseStore", "PoolMetrics", "PoolingConfig"]

T = TypeVar("T")
U = TypeVar("U")

DIALECTS: Final = {dialect.kind: dialect for dialect in (SQLITE, POSTGRESQL, MYSQL)}
# SQLite cannot add beyond 64 bits, PostgreSQL not beyond the greatest float; Python can.
TOO_LARGE: Final = ("integer overflow", "out of range")
LACKING: Final = 1
"""The place in the heads of rows that says whether an item lacks its rows."""


class DatabaseStore(BaseStore[T]):
    """A store in a SQL database. Any number of threads, processes and machines may use it at once.

    Args:
        config: the options, or
        options: the same as keywords.
        collection: what the public operations act on.

    Raises:
        StoreConfigError: options that make no sense, or a driver that is not installed.
        TypeError: unknown options.
    """

    name: ClassVar[str] = "database"

    @overload
    def __init__(
        self: DatabaseStore[ValidationResult],
        config: DatabaseConfig | None = ...,
        *,
        collection: Collection[ValidationResult] = ...,
        **options: Any,
    ) -> None: ...
    @overload
    def __init__(self, config: DatabaseConfig | None = ..., *, collection: Collection[T], **options: Any) -> None: ...
    def __init__(
        self, config: DatabaseConfig | None = None, *, collection: Collection[Any] = RESULTS, **options: Any
    ) -> None:
        super().__init__(collection)
        self._settings = configure(DatabaseConfig, config, options, "DatabaseStore")
        self.encoding = self._settings.serialization_format
        self.aliases = self._settings.aliases
        self._database = Database(self._settings)

    def __repr__(self) -> str:
        return f"DatabaseStore({self._database.shown!r}, {self._collection.name})"

    @property
    def identity(self) -> str:
        """The URL of the database, with the path of a file made absolute, the namespace and the table prefix."""
        url, settings = self._database.url, self._settings
        if is_memory(url):
            return ""
        path = self._database.path
        place = self._database.shown if path is None else f"sqlite:///{path}"
        return f"{place} {settings.space!r} {settings.table_prefix}"

    def initialize(self) -> None:
        """Connect, and make the tables if they are not there."""
        super().initialize()
        self._rows(self._collection)

    def _rows(self, collection: Collection[Any]) -> Rows:
        """Return the rows of a collection, whose tables are made at the first use."""
        if self._lifecycle.closed:
            self._check()
        key = (collection.name, collection.fingerprint)
        database = self._database
        database.follow_file()
        rows = database.rows.get(key)
        if rows is None:
            with database.lock:
                rows = database.rows.get(key) or self._prepare(collection)
                database.rows[key] = rows
        return rows

    def _prepare(self, collection: Collection[Any]) -> Rows:
        settings = self._settings
        prefix = settings.table_prefix
        if settings.create_tables:
            self._database.make_folder()
        aside = self._database.read(lambda connection: checks_stand_aside(connection, prefix))
        at_once = self._database.read(lambda connection: places_at_once(connection, collection, prefix, aside=aside))
        tables = Tables(collection, prefix, DIALECTS[self._database.kind], aside=aside, at_once=at_once)
        definition = self._database.read(lambda connection: defined(connection, tables, prefix))
        if definition is None:
            if not settings.create_tables:
                raise StoreConfigError(
                    f"{self._database.shown} has no tables for these fields of {collection.name}, and create_tables is "
                    "off: open it once with create_tables=True",
                    backend=self.name,
                    collection=collection.name,
                )
            definition = self._database.prepare(lambda connection: define(connection, tables, prefix))
        return Rows(tables, definition, settings.space)

    def put_record(
        self, record: Record, *, collection: Collection[Any], expect: Expect = ANY, options: Options = NONE
    ) -> Record:
        """Store a record, in one transaction; a new one by one statement where the database can."""
        rows = self._rows(collection)
        database = self._database
        doubt: list[bool] = []
        try:
            created = isinstance(expect, Condition) and database.write(
                lambda connection: rows.create(connection, record),
                lambda: doubt.append(True),
                alone=database.kind == "postgresql",
            )
            refused = {} if created else self._write(rows, [record], expect, doubt)
        except AmbiguousError as error:
            raise rows.doubtful(record.id) from error
        except StoreWriteError as error:
            raise (error if error.store_unavailable else rows.not_taken(record.id, error)) from error.__cause__
        for conflict in refused.values():
            raise conflict
        if self._lifecycle.subscribers:
            self._announce([Change.of(collection.name, record)])
        return record.head()

    def _write(self, rows: Rows, records: Sequence[Record], expect: Expect, doubt: list[bool]) -> dict[str, StoreError]:
        """Write records with different ids in one transaction; return the errors of those that were refused."""
        return self._database.write(
            lambda connection: rows.write(connection, records, expect, in_doubt=bool(doubt)), lambda: doubt.append(True)
        )

    def put_records(
        self, records: Sequence[Record], *, collection: Collection[Any], expect: Expect = ANY, options: Options = NONE
    ) -> list[Record]:
        """Store records by bulk statements, in one transaction; those with an id twice in a further one."""
        rows = self._rows(collection)
        failed: dict[str, StoreError] = {}
        kept: list[Record] = []
        try:
            for batch in _batches(records):
                try:
                    refused = self._write_batch(rows, batch, expect)
                except StoreError as error:
                    if not kept and not failed:
                        raise
                    refused = {record.id: error for record in batch}
                failed.update(refused)
                kept.extend(record for record in batch if record.id not in refused)
        finally:
            if kept and self._lifecycle.subscribers:
                self._announce([Change.of(collection.name, record) for record in kept])
        if failed:
            raise StoreBulkError([r.id for r in kept], failed, backend=self.name, collection=collection.name)
        return [record.head() for record in records]

    def _write_batch(self, rows: Rows, records: Sequence[Record], expect: Expect) -> dict[str, StoreError]:
        """Write records as `_write` does; halve them until one that the database does not take costs no other."""
        try:
            return self._write(rows, records, expect, [])
        except AmbiguousError:
            return {record.id: rows.doubtful(record.id) for record in records}
        except StoreError as error:
            if error.store_unavailable:
                raise
            if len(records) == 1:
                return {records[0].id: rows.not_taken(records[0].id, error)}
        refused: dict[str, StoreError] = {}
        middle = len(records) // 2
        for half in (records[:middle], records[middle:]):
            try:
                refused.update(self._write_batch(rows, half, expect))
            except StoreError as error:
                refused.update({record.id: error for record in half})
        return refused

    def delete_record(
        self, id: str, *, collection: Collection[Any], expect: Expect = ANY, options: Options = NONE
    ) -> bool:
        """Remove a record."""
        return bool(self._delete([id], collection, expect))

    def delete_records(self, ids: Sequence[str], *, collection: Collection[Any], options: Options = NONE) -> list[str]:
        """Remove many records in one transaction."""
        return self._delete(list(dict.fromkeys(ids)), collection, ANY)

    def _delete(self, ids: Sequence[str], collection: Collection[Any], expect: Expect) -> list[str]:
        rows = self._rows(collection)
        # The ids that an attempt found and removed count even if a later one finds it gone: the commit was in doubt.
        attempted: set[str] = set()
        doubtful: set[str] = set()

        def work(connection: Connection) -> tuple[list[str], dict[str, StoreError]]:
            live, refused = rows.delete(connection, ids, expect, doubtful)
            attempted.update(live)
            return [id for id in ids if id in live or id in doubtful], refused

        try:
            deleted, refused = self._database.write(work, lambda: doubtful.update(attempted))
        except AmbiguousError as error:
            raise rows.doubtful(*ids) from error
        if deleted and self._lifecycle.subscribers:
            self._announce([Change(collection.name, id, None) for id in deleted])
        for conflict in refused.values():
            raise conflict
        return deleted

    def get_record(self, id: str, *, collection: Collection[Any], options: Options = NONE) -> Record:
        """Return a record with its body: one SELECT."""
        return self._one(id, collection, "get")

    def head_record(self, id: str, *, collection: Collection[Any], options: Options = NONE) -> Record:
        """Return the head of a record: one SELECT."""
        return self._one(id, collection, "head")

    def _one(self, id: str, collection: Collection[Any], statement: Literal["get", "head"]) -> Record:
        rows = self._rows(collection)
        sql = rows.get if statement == "get" else rows.head
        row = self._database.read(lambda connection: execute(connection, sql, rows.at(id)).first())
        if row is None:
            raise StoreNotFoundError(collection.name, id, backend=self.name)
        return rows.record(row)

    def get_records(
        self, ids: Sequence[str], *, collection: Collection[Any], options: Options = NONE
    ) -> dict[str, Record]:
        """Return the records that exist among these ids: one SELECT for a thousand."""
        query = EVERYTHING.replace(ids=ids, include_deleted=True, order_by="stored_at")
        found = {record.id: record for record in self.scan(query, collection=collection, bodies=True)}
        return {id: found[id] for id in ids if id in found}

    def scan(
        self, query: StoreQuery, *, collection: Collection[Any], bodies: bool = False, options: Options = NONE
    ) -> Iterator[Record]:
        """Return the records that a query finds, a page of 1,000 at a time, each one SELECT."""
        if self._is_absent(collection):
            return iter(())
        bound, rows = self._ready(query, collection)
        columns = rows.whole if bodies else rows.heads
        return (rows.record(row) for page in pages(bound, rows, columns, self._all) for row in page)

    def _is_absent(self, collection: Collection[Any]) -> bool:
        """Return whether nobody kept anything in a collection of the library's own, for which this user may not make tables."""
        if collection.is_users:
            return False
        try:
            self._rows(collection)
        except (StoreConfigError, StoreWriteError):
            name = table_name(self._settings.table_prefix, collection.name)
            if self._database.read(lambda connection: inspect(connection).has_table(name)):
                raise
            return True
        return False

    def _all(self, statement: Statement) -> list[Any]:
        return list(self._database.read(lambda connection: execute(connection, *statement).all()))

    def scan_ids(self, query: StoreQuery, *, collection: Collection[Any], options: Options = NONE) -> list[str]:
        """Return the ids that a query finds, without the rest of their rows."""
        bound, rows = self._ready(query, collection)
        return [row[0] for page in pages(bound, rows, rows.names["id"], self._all) for row in page]

    def digest_records(self, prefixes: Sequence[str], *, collection: Collection[Any]) -> dict[str, Digest]:
        """Compute digests in SQL, where the database can; a file is near enough."""
        if not self._is_absent(collection) and (statement := self._rows(collection).digests(prefixes)) is not None:
            return {place: Digest(int(count), int(total)) for place, count, total in self._all(statement)}
        return super().digest_records(prefixes, collection=collection)

    def revision_records(self, prefixes: Sequence[str], *, collection: Collection[Any]) -> dict[str, str]:
        """Return ids and revisions, without the rest of their rows."""
        if self._is_absent(collection):
            return {}
        found = self._all(self._rows(collection).revisions(prefixes))
        return {id: revision for id, revision in found}  # noqa: C416  # rows of SQLAlchemy are no pairs to type checkers

    def scan_revisions(
        self, query: StoreQuery, *, collection: Collection[Any], options: Options = NONE
    ) -> Iterator[Listed]:
        """Return ids, revisions and sizes, 10,000 with one SELECT."""
        if self._is_absent(collection):
            return iter(())
        bound, rows = self._ready(query, collection)
        columns = ", ".join(rows.dialect.quoted(name) for name in Listed._fields)
        return (Listed(*row) for page in pages(bound, rows, columns, self._all, LISTED) for row in page)

    def collection_names(self) -> frozenset[str]:
        """Return the names of the collections that hold something in this namespace: a SELECT for each that has tables."""
        self._check()
        prefix, space = self._settings.table_prefix, self._settings.space
        return self._database.read(lambda connection: listed_names(connection, prefix, space))

    def count_records(self, query: StoreQuery, *, collection: Collection[Any], options: Options = NONE) -> int:
        """Return how many records fulfil the conditions of a query."""
        bound, rows = self._ready(query, collection)
        where, parameters = condition(bound, rows)
        (row,) = self._all(Statement(f"SELECT count(*) FROM {rows.name} WHERE {where}", parameters))
        return int(row[0])

    def aggregate_records(
        self, query: StoreQuery, aggregation: Aggregation, *, collection: Collection[Any], options: Options = NONE
    ) -> list[Row]:
        """Compute figures in SQL."""
        bound, rows = self._ready(query, collection)
        try:
            return self._aggregate(bound, aggregation, rows)
        except OverflowError:
            return super().aggregate_records(query, aggregation, collection=collection, options=options)

    def _aggregate(
        self,
        bound: BoundQuery,
        aggregation: Aggregation,
        source: Source,
        read: Callable[[Statement], list[Any]] | None = None,
    ) -> list[Row]:
        """Compute figures in SQL, which is run by `_all` or another function.

        Raises:
            OverflowError: the database cannot.
        """
        try:
            groups = (read or self._all)(aggregate_statement(bound, aggregation, source))
        except StoreReadError as error:
            if any(text in str(error) for text in TOO_LARGE):
                raise OverflowError from error
            raise
        return aggregation.rows(partials(aggregation, bound, source, groups))

    # The rows of items.

    def scan_rows(self, query: StoreQuery, *, collection: Collection[Any], options: Options = NONE) -> Iterator[Record]:
        """Return the rows that a query finds, a page of 1,000 at a time, each one SELECT."""
        bound, rows, source = self._bound_rows(query, collection)

        def read(statement: Statement) -> list[Any]:
            return self._read_rows(rows, source.headed(statement))

        return (source.head(row) for page in pages(bound, source, source.heads, read) for row in page)

    def _read_rows(self, rows: Rows, statement: Statement) -> list[Any]:
        """Return the heads of rows that a statement finds; where items may lack theirs, it is run again after making them."""
        found = self._all(statement)
        if not found or found[0][LACKING]:
            found = settled(self._database, rows, lambda connection: list(execute(connection, *statement)))
        return [row for row in found if row[0] is not None]

    def aggregate_rows(
        self, query: StoreQuery, aggregation: Aggregation, *, collection: Collection[Any], options: Options = NONE
    ) -> list[Row]:
        """Compute figures over rows in SQL."""
        bound, rows, source = self._bound_rows(query, collection)

        def read(statement: Statement) -> list[Any]:
            return settled(self._database, rows, lambda connection: list(execute(connection, *statement)))

        try:
            return self._aggregate(bound, aggregation, source, read)
        except OverflowError:
            return super().aggregate_rows(query, aggregation, collection=collection, options=options)

    def latest_rows(self, query: StoreQuery, *, collection: Collection[Any], options: Options = NONE) -> list[Record]:
        """Return the newest row of each series."""
        return self.newest_rows(query, collection=collection, options=options)

    def newest_rows(
        self,
        query: StoreQuery,
        keep: StoreQuery = EVERYTHING,
        *,
        collection: Collection[Any],
        series: Iterable[tuple[Any, ...]] | None = None,
        options: Options = NONE,
    ) -> list[Record]:
        """Return those of the newest rows that fulfil another query; of many given series, a page at a time."""
        of = series_of(collection)
        bound, rows, source = self._bound_rows(query.replace(order_by=TIME_ALIAS), collection)
        kept = keep.bind(bound.collection)
        given = None if series is None else list(dict.fromkeys(series))
        parts = [None] if given is None else [given[n : n + PAGE] for n in range(0, len(given), PAGE)]
        found = [row for part in parts for row in self._read_rows(rows, source.newest(bound, kept, part))]
        return sorted(map(source.head, found), key=of)

    def _bound_rows(self, query: StoreQuery, collection: Collection[Any]) -> tuple[BoundQuery, Rows, ProjectedRows]:
        """Return a query as the rows of a collection mean it, their items, and the rows."""
        bound = query.bind(rows_collection(collection))
        rows = self._rows(collection)
        assert rows.projected is not None
        return bound, rows, rows.projected

    # Fields that were declared later, and words.

    def _ready(self, query: StoreQuery, collection: Collection[Any]) -> tuple[BoundQuery, Rows]:
        """Return a query as the collection means it and the rows, after filling in what it needs."""
        bound = query.bind(collection)
        rows = self._rows(collection)
        if rows.definition.lacking:
            fill_fields(self._database, rows)
        if bound.words and rows.tables.words:
            fill_words(self._database, rows)
        return bound, rows

    def maintain(self, budget: float | None = None) -> dict[str, int]:
        """On SQLite, index the words and the rows of what was saved since somebody asked for them last."""
        done = super().maintain(budget)
        rows = self._rows(self._collection)
        if rows.tables.words:
            done["words_indexed"] = fill_words(self._database, rows, budget)
        if rows.projected is not None and rows.projected.waiting:
            done["rows_indexed"] = place_rows(self._database, rows, budget)
        return done

    def rebuild_index(self) -> int:
        """Fill the declared fields and words of every item from its body, and return how many items there are."""
        super().rebuild_index()
        rows = self._rows(self._collection)
        refill(self._database, rows)
        if rows.projected is not None:
            fill_rows(self._database, rows, "1 = 1")
        return self.count_records(EVERYTHING, collection=self._collection)

    @property
    def is_healthy(self) -> bool:
        """Say whether the database answers; without `enable_health_checks`, whether it did when last asked."""
        if self._lifecycle.closed:
            return False
        if self._settings.connections.enable_health_checks:
            self._database.follow_file()
            try:
                self._all(Statement("SELECT 1"))
            except StoreError:
                return False
        return self._database.healthy

    @property
    def pool_metrics(self) -> PoolMetrics:
        """Figures of this process's connections."""
        return self._database.metrics()

    def get_pool_status(self) -> dict[str, Any]:
        """Return the same as a dict, with the URL and whether the database could be reached last."""
        return {"url": self._database.shown, "healthy": self._database.healthy, **asdict(self._database.metrics())}

    def recycle_connections(self) -> int:
        """Close idle connections, so that new ones are opened; return how many there were."""
        self._check()
        return self._database.recycle()

    def execute_with_retry(self, operation: Callable[[Connection], U]) -> U:
        """Run statements of your own in a transaction, and all of them again after a transient failure.

        Args:
            operation: takes a SQLAlchemy connection. It must be safe to repeat.

        Raises:
            StoreConnectionError: the database cannot be reached.
            StoreWriteError: it failed; if the connection was lost during COMMIT, it may have happened.
        """
        self._check()
        self._database.follow_file()
        try:
            return self._database.write(operation)
        except AmbiguousError as error:
            raise doubtful("the transaction may or may not have been committed") from error

    def health_check(self) -> Health:
        """Say whether the store can be used, and if not, why and what to do, without a password."""
        return replace(super().health_check(), details=self.get_pool_status())

    def stats(self) -> dict[str, Any]:
        """Return figures about the store, and the labels of its configuration."""
        return {**super().stats(), "metadata": dict(self._settings.metadata)}

    def close(self) -> None:
        """Close the connections of this process."""
        super().close()
        self._database.close()


def _batches(records: Sequence[Record]) -> Iterator[list[Record]]:
    """Return records in order, in batches in which no id occurs twice."""
    batch: dict[str, Record] = {}
    for record in records:
        if record.id in batch:
            yield list(batch.values())
            batch = {}
        batch[record.id] = record
    if batch:
        yield list(batch.values())
