"""The tables: one per collection with a column per declared field, one for its tags, and the list of what was made.

`truthstore_schema` says which layout the tables of a collection have, and which declarations of its fields are known.
Everything that makes or changes a table does so under one lock of the database, so that processes that start together
do it once. A row's ``shape`` is a set of bits, one per declaration: those whose fields are filled in this row, and those
of rows (see `Projection`) whose rows of this item are there.
"""

from __future__ import annotations

import hashlib
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import sqlalchemy as sa

from truthstore.backends.database.types import BODY, COUNTER, FIELD_TYPES, LONG, MOMENT, NUMBER, WORDS, Exact
from truthstore.errors import StoreConfigError
from truthstore.storage.sql.compile import INDEXED

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from truthstore.model.collection import Collection
    from truthstore.model.projection import Projection
    from truthstore.storage.sql.dialect import Dialect

__all__ = ["LAYOUT", "Definition", "Index", "Tables", "define", "defined", "listed_names"]

LAYOUT: Final = 2
"""The layout of the tables that this version makes and reads."""
OWN_COLUMNS: Final = frozenset({"item", "namespace", "key", "extra", "words", "shape", "body"})
ROW_COLUMNS: Final = frozenset({"item", "number", "namespace", "series"})
PLACED: Final = "placed$"
"""On SQLite, says that a row is in the indexes of its series and lookups. No field can be called so."""
CHECKS: Final = "checks"
ROWS: Final = "r"
"""Begins the fingerprint of rows; no other begins so."""
MAX_NAME: Final = 60
MAX_DEFINITIONS: Final = 60
MAX_LISTED: Final = 8  # declarations whose combinations a condition lists
MAX_INDEXED_STRINGS: Final = 3
LOCK_SECONDS: Final = 60
LOCK: Final = 0x7472757468  # "truth"
OPTIONS: Final[Mapping[str, Any]] = {"mysql_engine": "InnoDB", "mysql_charset": "utf8mb4"}


def shortened(name: str, limit: int = MAX_NAME) -> str:
    """Return a name that every database takes: PostgreSQL cuts at 63 bytes, and would take two for one."""
    if len(name) <= limit:
        return name
    return f"{name[: limit - 9]}_{hashlib.sha256(name.encode()).hexdigest()[:8]}"


def table_name(prefix: str, collection_name: str, *, aside: bool = False) -> str:
    """Return the table of a collection: results lie in ``validations``, others in a table of their own name.

    Args:
        prefix: the names of tables begin with it.
        collection_name: the name of the collection.
        aside: an earlier version gave ``checks`` to a collection of that name, so that the checks of results stand aside.
    """
    if collection_name == "results":
        return f"{prefix}validations"
    name = collection_name.replace(".", "$")
    if name in {"validations", "truthstore_schema", CHECKS} or name.endswith(("_tags", "_text")):
        name += "$"  # it would be taken for a table of ours
    if collection_name == f"results.{CHECKS}":
        name = CHECKS
    if aside and name in {CHECKS, f"{CHECKS}$"}:
        name = f"{CHECKS}$" if name == CHECKS else CHECKS
    return shortened(prefix + name, 50)


def checks_stand_aside(connection: sa.Connection, prefix: str) -> bool:
    """Return whether the table ``checks`` holds the items of a collection of that name."""
    inspector = sa.inspect(connection)
    name = f"{prefix}{CHECKS}"
    return inspector.has_table(name) and any(column["name"] == "body" for column in inspector.get_columns(name))


def places_at_once(connection: sa.Connection, collection: Collection[Any], prefix: str, *, aside: bool) -> bool:
    """Return whether all rows of a collection are in the indexes of their table: an earlier version made it."""
    if collection.rows is None or connection.dialect.name != "sqlite":
        return True
    inspector = sa.inspect(connection)
    name = table_name(prefix, collection.rows.name, aside=aside)
    return inspector.has_table(name) and all(column["name"] != PLACED for column in inspector.get_columns(name))


def placing_index(table: str) -> str:
    """Return the index of the rows of a table that are not in the others yet."""
    return shortened(f"ix_{table}_{PLACED}")


def field_column(name: str) -> str:
    """Return the column of a declared field."""
    return f"{name}$" if name in OWN_COLUMNS else name


