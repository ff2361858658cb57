"""Records to rows and back, and the statements that write them."""

from __future__ import annotations

from collections.abc import Collection as Sized, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import msgspec
from sqlalchemy import Text, bindparam, cast, delete, func, insert, select, true, update
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.exc import IntegrityError

from truthstore.backends.database.query import contained, key_of, tag_key, term
from truthstore.backends.database.schema import Definition, Tables, field_column
from truthstore.backends.database.templates import Templates
from truthstore.errors import StoreError, StoreWriteError, shown
from truthstore.model.collection import Derivation
from truthstore.model.record import NO_ANNOTATIONS, Condition, Expect, Meta, Record
from truthstore.store.records import conflict

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from truthstore.model.record import FieldValue

__all__ = ["Rows"]

NAME: Final = "database"
# PostgreSQL keeps at most a megabyte of words with an item.
MAX_WORDS: Final = 1_000_000

_to_json: Final = msgspec.json.Encoder().encode
_from_json: Final = msgspec.json.decode


class Rows:
    """The rows of one collection in one namespace.

    Args:
        tables: the tables.
        definition: what the database knows of the declaration of fields.
        space: the namespace.
    """

    def __init__(self, tables: Tables, definition: Definition, space: str) -> None:
        self.tables = tables
        self.definition = definition
        self.space = space
        self.collection = tables.collection
        main, fields = tables.main.c, tables.fields
        id = fields["id"]
        self.heads = [id, main.revision, fields["stored_at"], main.size, main.deleted, main.tags, main.extra, main.text]
        self.heads += [fields[name] for name in self.collection.fields]
        self.whole = [*self.heads, main.body]
        self.columns = {"ids": [id], "heads": self.heads, "whole": self.whole}
        self.templates = Templates(tag_key)
        here = (tables.space == bindparam("space"), main.key == bindparam("key"), id == bindparam("id"))
        self.get = select(*self.whole).where(*here)
        self.head = select(*self.heads).where(*here)
        self._insert = insert(tables.main)
        self._insert_tags = insert(tables.tags)
        words = tables.words
        if tables.dialect == "sqlite":
            which = words.c.rowid == bindparam("which")
            self.insert_words = insert(words).prefix_with("OR REPLACE")
            self._update_words = update(words).where(which).values(words=bindparam("words"))
        if tables.dialect == "postgresql":
            self.create = self._create_at_once()
            if tables.has_words:
                self._insert = self._insert.values(words=self._vector())
        elif tables.dialect == "sqlite":
            self._create: Any = sqlite.insert(tables.main).on_conflict_do_nothing(["namespace", "key"]).inline()
        else:
            self._create = self._insert.inline()
        # An update sets what an insert sets; the id and where it belongs stay.
        self._changing = [name for name in self._columns() if name not in {"namespace", "key", "id"}]
        changed: dict[str, Any] = {name: bindparam(name) for name in self._changing}
        if tables.dialect == "postgresql" and tables.has_words:
            changed["words"] = self._vector()
        self._update = update(tables.main).where(main.item == bindparam("which")).values(changed)

    def at(self, id: str) -> dict[str, str]:
        """The parameters of `get` and `head`."""
        return {"space": self.space, "key": key_of(id), "id": id}

    def _columns(self) -> list[str]:
        columns = ["namespace", "key", "id", "revision", "stored_at", "size", "deleted", "shape", "tags", "extra"]
        columns += ["text", "body", *(field_column(name) for name in self.collection.fields)]
        if self.tables.words_in_row:
            columns.append("words")
        return columns

    @staticmethod
    def _vector() -> Any:
        # The words as they are: PostgreSQL's own parser would cut them up.
        return func.array_to_tsvector(cast(bindparam("words"), postgresql.ARRAY(Text)))

    def _create_at_once(self) -> Any:
        """PostgreSQL writes the row and its tags in one statement, if there is no row with this id."""
        tables = self.tables
        values: dict[str, Any] = {name: bindparam(name) for name in self._columns()}
        if tables.has_words:
            values["words"] = self._vector()
        row = postgresql.insert(tables.main).values(values).on_conflict_do_nothing().returning(tables.main.c.item)
        made = row.cte("made")
        arrays = [cast(bindparam(f"tag_{name}"), postgresql.ARRAY(Text)) for name in ("names", "values", "keys")]
        listed = func.unnest(*arrays).table_valued("name", "value", "key", name="listed").render_derived()
        rows = select(made.c.item, listed.c.name, listed.c.value, listed.c.key).select_from(made.join(listed, true()))
        tags = insert(tables.tags).from_select(["item", "name", "value", "key"], rows)
        return select(made.c.item).add_cte(tags.cte("tagged"))

    def row(self, record: Record) -> dict[str, Any]:
        """The values of an insert or update.

        Raises:
            StoreWriteError: more words than the database takes.
        """
        meta = record.meta
        fields = meta.fields
        tags = meta.tags
        extra = None
        if meta.encoding != "json" or meta.encodings or meta.annotations:
            extra = _to_json([meta.encoding, meta.encodings, dict(meta.annotations)]).decode()
        row: dict[str, Any] = {
            "namespace": self.space,
            "key": key_of(meta.id),
            "id": meta.id,
            "revision": record.revision,
            "stored_at": meta.stored_at,
            "size": meta.size,
            "deleted": meta.deleted,
            "shape": self.definition.bit,
            "tags": _to_json(tags).decode() if tags else None,
            "extra": extra,
            "text": None if meta.derivable and not self.collection.opaque else meta.text,
            "body": record.body or b"",
        }
        for name in self.collection.fields:
            row[field_column(name)] = fields.get(name)
        if self.tables.words_in_row:
            row["words"] = self.words(meta)
        return row

    def _changes(self, item: int, record: Record) -> dict[str, Any]:
        row = self.row(record)
        return {"which": item, **{name: row[name] for name in self._changing}}

    def words(self, meta: Meta) -> Any:
        """An item's words as its row keeps them."""
        terms = list(map(term, meta.text.split()))
        if self.tables.dialect != "postgresql":
            return " ".join(terms)
        if sum(map(len, terms)) > MAX_WORDS:
            raise StoreWriteError(
                f"{self.collection.name} {shown(meta.id)} has more different words than PostgreSQL's index takes (1 MB)",
                backend=NAME,
                collection=self.collection.name,
                identifier=meta.id,
            )
        return terms

    def create_parameters(self, record: Record) -> dict[str, Any]:
        """The values of `create`, on PostgreSQL."""
        tags = record.meta.tags
        return {
            **self.row(record),
            "tag_names": list(tags),
            "tag_values": list(tags.values()),
            "tag_keys": [tag_key(name, value) for name, value in tags.items()],
        }

    def record(self, row: Sequence[Any]) -> Record:
        """A record from the columns of `heads` or `whole`."""
        id, revision, stored_at, size, deleted, tags, extra, text, *values = row
        collection = self.collection
        encoding = "json"
        encodings: tuple[str, ...] = ()
        annotations: Mapping[str, Any] = NO_ANNOTATIONS
        if extra is not None:
            encoding, listed, annotations = _from_json(extra)
            encodings = tuple(listed)
        body: bytes | None = values.pop() if len(values) > len(collection.fields) else None
        plain = body is not None and text is None and bool(collection.text)
        fields: dict[str, FieldValue] = dict(zip(collection.fields, values, strict=True))
        meta = Meta(
            id,
            fields=fields,
            tags=_from_json(tags) if tags is not None else {},
            text=text,
            size=size,
            encoding=encoding,
            encodings=encodings,
            stored_at=stored_at,
            deleted=deleted,
            annotations=annotations or NO_ANNOTATIONS,
            derive=Derivation(collection, body, encoding) if plain and body is not None else None,
        )
        return Record(meta, body, revision)

    # Writing, in a transaction.

    def create_alone(self, connection: Connection, record: Record) -> bool:
        """Writes one new row; False if there is a row with its id."""
        tables = self.tables
        try:
            result = connection.execute(self._create, self.row(record))
        except IntegrityError as error:
            if getattr(error.orig, "args", (0,))[0] != 1062:  # noqa: PLR2004  # MariaDB's and MySQL's duplicate key
                raise
            return False
        if tables.dialect == "sqlite" and result.rowcount != 1:
            return False
        item: int = result.lastrowid
        if record.meta.tags:
            connection.execute(self._insert_tags, list(_tag_rows(item, record.meta.tags)))
        return True

    def write(
        self, connection: Connection, records: Sequence[Record], expect: Expect, *, in_doubt: bool
    ) -> dict[str, StoreError]:
        """Writes records with different ids; the errors of those for which `expect` does not hold.

        Args:
            connection: with a transaction.
            records: the records.
            expect: what must be there.
            in_doubt: whether they may have been written by an earlier attempt.
        """
        by_key = {key_of(record.id): record for record in records}
        known = self._known(connection, by_key)
        refused: dict[str, StoreError] = {}
        new: list[Record] = []
        changed: list[tuple[Any, Record]] = []
        for key in sorted(by_key):
            record, row = by_key[key], known.get(key)
            if row is not None and row.revision == record.revision:
                continue  # an earlier attempt was committed after all
            if not _holds(expect, row):
                actual = row.revision if row is not None else None
                refused[record.id] = (
                    self.doubtful(record.id)
                    if in_doubt
                    else conflict(record.id, expect, actual, backend=NAME, collection=self.collection.name)
                )
            elif row is None:
                new.append(record)
            else:
                changed.append((row, record))
        written = self._add(connection, new) if new else []
        if changed:
            self._change(connection, changed)
            items = [(row.item, record) for row, record in changed]
            self._remove_tags(connection, [item for item, _ in items])
            written += items
            self._change_words(connection, items)
        tags = [tag for item, record in written for tag in _tag_rows(item, record.meta.tags)]
        if tags:
            connection.execute(self._insert_tags, tags)
        return refused

    def _add(self, connection: Connection, records: Sequence[Record]) -> list[tuple[int, Record]]:
        """Inserts rows, and returns their numbers with the records."""
        connection.execute(self._insert, [self.row(record) for record in records])
        items = self._known(connection, [key_of(record.id) for record in records])
        return [(items[key_of(record.id)].item, record) for record in records]

    def _change(self, connection: Connection, changed: Sequence[tuple[Any, Record]]) -> None:
        """Updates rows, which are locked."""
        connection.execute(self._update, [self._changes(row.item, record) for row, record in changed])

    def doubtful(self, id: str, cause: Exception | None = None) -> StoreWriteError:
        """The error for a write of which nobody can say whether it happened."""
        error = StoreWriteError(
            f"{self.collection.name} {shown(id)} may or may not have been written: "
            "the connection was lost while it was being committed; read it to find out",
            backend=NAME,
            collection=self.collection.name,
            identifier=id,
        )
        error.__cause__ = cause
        return error

    def delete(
        self, connection: Connection, ids: Sequence[str], expect: Expect, doubtful: Sized[str]
    ) -> tuple[set[str], dict[str, StoreError]]:
        """Removes rows; the ids of those that were live, and the errors where `expect` did not hold.

        Args:
            connection: with a transaction.
            ids: the ids.
            expect: what must be there.
            doubtful: ids that an earlier attempt, which may have been committed, removed.
        """
        by_key = {key_of(id): id for id in ids}
        known = self._known(connection, by_key)
        refused: dict[str, StoreError] = {}
        live: set[str] = set()
        gone: list[Any] = []
        for key, id in by_key.items():
            row = known.get(key)
            if not isinstance(expect, Condition) and (row is None or row.revision != expect):
                if id not in doubtful:
                    actual = row.revision if row is not None else None
                    refused[id] = conflict(id, expect, actual, backend=NAME, collection=self.collection.name)
            elif row is not None:
                gone.append(row)
                if not row.deleted:
                    live.add(id)
        if gone:
            items = [row.item for row in gone]
            self._remove_tags(connection, items)
            self._remove_words(connection, items)
            self._remove(connection, gone)
        return live, refused

    def _remove(self, connection: Connection, rows: Sequence[Any]) -> None:
        """Deletes rows, which are locked."""
        main = self.tables.main
        items = [row.item for row in rows]
        connection.execute(delete(main).where(contained(main.c.item, items, self.tables.dialect)))

    def _known(self, connection: Connection, keys: Sized[str]) -> dict[str, Any]:
        rows = connection.execute(self._find(keys).with_for_update())
        return {row.key: row for row in rows}

    def _find(self, keys: Sized[str]) -> Any:
        main = self.tables.main.c
        found = select(main.key, main.item, main.revision, main.deleted)
        return found.where(
            self.tables.space == self.space, contained(main.key, sorted(keys), self.tables.dialect)
        ).order_by(main.key)

    def _remove_tags(self, connection: Connection, items: Sequence[int]) -> None:
        tags = self.tables.tags
        connection.execute(delete(tags).where(contained(tags.c.item, items, self.tables.dialect)))

    def _remove_words(self, connection: Connection, items: Sequence[int]) -> None:
        if self.tables.has_words and self.tables.dialect == "sqlite":
            words = self.tables.words
            connection.execute(delete(words).where(words.c.rowid == bindparam("which")), [{"which": i} for i in items])

    def _change_words(self, connection: Connection, records: Iterable[tuple[int, Record]]) -> None:
        """Replaces words in SQLite's index; of rows that are not in it yet, `fill_words` sees to it."""
        if not self.tables.has_words or self.tables.dialect != "sqlite":
            return
        rows = [{"which": item, "words": self.words(record.meta)} for item, record in records]
        if rows:
            connection.execute(self._update_words, rows)

    def refill(self, connection: Connection, rows: Sequence[Any]) -> None:
        """Fills the declared fields, tags and words of rows (``item`` and ``shape``, then the columns of `whole`) anew."""
        main = self.tables.main
        times = [name for name, field in self.collection.fields.items() if field.type.__name__ == "datetime"]
        changes: list[dict[str, Any]] = []
        texts: list[tuple[int, Record]] = []
        for item, shape, *columns in rows:
            record = self.record(columns)
            meta = record.meta
            change: dict[str, Any] = {"which": item, "was": record.revision, "shape": shape | self.definition.bit}
            if record.body is not None and not (meta.encodings or meta.deleted or self.collection.opaque):
                kept = {name: value for name in times if isinstance(value := meta.fields.get(name), int)}
                fields, tags, text = self.collection.derive(record.body, meta.encoding, kept)
                meta = meta.replace(fields=fields, tags=tags, text=text)
            change.update({field_column(name): meta.fields.get(name) for name in self.collection.fields})
            if self.tables.words_in_row:
                change["words"] = self.words(meta)
            changes.append(change)
            texts.append((item, Record(meta, record.body, record.revision)))
        if not changes:
            return
        names = [name for name in changes[0] if name not in {"which", "was", "words"}]
        values: dict[str, Any] = {name: bindparam(name) for name in names}
        if "words" in changes[0]:
            values["words"] = self._vector() if self.tables.dialect == "postgresql" else bindparam("words")
        same = (main.c.item == bindparam("which"), main.c.revision == bindparam("was"))
        connection.execute(update(main).where(*same).values(values), changes)
        if self.tables.has_words and not self.tables.words_in_row:
            items = [item for item, _ in texts]
            now = select(main.c.item, main.c.revision).where(contained(main.c.item, items, self.tables.dialect))
            revisions = {row.item: row.revision for row in connection.execute(now)}
            # The words of a row that was written meanwhile are not these.
            self._change_words(connection, [(i, record) for i, record in texts if revisions.get(i) == record.revision])


def _tag_rows(item: int, tags: Mapping[str, str]) -> Iterable[dict[str, Any]]:
    return ({"item": item, "name": name, "value": value, "key": tag_key(name, value)} for name, value in tags.items())


def _holds(expect: Expect, row: Any) -> bool:
    if isinstance(expect, Condition):
        return not expect.requires_absence or row is None or bool(row.deleted)
    return row is not None and bool(row.revision == expect)
