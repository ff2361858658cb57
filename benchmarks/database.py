"""The database store: saving and querying beside the same SQL by hand, on SQLite and PostgreSQL."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, closing
from datetime import datetime
from typing import Any

import msgspec
from sqlalchemy import create_engine, event, insert

from benchmarks.by_hand import decode, encode
from benchmarks.measure import Figure, progress, race
from benchmarks.places import Places
from benchmarks.workload import results
from tests.services.postgresql import MissingServerError, postgresql
from truthstore import RESULTS, StoreQuery, ValidationResult
from truthstore.backends.database import DatabaseStore
from truthstore.backends.database.rows import key_of, tag_key, term
from truthstore.backends.database.schema import Tables
from truthstore.model.record import new_revision
from truthstore.storage.sql.dialect import POSTGRESQL, SQLITE, Dialect

COLUMNS = [
    "namespace",
    "key",
    "id",
    "revision",
    "stored_at",
    "size",
    "deleted",
    "shape",
    "tags",
    *RESULTS.fields,
    "body",
]
to_json = msgspec.json.Encoder().encode


def figures(places: Places) -> Iterator[Figure]:
    """Measure everything about SQL."""
    yield _sqlite_save(places)
    try:
        with ExitStack() as stack:
            server = stack.enter_context(postgresql(16))
            store = stack.enter_context(closing(DatabaseStore(connection_url=server.url)))
            progress(f"filling PostgreSQL with {places.middle:,} results")
            store.save_many(results(places.middle))
            yield from _postgresql(places, store, server.url)
    except MissingServerError as error:
        progress(f"left out: {error}")


def row_of(one: ValidationResult, dialect: Dialect) -> dict[str, Any]:
    """Return the row that both contestants write."""
    times = dialect.write[datetime]
    body = encode(one)
    fields = RESULTS.fields_of(one)
    moment = fields["run_time"]
    assert isinstance(moment, int)
    row = {
        "namespace": "default",
        "key": key_of(one.run_id),
        "id": one.run_id,
        "revision": new_revision(),
        "stored_at": times(moment),
        "size": len(body),
        "deleted": False,
        "shape": 1,
        "tags": to_json(one.tags).decode(),
        **fields,
        "body": body,
    }
    row["run_time"] = times(moment)
    return row


def _sqlite_save(places: Places) -> Figure:
    path = places.path("database")
    path.mkdir(exist_ok=True)
    engine = create_engine(f"sqlite:///{path}/hand.db")
    event.listen(engine, "connect", lambda connection, _: connection.execute("PRAGMA journal_mode = WAL"))
    tables = Tables(RESULTS, "", SQLITE)
    tables.metadata.create_all(engine)
    into_main, into_tags = insert(tables.main), insert(tables.tags)

    def by_hand(one: ValidationResult) -> None:
        row = row_of(one, SQLITE)
        with engine.begin() as connection:
            item = connection.execute(into_main, row).lastrowid
            connection.execute(
                into_tags,
                [{"item": item, "name": n, "value": v, "key": tag_key(n, v)} for n, v in one.tags.items()],
            )

    with DatabaseStore(connection_url=f"sqlite:///{path}/store.db") as store:
        found = race(store.save, by_hand, rounds=places.rounds(60), calls=20, inputs=places.new_results)
    engine.dispose()
    return Figure(
        "SQLite: save",
        "by hand, SQLAlchemy Core (WAL): encode, the same row and tag rows in one transaction",
        found.ratio,
        "at most",
        1.5,
        detail=found.detail,
    )


def _postgresql(places: Places, store: DatabaseStore[Any], url: str) -> Iterator[Figure]:
    import psycopg

    names = ", ".join(f'"{name}"' for name in COLUMNS)
    holes = ", ".join(f"%({name})s" for name in COLUMNS)
    save: Any = (
        f"INSERT INTO validations ({names}, words) VALUES ({holes}, array_to_tsvector(%(words)s)) RETURNING item"
    )
    save_tag = "INSERT INTO validations_tags (item, name, value, key) VALUES (%s, %s, %s, %s)"
    newest: Any = (
        f"SELECT {names} FROM validations WHERE namespace = 'default' ORDER BY run_time DESC NULLS LAST LIMIT 100"
    )

    with psycopg.connect(url) as connection, connection.cursor() as cursor:

        def by_hand(one: ValidationResult) -> None:
            row = row_of(one, POSTGRESQL)
            row["words"] = list(map(term, RESULTS.text_of(one).split()))
            cursor.execute(save, row)
            ((item,),) = cursor.fetchall()
            cursor.executemany(save_tag, [(item, n, v, tag_key(n, v)) for n, v in one.tags.items()])
            connection.commit()

        found = race(store.save, by_hand, rounds=places.rounds(60), calls=20, inputs=places.new_results)
        yield Figure(
            f"PostgreSQL: save at {places.middle:,} stored",
            "the same row and tag rows in one transaction by hand through psycopg",
            found.ratio,
            "at most",
            1.5,
            detail=found.detail,
        )

        def query_by_hand(_: object = None) -> list[ValidationResult]:
            rows = cursor.execute(newest).fetchall()
            connection.commit()
            return [decode(row[-1]) for row in rows]

        def query(_: object = None) -> list[ValidationResult]:
            return store.query(StoreQuery(limit=100))

        if not query() or query() != query_by_hand():
            raise RuntimeError("the two queries find different results")
        found = race(query, query_by_hand, rounds=places.rounds(60), calls=3)
        yield Figure(
            "PostgreSQL: newest 100 with bodies",
            "the same SQL by hand through psycopg, bodies decoded",
            found.ratio,
            "at most",
            1.4,
            detail=found.detail,
        )

        few = StoreQuery(data_asset=query()[0].data_asset, status="failure", limit=50)
        few_by_hand: Any = (
            "SELECT id FROM validations WHERE namespace = 'default' AND NOT deleted AND left(data_asset, 120) = %s "
            "AND left(status, 120) = %s AND data_asset = %s AND status = %s "
            "ORDER BY run_time DESC NULLS LAST, id DESC LIMIT 50"
        )

        def ids_by_hand(_: object = None) -> list[str]:
            rows = cursor.execute(few_by_hand, [few.data_asset, few.status] * 2).fetchall()
            return [row[0] for row in rows]

        def ids(_: object = None) -> list[str]:
            return store.list_ids(few)

        if not ids() or ids() != ids_by_hand():
            raise RuntimeError("the two queries find different ids")
        connection.commit()
        connection.autocommit = True
        cursor.execute("ANALYZE validations")  # what the server does by itself sooner or later
        found = race(ids, ids_by_hand, rounds=places.rounds(60), calls=20)
        yield Figure(
            "PostgreSQL: newest 50 ids of asset and status",
            "the same SQL by hand through psycopg, prepared by it",
            found.ratio,
            "at most",
            4,
            detail=found.detail,
        )