def row_column(name: str) -> str:
    """Return the column of a field of a row."""
    return f"{name}$" if name in ROW_COLUMNS else name


def _columns(collection: Collection[Any], named: Callable[[str], str]) -> dict[str, sa.Column[Any]]:
    return {name: sa.Column(named(name), FIELD_TYPES[field.type]) for name, field in collection.fields.items()}


def _ordered(lookup: Sequence[str], time: str | None) -> list[str]:
    """Return the columns of an index: those looked up, and the time that orders what is found."""
    return [*lookup, *([] if time is None or time in lookup else [time])]


class Index:
    """A table whose declared fields get indexes that begin with the namespace.

    Attributes:
        table: the table, as SQLAlchemy sees it.
        fields: the column of each declared field.
        beginnings: for each string field of which an index holds only the first characters, the expression for them.
    """

    def __init__(self, table: sa.Table, fields: Mapping[str, sa.Column[Any]], dialect: Dialect) -> None:
        self.table = table
        self.fields = fields
        self.beginnings: dict[str, str] = {}
        self._dialect = dialect

    def add(self, names: Sequence[str], **options: Any) -> None:
        """Add an index of some fields, of which the last one gives the order, with options of SQLAlchemy's."""
        listed: list[sa.ColumnElement[Any] | sa.Column[Any]] = [self.table.c.namespace]
        strings = 0
        for name in names:
            column = self.fields[name]
            if isinstance(column.type, Exact) and self._dialect.kind != "sqlite":
                strings += 1
                if strings <= MAX_INDEXED_STRINGS:
                    listed.append(self.beginning(name))
            elif self._dialect.kind == "postgresql" and name == names[-1]:
                # Read backwards or forwards, None is the lowest value.
                listed.append(column.desc().nulls_last())
            else:
                listed.append(column)
        sa.Index(shortened(f"ix_{self.table.name}_{'_'.join(names)}"), *listed, **options)

    def beginning(self, field: str) -> sa.ColumnElement[Any]:
        """Return the part of a string column that is in an index."""
        column = self.fields[field]
        start = f"left({self._dialect.quoted(column.name)}, {INDEXED})"
        if self._dialect.kind == "postgresql":
            self.beginnings[field] = start
            return sa.func.left(column, sa.text(str(INDEXED)))
        name = f"{column.name}$start"
        self.beginnings[field] = self._dialect.quoted(name)
        if name not in self.table.c:
            self.table.append_column(sa.Column(name, Exact(INDEXED), sa.Computed(start, persisted=True)))
        return self.table.c[name]


