"""The tables of a database of any other kind, made with standard SQL alone.

No lock of the database is used: whoever comes second finds what the first one made. Words and tags are rows of child tables.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Index,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
    insert,
    inspect,
    select,
    text,
    update,
)
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.schema import CreateTable

from truthstore.backends.database import schema
from truthstore.backends.database.config import OTHER
from truthstore.backends.database.portable_types import COMPARED, HashOf, Ordered, Readable
from truthstore.backends.database.schema import (
    MAX_DEFINITIONS,
    STEPS,
    Definition,
    Tables,
    define,
    defined,
    field_column,
    registry,
    shortened,
    table_name,
)
from truthstore.backends.database.types import Moment
from truthstore.errors import StoreConfigError

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement, Connection
    from sqlalchemy.sql.schema import SchemaItem

    from truthstore.model.collection import Collection

__all__ = ["PortableTables", "make_tables"]

ATTEMPTS: Final = 20
SHORT_ADD: Final = frozenset({"mssql", "oracle"})
"""The dialects that write ``ALTER TABLE … ADD`` without ``COLUMN``."""


class PortableTables(Tables):
    """The tables of one collection in a database of which nothing is known.

    Attributes:
        shadows: for each readable column the one in which the database compares the same value.
        hashes: for each column that is looked up the one with its hash.
    """

    def __init__(self, collection: Collection[Any], prefix: str) -> None:
        self.collection = collection
        self.dialect = OTHER
        self.metadata = MetaData()
        name = table_name(prefix, collection.name)
        self.shadows: dict[str, str] = {}
        self.hashes: dict[str, str] = {}
        readable: list[SchemaItem] = []
        compared: dict[str, Column[Any]] = {}
        for field, declared in collection.fields.items():
            column = field_column(field)
            if declared.type in {str, datetime}:
                readable.append(Column(column, Readable() if declared.type is str else Moment()))
                self.shadows[column] = f"{column}$order"
                compared[field] = Column(f"{column}$order", COMPARED[declared.type])
            else:
                compared[field] = Column(column, COMPARED[declared.type])
        looked_up = {field for lookup in collection.lookups for field in lookup if collection.fields[field].type is str}
        for field in sorted(looked_up):
            self.hashes[field_column(field)] = f"{field_column(field)}$key"
        columns: list[SchemaItem] = [
            Column("item", BigInteger, primary_key=True, autoincrement=False),
            Column("namespace", Readable(), nullable=False),
            Column("namespace$key", HashOf(), nullable=False),
            Column("key", Ordered(40), nullable=False),
            Column("id", Readable(), nullable=False),
            Column("id$order", Ordered(), nullable=False),
            Column("revision", String(40), nullable=False),
            Column("stored_at", Moment(), nullable=False),
            Column("stored_at$order", BigInteger, nullable=False),
            Column("size", BigInteger, nullable=False),
            Column("deleted", Boolean(create_constraint=False), nullable=False),
            Column("shape", BigInteger, nullable=False),
            *readable,
            *compared.values(),
            *(Column(hash, HashOf()) for hash in self.hashes.values()),
            Column("tags", Text),
            Column("extra", Text),
            Column("text", Text),
            Column("body", LargeBinary, nullable=False),
            # Part of the table: without it two writers could both create an id.
            UniqueConstraint("namespace$key", "key", name=shortened(f"ux_{name}_id")),
        ]
        self.shadows.update({"id": "id$order", "stored_at": "stored_at$order"})
        self.hashes["namespace"] = "namespace$key"
        self.main = Table(name, self.metadata, *columns)
        c = self.main.c
        self.fields = {**compared, "id": c["id$order"], "size": c.size, "stored_at": c["stored_at$order"]}
        self.space = c["namespace$key"]
        self.tags = Table(
            shortened(f"{name}_tags"),
            self.metadata,
            Column("item", BigInteger, primary_key=True, autoincrement=False),
            Column("key", Ordered(40), primary_key=True),
            Column("name", Readable(256), nullable=False),
            Column("value", Readable(1_024)),
        )
        Index(shortened(f"ix_{self.tags.name}_key"), self.tags.c.key, self.tags.c.item)
        self.words = Table(
            shortened(f"{name}_text"),
            self.metadata if collection.text else MetaData(),
            Column("item", BigInteger, primary_key=True, autoincrement=False),
            Column("word", HashOf(), primary_key=True),
        )
        Index(shortened(f"ix_{self.words.name}_word"), self.words.c.word, self.words.c.item)
        self.lookups = [self._lookup(lookup) for lookup in [(), *collection.lookups]]

    def _lookup(self, lookup: tuple[str, ...]) -> Index:
        time = self.collection.time or "stored_at"
        names = [*lookup, *([] if time in lookup else [time])]
        listed = [self.indexed(self.fields[name]) for name in names]
        return Index(shortened(f"ix_{self.main.name}_{'_'.join(names)}"), self.space, *listed)

    def indexed(self, column: Column[Any]) -> ColumnElement[Any]:
        """The column that is in an index: for a string, its hash."""
        return self.main.c[self.hashes.get(column.name.removesuffix("$order"), column.name)]

    def create(self, connection: Connection) -> None:
        """Makes the tables that are not there, and the columns and indexes of newly declared fields."""
        for table in self.metadata.sorted_tables:
            if not _make(connection, table) and table is self.main:
                self._extend(connection)

    def _extend(self, connection: Connection) -> None:
        quote = connection.dialect.identifier_preparer.quote
        compiler: Any = CreateTable(self.main).compile(dialect=connection.dialect)
        add = "ADD" if connection.dialect.name in SHORT_ADD else "ADD COLUMN"
        added: set[str] = set()
        for column in self.main.columns:
            if column.name in self._present(connection):
                continue
            specification = compiler.get_column_specification(column)
            try:
                connection.execute(text(f"ALTER TABLE {quote(self.main.name)} {add} {specification}"))
                connection.commit()
            except DBAPIError:
                connection.rollback()
                if column.name not in self._present(connection):
                    raise
            else:
                added.add(column.name)
        for index in self.main.indexes:
            if added & {column.name for column in index.columns}:
                index.create(connection)
                connection.commit()

    def _present(self, connection: Connection) -> set[str]:
        # Asked of the table itself: not every dialect can look at columns.
        quote = connection.dialect.identifier_preparer.quote
        present = set(connection.execute(text(f"SELECT * FROM {quote(self.main.name)} WHERE 1 = 0")).keys())  # noqa: S608  # a checked name
        connection.rollback()
        return present


def _make(connection: Connection, table: Table) -> bool:
    """Makes a table; False if it was there already, or another process made it meanwhile."""
    there = inspect(connection).has_table(table.name)
    connection.rollback()
    if there:
        return False
    try:
        table.create(connection)
        connection.commit()
    except DBAPIError:
        connection.rollback()
        there = inspect(connection).has_table(table.name)
        connection.rollback()
        if not there:
            raise
        return False
    return True


def make_tables(connection: Connection, tables: Tables, prefix: str) -> Definition:
    """Makes or upgrades the tables of a collection, and registers its declaration, in any kind of database."""
    if isinstance(tables, PortableTables):
        return _define_portably(connection, tables, prefix)
    return define(connection, tables, prefix)


def _define_portably(connection: Connection, tables: PortableTables, prefix: str) -> Definition:
    """Makes or upgrades the tables of a collection, and registers its declaration, beside others who do the same.

    Raises:
        StoreConfigError: a newer version made the tables, or too many declarations are known.
    """
    collection = tables.collection
    listed = registry(prefix, OTHER)
    mine = listed.c.collection == collection.name
    _make(connection, listed)
    for attempt in range(ATTEMPTS):
        known = defined(connection, tables, prefix)
        connection.rollback()
        if known is not None:
            return known
        rows = connection.execute(select(listed.c.fingerprint, listed.c.number, listed.c.layout).where(mine)).all()
        connection.rollback()
        old = min((row.layout for row in rows), default=schema.LAYOUT)
        if old < schema.LAYOUT:
            _upgrade(connection, tables, prefix, old)
            continue
        numbers = {row.fingerprint: row.number for row in rows}
        if len(numbers) >= MAX_DEFINITIONS:
            raise StoreConfigError(
                f"the fields of {collection.name} were declared in {MAX_DEFINITIONS} ways: copy it to a new store",
                collection=collection.name,
            )
        tables.create(connection)
        row = {"collection": collection.name, "fingerprint": collection.fingerprint}
        try:
            connection.execute(insert(listed).values(**row, number=len(numbers), layout=schema.LAYOUT))
            connection.commit()
        except DBAPIError as error:
            # Somebody registered this declaration, or another one under this number.
            connection.rollback()
            if not isinstance(error, IntegrityError) and attempt == ATTEMPTS - 1:
                raise
            continue
        return Definition(len(numbers), len(numbers) + 1)
    raise StoreConfigError(
        f"the tables of {collection.name} could not be made beside others who do the same: try again"
    )


def _upgrade(connection: Connection, tables: PortableTables, prefix: str, layout: int) -> None:
    """One step, by the one process that moves the layout on; another waits, or is undone and looks again."""
    listed = registry(prefix, OTHER)
    mine = (listed.c.collection == tables.collection.name, listed.c.layout == layout)
    try:
        moved = connection.execute(update(listed).where(*mine).values(layout=layout + 1))
        if moved.rowcount != 0:
            STEPS[layout](connection, tables)
        connection.commit()
    except DBAPIError:
        connection.rollback()
        now = connection.execute(select(listed.c.layout).where(*mine)).first()
        connection.rollback()
        if now is not None:
            raise