class Tables:
    """The tables of one collection, as SQLAlchemy sees them.

    Attributes:
        main: a row per item.
        tags: a row per tag of an item.
        words: the name of SQLite's full-text index, a virtual table; None elsewhere, and without text fields.
        fields: the column of each declared field, and of ``id``, ``size`` and ``stored_at``.
        beginnings: those of `Index`.
        words_in_row: whether an item's words are a column of its row.
        rows: the table with a row per row of an item, or None.

    Args:
        collection: the collection.
        prefix: the names of tables begin with it.
        dialect: the database.
        aside: see `table_name`.
        at_once: a save puts rows into all indexes of their table.
    """

    def __init__(
        self, collection: Collection[Any], prefix: str, dialect: Dialect, *, aside: bool = False, at_once: bool = True
    ) -> None:
        self.collection = collection
        self.dialect = dialect
        self.words_in_row = bool(collection.text) and dialect.kind != "sqlite"
        metadata = sa.MetaData()
        name = table_name(prefix, collection.name, aside=aside)
        declared = _columns(collection, field_column)
        columns: list[sa.schema.SchemaItem] = [
            sa.Column("item", COUNTER, primary_key=True, autoincrement=True),
            sa.Column("namespace", Exact(140), nullable=False),
            sa.Column("key", Exact(22), nullable=False),
            sa.Column("id", Exact(1_024), nullable=False),
            sa.Column("revision", sa.String(40), nullable=False),
            sa.Column("stored_at", MOMENT, nullable=False),
            sa.Column("size", NUMBER, nullable=False),
            sa.Column("deleted", FIELD_TYPES[bool], nullable=False),
            sa.Column("shape", NUMBER, nullable=False),
            *declared.values(),
            sa.Column("tags", LONG),
            sa.Column("extra", LONG),
            sa.Column("text", LONG),
            *([sa.Column("words", WORDS)] if self.words_in_row else []),
            # Last, so that SQLite need not pass it to reach the others.
            sa.Column("body", BODY, nullable=False),
        ]
        # Numbers of rows are never used twice: words are copied for the rows beyond the last that has them.
        self.main = sa.Table(name, metadata, *columns, sqlite_autoincrement=True, **OPTIONS)
        c = self.main.c
        self.fields: Mapping[str, sa.Column[Any]] = {**declared, "id": c.id, "size": c.size, "stored_at": c.stored_at}
        self.tags = sa.Table(
            shortened(f"{name}_tags"),
            metadata,
            sa.Column("item", NUMBER, primary_key=True, autoincrement=False),
            sa.Column("name", Exact(256), primary_key=True),
            sa.Column("value", Exact(1_024), nullable=False),
            # A name and its value together do not fit into an index; this is a hash of both.
            sa.Column("key", Exact(22), nullable=False),
            sqlite_with_rowid=False,
            **OPTIONS,
        )
        sa.Index(shortened(f"ix_{self.tags.name}_key"), self.tags.c.key, self.tags.c.item)
        self.words = shortened(f"{name}_text") if collection.text and dialect.kind == "sqlite" else None
        sa.Index(shortened(f"ux_{name}_id"), c.namespace, c.key, unique=True)
        index = Index(self.main, self.fields, dialect)
        self.beginnings = index.beginnings
        if dialect.kind != "sqlite":
            sa.Index(shortened(f"ix_{name}_id"), c.namespace, index.beginning("id"))
        self.metadata = metadata
        for lookup in [(), *collection.lookups]:
            index.add(_ordered(lookup, collection.time or "stored_at"))
        if self.words_in_row:
            sa.Index(shortened(f"ix_{name}_words"), c.words, postgresql_using="gin", mysql_prefix="FULLTEXT")
        self.rows: Index | None = None
        if collection.projection is not None and collection.rows is not None:
            self.rows = self._row_table(
                table_name(prefix, collection.rows.name, aside=aside),
                collection.rows,
                collection.projection,
                at_once=at_once,
            )
            self._index_shape()

    def _row_table(self, name: str, rows: Collection[Any], projection: Projection, *, at_once: bool) -> Index:
        """Return the table of the rows of items, which go with their item.

        Unless `at_once`, the indexes hold the rows that are marked, and one more finds the others (`placing`).
        """
        declared = _columns(rows, row_column)
        marked: dict[str, Any] = {} if at_once else {"sqlite_where": sa.text(f'"{PLACED}" IS NOT NULL')}
        c = sa.Table(
            name,
            self.metadata,
            sa.Column(
                "item",
                NUMBER,
                sa.ForeignKey(self.main.c.item, ondelete="CASCADE"),
                primary_key=True,
                autoincrement=False,
            ),
            sa.Column("number", sa.Integer(), primary_key=True, autoincrement=False),
            sa.Column("namespace", Exact(140), nullable=False),
            sa.Column("series", Exact(22)),
            *declared.values(),
            *([] if at_once else [sa.Column(PLACED, NUMBER)]),
            sqlite_with_rowid=False,
            **OPTIONS,
        ).c
        index = Index(c.item.table, declared, self.dialect)
        for lookup in rows.lookups:
            if lookup != tuple(projection.series) and (names := _ordered(lookup, rows.time)):
                index.add(names, **(marked if lookup else {}))
        if not at_once:
            sa.Index(placing_index(name), c.item, sqlite_where=sa.text(f'"{PLACED}" IS NULL'))
        if projection.series:
            ordered = [] if rows.time is None else [declared[rows.time]]
            # Read backwards, the newest of the last series comes first.
            order = [column.asc().nulls_first() for column in ordered] if self.dialect.kind == "postgresql" else ordered
            sa.Index(shortened(f"ix_{name}_series"), c.namespace, c.series, *order, **marked)
        return index

    def _index_shape(self) -> None:
        """Declare the index by which rows are found that lack something."""
        sa.Index(shortened(f"ix_{self.main.name}_shape"), self.main.c.namespace, self.main.c.shape)

    def create(self, connection: sa.Connection) -> None:
        """Make the tables that are not there, and the columns and indexes of newly declared fields."""
        existed = sa.inspect(connection).has_table(self.main.name)
        self.metadata.create_all(connection)
        if existed:
            self._extend(connection, self.main)
            if self.rows is not None:
                self._extend(connection, self.rows.table)
        if self.rows is not None and self.dialect.kind == "sqlite":
            # Which heeds foreign keys only where a connection asks for it.
            main, rows = self.dialect.quoted(self.main.name), self.dialect.quoted(self.rows.table.name)
            trigger = self.dialect.quoted(shortened(f"{self.rows.table.name}_gone"))
            connection.exec_driver_sql(
                f"CREATE TRIGGER IF NOT EXISTS {trigger} AFTER DELETE ON {main}"
                f" BEGIN DELETE FROM {rows} WHERE item = OLD.item; END"
            )
        if self.words:
            connection.execute(
                sa.text(
                    f'CREATE VIRTUAL TABLE IF NOT EXISTS "{self.words}" USING fts5'
                    "(words, detail = none, columnsize = 0, tokenize = \"unicode61 tokenchars '_'\")"
                )
            )

    def _extend(self, connection: sa.Connection, table: sa.Table) -> None:
        inspector = sa.inspect(connection)
        present = {column["name"] for column in inspector.get_columns(table.name)}
        quote = connection.dialect.identifier_preparer.quote
        compiler: Any = sa.schema.CreateTable(table).compile(dialect=connection.dialect)
        for column in table.columns:
            if column.name not in present:
                specification = compiler.get_column_specification(column)
                connection.execute(sa.text(f"ALTER TABLE {quote(table.name)} ADD COLUMN {specification}"))
        if table is self.main and self.rows is None:
            # Only where there are several declarations, rows of the others are looked for.
            self._index_shape()
        indexes = _index_names(connection, table)
        for index in table.indexes:
            if index.name not in indexes:
                index.create(connection)


@dataclass(frozen=True, slots=True)
class Definition:
    """One declaration of a collection's fields and rows, as the database knows it.

    Attributes:
        bit: its bit in a row's ``shape``.
        lacking: the condition that not all of its fields are filled in a row; empty if it is the only declaration.
        rows_bit: the bit of its rows, or 0.
        rows_lacking: the condition that the rows of an item are not there.
        fields: the bits of all declarations of fields.
    """

    bit: int
    lacking: str
    rows_bit: int
    rows_lacking: str
    fields: int

    @classmethod
    def of(cls, numbers: Mapping[str, int], tables: Tables) -> Definition | None:
        """Return a declaration among those that are known, by fingerprint; None if it is not."""
        own = fingerprints(tables.collection)
        if not all(fingerprint in numbers for fingerprint in own):
            return None
        bit, rows_bit = [1 << numbers[fingerprint] for fingerprint in own] + [0] * (2 - len(own))
        fields = [number for fingerprint, number in numbers.items() if not fingerprint.startswith(ROWS)]
        return cls(
            bit,
            "" if len(fields) == 1 else _without(bit, len(numbers)),
            rows_bit,
            _without(rows_bit, len(numbers)),
            sum(1 << number for number in fields),
        )


def fingerprints(collection: Collection[Any]) -> list[str]:
    """Return the names of a collection's declarations: of its fields, and of its rows if it has any."""
    rows = [] if collection.rows is None else [f"{ROWS}{collection.rows.fingerprint}"[:16]]
    return [collection.fingerprint, *rows]


def _without(bit: int, known: int) -> str:
    """Return the condition that a row's shape lacks a bit."""
    if known > MAX_LISTED:
        return f"(shape & {bit}) = 0"
    # Listed, an index finds them.
    return f"shape IN ({', '.join(str(n) for n in range(1 << known) if not n & bit)})"


def registry(prefix: str) -> sa.Table:
    """Return the list of what was made."""
    return sa.Table(
        f"{prefix}truthstore_schema",
        sa.MetaData(),
        sa.Column("collection", sa.String(63), primary_key=True),
        sa.Column("fingerprint", sa.String(16), primary_key=True),
        sa.Column("number", NUMBER, nullable=False),
        sa.Column("layout", NUMBER, nullable=False),
        mysql_engine="InnoDB",
    )


def defined(connection: sa.Connection, tables: Tables, prefix: str) -> Definition | None:
    """Return a declaration as the database knows it; None if something must be made first.

    Raises:
        StoreConfigError: another version of this library made the tables.
    """
    return Definition.of(_numbers(connection, tables.collection, registry(prefix)), tables)


def listed_names(connection: sa.Connection, prefix: str, namespace: str) -> frozenset[str]:
    """Return the names of the collections that hold something in a namespace: others may share their tables."""
    listed = registry(prefix)
    if not sa.inspect(connection).has_table(listed.name):
        return frozenset()

    def is_used(name: str) -> bool:
        table = sa.table(table_name(prefix, name), sa.column("namespace"))
        wanted = sa.select(table.c.namespace).where(table.c.namespace == namespace).limit(1)
        return connection.scalar(wanted) is not None

    return frozenset(filter(is_used, connection.scalars(sa.select(listed.c.collection).distinct()).all()))


def _numbers(connection: sa.Connection, collection: Collection[Any], listed: sa.Table) -> dict[str, int]:
    """Return the numbers of a collection's declarations, by fingerprint."""
    if not sa.inspect(connection).has_table(listed.name):
        return {}
    rows = connection.execute(sa.select(listed).where(listed.c.collection == collection.name)).all()
    if others := {row.layout for row in rows} - {LAYOUT}:
        raise StoreConfigError(
            f"the tables of {collection.name} have layout {max(others)}, this version of truthstore has {LAYOUT}: "
            "use the version that made them, or another table_prefix",
            collection=collection.name,
        )
    return {row.fingerprint: row.number for row in rows}


def define(connection: sa.Connection, tables: Tables, prefix: str) -> Definition:
    """Make the tables of a collection, and register its declaration; one process at a time.

    Raises:
        StoreConfigError: another version made the tables, too many declarations are known, or the lock is taken.
    """
    collection = tables.collection
    listed = registry(prefix)
    with _locked(connection):
        listed.create(connection, checkfirst=True)
        numbers = _numbers(connection, collection, listed)
        if new := [fingerprint for fingerprint in fingerprints(collection) if fingerprint not in numbers]:
            if len(numbers) + len(new) > MAX_DEFINITIONS:
                raise StoreConfigError(
                    f"the fields of {collection.name} were declared in {MAX_DEFINITIONS} ways: copy it to a new store",
                    collection=collection.name,
                )
            tables.create(connection)
            for fingerprint in new:
                number = numbers[fingerprint] = len(numbers)
                connection.execute(sa.insert(listed).values((collection.name, fingerprint, number, LAYOUT)))
        definition = Definition.of(numbers, tables)
        assert definition is not None
        return definition


def _index_names(connection: sa.Connection, table: sa.Table) -> set[str]:
    if connection.dialect.name != "postgresql":
        return {str(index["name"]) for index in sa.inspect(connection).get_indexes(table.name)}
    # SQLAlchemy's own look at indexes cannot read what connections give in binary form.
    listed = sa.text("SELECT indexname FROM pg_indexes WHERE schemaname = current_schema() AND tablename = :name")
    return set(connection.execute(listed, {"name": table.name}).scalars())


@contextmanager
def _locked(connection: sa.Connection) -> Generator[None]:
    """Keep out every other process that makes tables, within a transaction, which on SQLite is the lock."""
    kind = connection.dialect.name
    if kind == "postgresql":
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock(LOCK)))
    if kind in {"sqlite", "postgresql"}:
        yield
        return
    name = f"truthstore:{connection.engine.url.database}"[:64]
    if connection.execute(sa.select(sa.func.get_lock(name, LOCK_SECONDS))).scalar() != 1:
        raise StoreConfigError("another process has been making tables for a minute: try again, or look at it")
    try:
        yield
    finally:
        if not connection.invalidated:
            connection.execute(sa.select(sa.func.release_lock(name)))
