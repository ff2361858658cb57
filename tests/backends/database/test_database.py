"""What only the database store does: URLs and secrets, tables and their upgrades, and what other tools see."""

from __future__ import annotations

import enum
import gc
import os
import sqlite3
import sys
import warnings
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from traceback import format_exception
from typing import Any

import numpy as np
import psycopg
import pymysql
import pytest
from sqlalchemy import inspect, text

from tests.crash.processes import at_once
from tests.services.databases import Place, drop_tables
from truthstore import (
    RESULTS,
    StoreConfigError,
    StoreConnectionError,
    StoreCorruptError,
    StoreQuery,
    StoreReadError,
    StoreWriteError,
    get_store,
)
from truthstore.backends.database import (
    DatabaseConfig,
    DatabaseStore,
    PoolingConfig,
    fill as database_fill,
    schema as database_schema,
)
from truthstore.batching import BatchedStore
from truthstore.model.collection import Collection
from truthstore.model.fields import Field
from truthstore.model.record import ABSENT
from truthstore.testing import SAMPLES, Sample, make_samples
from truthstore.testing.suite.items import a_result

SECRET = "pass-w0rd/:@é"
ESCAPED = "pass-w0rd%2F%3A%40%C3%A9"


def test_a_connection_in_use_is_closed_when_it_is_given_back_to_a_pool_that_was_given_up(url: str):
    taken: list[Any] = []

    def work(connection: Any) -> None:
        taken.append(connection.connection.dbapi_connection)
        assert store.recycle_connections() == 0
        taken[0].execute("SELECT 1")

    with closing(DatabaseStore(connection_url=url, collection=SAMPLES)) as store:
        store.execute_with_retry(work)
        with pytest.raises(sqlite3.ProgrammingError, match="closed"):
            taken[0].execute("SELECT 1")
        assert store.list_ids() == []


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/store.db"


def quick(**options: Any) -> PoolingConfig:
    return PoolingConfig(retry_base_delay=0.01, **options)


# URLs, options, secrets.


def test_a_store_by_name_alias_and_url(url: str):
    for store in (
        get_store("database", connection_url=url),
        get_store("db", connection_url=url),
        get_store("sql", connection_url=url),
        get_store(url),
        get_store(url, namespace="default"),
    ):
        assert isinstance(store, DatabaseStore)
        store.save(a_result())
        assert store.list_ids() == ["run_1"]
        store.close()
    with get_store(f"{url}?namespace=other&pool_size=2") as other:
        assert other.list_ids() == []


@pytest.mark.parametrize(("name", "address"), [("postgres", "postgresql://"), ("postgresql", "postgresql://")])
def test_a_kind_of_database_alone_is_answered_by_the_right_spelling(name: str, address: str):
    with pytest.raises(StoreConfigError, match=rf"get_store\('{address}user:password@host/database'\)"):
        get_store(name)


def test_a_url_gets_the_driver_that_is_installed(postgresql_16: Any, mariadb_server: Any):
    for server, driver in ((postgresql_16, "postgresql+psycopg"), (mariadb_server, "mysql+pymysql")):
        with get_store(server.url) as store:
            assert driver in repr(store)
    with get_store(mariadb_server.url.replace("mysql://", "mariadb+pymysql://")) as store:
        assert store.health_check()


def test_what_is_not_for_the_store_goes_to_the_driver(postgresql_16: Any):
    with get_store(f"{postgresql_16.url}?application_name=nightly&namespace=x") as store:
        asked = "SELECT application_name FROM pg_stat_activity WHERE pid = pg_backend_pid()"
        name = store.layer(DatabaseStore).execute_with_retry(lambda c: c.execute(text(asked)).scalar())
    assert name == "nightly"


def test_an_option_of_the_driver_of_another_type_is_refused(postgresql_16: Any):
    with pytest.raises(StoreConfigError, match="prepare_threshold in connection_url: Expected `int"):
        get_store(f"{postgresql_16.url}?prepare_threshold=often").initialize()


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("mysql://u@127.0.0.1:1/x?charset=utf8", "option charset in connection_url: not every text"),
        ("mysql://u@127.0.0.1:1/x?use_unicode=0", "option use_unicode in connection_url"),
        ("postgresql://u@127.0.0.1:1/x?client_encoding=latin1", "option client_encoding in connection_url"),
        ("mysql://u@127.0.0.1:1/x?ssl=true", "correct the options in connection_url"),
    ],
)
def test_an_option_with_which_a_driver_does_not_work_is_refused(url: str, said: str):
    with pytest.raises(StoreConfigError, match=said):
        get_store(url).initialize()


@pytest.mark.parametrize("encoding", ["utf8", "UTF8", "utf-8"])
def test_an_encoding_for_every_text_is_taken(encoding: str, postgresql_16: Any):
    with get_store(f"{postgresql_16.url}?client_encoding={encoding}", collection=SAMPLES, namespace=encoding) as store:
        store.save(Sample("\N{GRINNING FACE}"))
        assert store.list_ids() == ["\N{GRINNING FACE}"]


@pytest.mark.parametrize(
    "options",
    [
        {"connection_url": "nonsense://host/db"},
        {"connection_url": "no url"},
        {"connection_url": "postgresql+nonsense://host/db"},
        {"compression": "gzip"},
        {"namespace": "line\nbreak"},
        {"namespace": "n" * 129},
        {"table_prefix": "1; DROP TABLE"},
    ],
    ids=str,
)
def test_options_that_make_no_sense_are_refused(options: dict[str, Any]):
    with pytest.raises(StoreConfigError):
        DatabaseStore(**options).initialize()


@pytest.mark.parametrize("url", ["duckdb:///results.duckdb", "mssql+pyodbc://host/db", "oracle://host/db"])
def test_another_kind_of_database_is_refused(url: str):
    with pytest.raises(StoreConfigError, match="SQLite, PostgreSQL, MariaDB and MySQL"):
        get_store(url)


def test_numbers_that_make_no_sense_are_refused():
    wrong: Any
    for wrong in ({"pool_size": 0}, {"max_overflow": -1}):
        with pytest.raises(ValueError):
            DatabaseConfig(**wrong)
    for wrong in ({"max_retries": -1}, {"failure_threshold": 0}, {"pool_timeout": 0}):
        with pytest.raises(ValueError):
            PoolingConfig(**wrong)
    with pytest.raises(TypeError, match="connection_url"):
        DatabaseStore(conection_url="sqlite://")


def test_no_secret_is_shown(caplog: pytest.LogCaptureFixture, postgresql_16: Any, mariadb_server: Any):
    for server, kind in ((postgresql_16, "postgresql"), (mariadb_server, "mysql")):
        address = f"{kind}://{server.user}:{ESCAPED}@127.0.0.1:{server.port}/store"
        config = DatabaseConfig(connection_url=address, echo=True, pooling=quick())
        with closing(DatabaseStore(config)) as store:
            health = store.health_check()
            assert not health
            assert "user" in health.message
            assert "password" in health.message
            with pytest.raises(StoreConnectionError) as caught:
                store.list_ids()
            assert caught.value.retryable is False
            shown = [str(caught.value), repr(caught.value), repr(store), repr(config), str(health), caplog.text]
            shown += [str(store.get_pool_status()), repr(caught.value.__cause__)]
            for secret in (SECRET, ESCAPED):
                assert not any(secret in one for one in shown)
    in_query = DatabaseStore(
        connection_url=f"postgresql://127.0.0.1:1/x?user=u&password={ESCAPED}", pooling=quick(max_retries=0)
    )
    with closing(in_query) as store:
        assert not any(ESCAPED in one or SECRET in one for one in (repr(store), str(store.health_check())))


@pytest.mark.parametrize(
    "url",
    [
        "postgresql//alice:{}@host/db",
        "postgresql:/alice:{}@host/db",
        "postgresql://alice:abc@{}@host/db",
        "mysql://alice:abc@{}/x@host/db",
        "postgresql://alice:a?b@{}@host/db",
    ],
)
def test_a_url_with_a_password_that_is_not_escaped_is_refused_without_showing_it(url: str):
    password = "".join(reversed("terc3s"))  # it is not in the lines that a traceback shows
    with pytest.raises(StoreConfigError) as refused:
        DatabaseStore(connection_url=url.format(password))
    assert password not in "".join(format_exception(refused.value))


def test_values_are_not_logged(url: str, caplog: pytest.LogCaptureFixture):
    with DatabaseStore(connection_url=url, echo=True, collection=SAMPLES) as store:
        store.save(Sample("a", name="confidential"))
        assert store.list_ids(StoreQuery(where={"name": "confidential"})) == ["a"]
    assert 'INSERT INTO "samples"' in caplog.text
    assert "confidential" not in caplog.text


def test_health_says_what_to_do(tmp_path: Path, postgresql_16: Any):
    where = f"127.0.0.1:{postgresql_16.port}"
    user = f"{postgresql_16.user}:{postgresql_16.password}"
    cases = {
        f"postgresql://{user}@{where}/nothing": "create the database",
        f"postgresql://{user}@127.0.0.1:1/postgres": "host and port",
        f"mysql://{user}@127.0.0.1:1/store": "host and port",
        f"sqlite:///{tmp_path}/text": "something else",
        f"sqlite:///{tmp_path}": "folder",
    }
    (tmp_path / "text").write_text("this is no database, but a text of some length" * 100)
    for address, advice in cases.items():
        with closing(DatabaseStore(connection_url=address, pooling=quick(max_retries=1))) as store:
            health = store.health_check()
            assert not health
            assert advice in health.message, health.message
            assert not store.is_healthy


def test_a_user_without_rights_is_told_so(postgresql_16: Any):
    with DatabaseStore(connection_url=postgresql_16.url) as store:
        store.save(a_result())
        store.execute_with_retry(lambda c: c.execute(text("CREATE ROLE reader LOGIN PASSWORD 'reader'")))
        store.execute_with_retry(lambda c: c.execute(text("GRANT SELECT ON ALL TABLES IN SCHEMA public TO reader")))
    address = f"postgresql://reader:reader@127.0.0.1:{postgresql_16.port}/postgres"
    with DatabaseStore(connection_url=address) as reader:
        assert reader.get("run_1") == a_result()
        assert reader.checks.count() == len(a_result().results)  # although nobody made the table of notes
        assert reader.verify().ok
        with pytest.raises(StoreWriteError, match="grant the user"):
            reader.save(a_result())


def test_questions_about_checks_need_no_tables_but_those_of_results(tmp_path: Path):
    url = f"sqlite:///{tmp_path}/results.db"
    with DatabaseStore(connection_url=url) as store:
        store.save(a_result())
    with DatabaseStore(connection_url=url, create_tables=False) as store:
        assert store.checks.count() == len(a_result().results)
        assert store.verify().ok
        assert "parts_removed" not in store.maintain()
        with pytest.raises(StoreConfigError, match="create_tables"):
            store.acknowledge("id unique", timedelta(days=1), by="ada", reason="known")


def test_tables_that_are_dropped_under_an_open_store_are_told_of(postgresql_16: Any):
    with DatabaseStore(connection_url=postgresql_16.url, table_prefix="gone_", collection=SAMPLES) as store:
        store.save(Sample("a"))
        store.execute_with_retry(lambda c: c.execute(text("DROP TABLE gone_samples CASCADE")))
        with pytest.raises(StoreWriteError, match="the table was dropped"):
            store.save(Sample("b"))
    with (
        DatabaseStore(connection_url=postgresql_16.url, table_prefix="gone_", collection=SAMPLES) as store,
        pytest.raises(StoreReadError, match="the table was dropped"),
    ):
        store.list_ids()


def test_a_place_whose_tables_were_all_dropped_is_used_again_by_the_stores_that_were_open(place: Place):
    prefix = "all_gone_"
    with (
        place.open(SAMPLES, table_prefix=prefix) as store,
        place.open(SAMPLES, table_prefix=prefix) as other,
        BatchedStore(place.open(SAMPLES, table_prefix=prefix), flush_interval_seconds=None) as batched,
    ):
        for id, each in enumerate((store, other, batched)):
            each.save(Sample(f"old {id}", tags={"n": "1"}, note="some words"))
            assert each.count(StoreQuery(tags={"n": "1"}, text="words")) == id + 1
        drop_tables(place.url, prefix)
        with pytest.raises(StoreWriteError, match=r"the table was dropped, .*try again"):
            store.save(Sample("new"))
        store.save(Sample("new"))
        assert (store.list_ids(), other.list_ids(), batched.list_ids()) == (["new"],) * 3
        drop_tables(place.url, prefix)
        batched.save(Sample("waits"))
        with pytest.raises(StoreWriteError, match=r"the table was dropped, .*try again"):
            batched.flush()
        with pytest.raises(StoreReadError, match=r"the table was dropped, .*try again"):
            other.list_ids()
        assert other.list_ids() == []
    with place.open(SAMPLES, table_prefix=prefix) as store:
        assert store.list_ids() == ["waits"]
    drop_tables(place.url, prefix)


# Tables.


def test_memory(url: str):
    for address in ("sqlite://", "sqlite:///:memory:"):
        with DatabaseStore(connection_url=address, collection=SAMPLES) as store:
            store.save_many(make_samples())
            assert store.recycle_connections() == 0
            assert store.count() == len(make_samples())


def test_ten_processes_make_the_tables(place: Place):
    collection: Collection[Any] = Collection.of(
        Sample,
        name=f"many_{place.space.replace('-', '_')}",
        index={"count": int, "name": str},
        tags="tags",
        text=["note"],
    )

    def work(number: int) -> str:
        with place.open(collection) as store:
            return store.save(Sample(str(number), count=number, note="word", tags={"n": str(number)}))

    assert sorted(at_once(work, 10)) == sorted(map(str, range(10)))
    with place.open(collection) as store:
        assert store.list_ids(StoreQuery(order_by="count", ascending=True)) == list(map(str, range(10)))
        assert store.count(StoreQuery(text="word")) == 10


@dataclass
class Check:
    id: str
    asset: str = ""
    rows: int = 0
    note: str = ""


def test_a_field_that_is_declared_later_is_filled_in(place: Place, monkeypatch: pytest.MonkeyPatch):
    name = f"checks_{place.space.replace('-', '_')}"
    old: Collection[Any] = Collection.of(Check, name=name, index={"asset": str})
    new: Collection[Any] = Collection.of(Check, name=name, index={"asset": str, "rows": int}, text=["note"])
    with place.open(old) as before, place.open(old, namespace="apart") as apart:
        before.save_many(Check(str(n), "orders", n, f"word{n}") for n in range(20))
        apart.save(Check("x", "orders", 7))
        with place.open(new) as after:
            assert after.list_ids(StoreQuery(where={"rows": (">", 17)}, order_by="rows")) == ["19", "18"]
            assert after.list_ids(StoreQuery(text="WORD7")) == ["7"]
            before.save(Check("late", "orders", 100, "late words"))
            before.save(Check("3", "orders", 300, "changed"))
            assert after.list_ids(StoreQuery(where={"rows": (">=", 100)}, order_by="rows")) == ["3", "late"]
            assert after.list_ids(StoreQuery(text="late")) == ["late"]
            after.save(Check("new", "orders", 5))
            assert before.count() == 22
            assert before.list_ids(StoreQuery(data_asset=None, where={"asset": "orders"}, ids=["new"])) == ["new"]
            monkeypatch.setattr(database_fill, "BACKFILL_LIMIT", 3)
            before.save_many(Check(f"many {n}", rows=-1) for n in range(4))
            with pytest.raises(StoreConfigError, match="rebuild_index"):
                after.count(StoreQuery(where={"rows": -1}))
            assert after.rebuild_index() == 26
            assert after.count(StoreQuery(where={"rows": -1})) == 4


def test_rows_of_any_of_many_declarations_are_filled_in(url: str):
    def declared(number: int) -> Collection[Any]:
        return Collection.of(Check, name="checks", index={"asset": str, f"rows{number}": Field(int, "rows")})

    for number in range(12):
        with DatabaseStore[Any](connection_url=url, collection=declared(number)) as store:
            store.save(Check(str(number), rows=number))
    for number in (0, 5, 11):
        with DatabaseStore(connection_url=url, collection=declared(number)) as store:
            assert store.count(StoreQuery(where={f"rows{number}": (">=", 0)})) == 12


def test_tables_of_another_layout_are_refused(url: str, monkeypatch: pytest.MonkeyPatch):
    with DatabaseStore(connection_url=url) as store:
        store.save(a_result())
    monkeypatch.setattr(database_schema, "LAYOUT", database_schema.LAYOUT + 1)
    with pytest.raises(StoreConfigError, match="layout"):
        get_store(url).list_ids()


def test_tables_are_not_made_unless_allowed(url: str, tmp_path: Path):
    (tmp_path / "store.db").touch()
    with (
        closing(DatabaseStore(connection_url=url, create_tables=False)) as store,
        pytest.raises(StoreConfigError, match="create_tables"),
    ):
        store.initialize()
    with DatabaseStore(connection_url=url) as store:
        store.save(a_result())
    with DatabaseStore(connection_url=url, create_tables=False) as store:
        assert store.list_ids() == ["run_1"]


def test_names_of_collections_never_share_a_table():
    names = ["results", "validations", "results.tags", "results_tags", "validations_tags", "results.versions"]
    names += ["truthstore_schema", "a_tags", "a.tags", "a_text", "a", "x" * 63, "x" * 62 + "y"]
    tables = [database_schema.table_name("p_", name) for name in names]
    everything = [*tables, *(f"{table}{end}" for table in tables for end in ("_tags", "_text")), "p_truthstore_schema"]
    assert len(set(everything)) == len(everything)
    assert max(map(len, everything)) <= 60


def test_fields_may_have_the_names_of_our_columns(place: Place):
    @dataclass
    class Odd:
        id: str
        body: str = ""
        namespace: str = ""
        item: int = 0
        key: str = ""

    name = f"odd_{place.space.replace('-', '_')}"
    collection: Collection[Any] = Collection.of(
        Odd, name=name, index={"body": str, "namespace": Field(str), "item": int, "key": str}
    )
    with place.open(collection) as store:
        store.save_many([Odd("a", "x", "y", 3, "k"), Odd("b", "z")])
        for where in ({"body": "x"}, {"namespace": "y"}, {"item": 3}, {"key": "k"}):
            assert store.list_ids(StoreQuery(where=where)) == ["a"]
        assert store.distinct("item") == [0, 3]


def test_a_string_without_an_index_is_compared_too(place: Place):
    name = f"plain_{place.space.replace('-', '_')}"
    collection: Collection[Any] = Collection.of(Check, name=name, index={"asset": Field(str, indexed=False)})
    with place.open(collection) as store:
        store.save_many([Check("a", "x" * 200), Check("b", "y")])
        assert store.list_ids(StoreQuery(where={"asset": "x" * 200})) == ["a"]


def test_long_strings_that_begin_alike_are_told_apart(place: Place):
    with place.open(SAMPLES) as store:
        assets = ["é" * 500 + end for end in ("a", "b", "")]
        store.save_many(Sample(str(n), data_asset=asset, status="failure") for n, asset in enumerate(assets))
        for n, asset in enumerate(assets):
            assert store.list_ids(StoreQuery(data_asset=asset, status="failure")) == [str(n)]
        assert store.list_assets() == sorted(assets)


def test_many_ids_and_many_values(place: Place):
    with place.open(SAMPLES) as store:
        store.save_many(Sample(f"{n:04d}", count=n, ratio=float(n), name=str(n), passed=True) for n in range(1_200))
        ids = [f"{n:04d}" for n in range(0, 3_000, 2)]
        assert len(store.get_many(ids, missing="skip")) == 600
        for field, values in (("count", range(900)), ("name", map(str, range(900))), ("ratio", map(float, range(900)))):
            assert store.count(StoreQuery(where={field: ("in", list(values))})) == 900
        assert store.count(StoreQuery(where={"moment": ("in", [None])})) == 1_200
        assert store.delete_many(ids) == 600


def test_queries_of_one_shape_have_their_own_values(place: Place):
    samples = [Sample(f"{n:02d}", data_asset="xy"[n % 2], count=n, tags={"k": str(n % 3)}) for n in range(12)]
    with place.open(SAMPLES) as store:
        store.save_many(samples)
        for sample in samples:
            like = [s.id for s in samples if (s.data_asset, s.tags) == (sample.data_asset, sample.tags)]
            query = StoreQuery(data_asset=sample.data_asset, tags=sample.tags, order_by="count", ascending=True)
            assert store.list_ids(query) == like
            assert store.count(query) == len(like) == 2
            assert store.list_ids(query.replace(limit=1)) == like[:1]
            assert store.list_ids(query.replace(limit=1, offset=1)) == like[1:]
            cursor = query.bind(SAMPLES).cursor(store.head(like[0]).meta)
            assert store.list_ids(query.replace(after=cursor, limit=1)) == like[1:]
            by_id = StoreQuery(order_by="id", limit=1)
            before = by_id.replace(after=by_id.bind(SAMPLES).cursor(store.head(sample.id).meta))
            assert store.list_ids(before) == [s.id for s in samples if s.id < sample.id][-1:]
        store.save(Sample("none"))
        for count in (0, None, 5):
            wanted = "none" if count is None else f"{count:02d}"
            assert store.list_ids(StoreQuery(where={"count": count})) == [wanted]
            assert wanted not in store.list_ids(StoreQuery(where={"count": ("!=", count)}))


def test_infinities_and_the_greatest_float(place: Place):
    with place.open(SAMPLES) as store:
        ratios = {"inf": float("inf"), "most": sys.float_info.max, "least": -sys.float_info.max, "-inf": float("-inf")}
        store.save_many(Sample(id, ratio=ratio) for id, ratio in ratios.items())
        assert store.list_ids(StoreQuery(order_by="ratio")) == list(ratios)
        assert store.list_ids(StoreQuery(where={"ratio": float("inf")})) == ["inf"]
        assert store.list_ids(StoreQuery(where={"ratio": sys.float_info.max})) == ["most"]


def test_times_beyond_the_calendar_are_indexed_as_its_ends(place: Place):
    early = datetime(1, 1, 1, tzinfo=timezone(timedelta(hours=5)))
    late = datetime(9999, 12, 31, 23, 59, tzinfo=timezone(timedelta(hours=-5)))
    with place.open(SAMPLES) as store:
        store.save_many([Sample("late", moment=late), Sample("early", moment=early)])
        assert (store.get("early").moment, store.get("late").moment) == (early, late)
        first = datetime(1000, 1, 1, tzinfo=UTC)
        store.save(Sample("first", moment=first))
        assert store.get("first").moment == first
        assert store.list_ids(StoreQuery(order_by="moment", ascending=True)) == ["early", "first", "late"]
        assert store.list_ids(StoreQuery(end_time=first)) == ["first", "early"]
        assert [head.id for head in store.entries(StoreQuery(start_time=first))] == ["late", "first"]


class Word(enum.StrEnum):
    ONE = "one"


class Number(enum.IntEnum):
    SEVEN = 7


def test_scalars_of_other_libraries_and_enums_are_what_they_stand_for(place: Place):
    new: Any = Sample
    samples = [
        new(np.str_("a"), name=np.str_("one"), count=np.int64(7), ratio=np.float64(0.5), tags={"k": np.str_("v")}),
        new(np.str_("b"), name=Word.ONE, count=Number.SEVEN, ratio=np.float32(0.5), tags={np.str_("k"): Word.ONE}),
    ]
    with place.open(SAMPLES) as store:
        store.save(samples[0], expect=ABSENT)
        store.save_many(samples)
        for query in ({"name": "one"}, {"name": np.str_("one")}, {"count": 7}, {"count": Number.SEVEN}, {"ratio": 0.5}):
            assert sorted(store.list_ids(StoreQuery(where=query))) == ["a", "b"]
        assert store.list_ids(StoreQuery(tags={"k": np.str_("v")})) == ["a"]
        assert store.list_ids(StoreQuery(tags={"k": Word.ONE}, ids=[np.str_("b")])) == ["b"]
        assert {head.id: (head.meta.fields["count"], dict(head.meta.tags)) for head in store.entries()} == {
            "a": (7, {"k": "v"}),
            "b": (7, {"k": "one"}),
        }
        assert store.delete_many([np.str_("a"), np.str_("b")]) == 2


def test_a_store_that_is_dropped_gives_its_descriptors_back(place: Place):
    def opened() -> int:
        gc.collect()
        return len(os.listdir("/proc/self/fd"))

    store: DatabaseStore[Any] | None = place.open(SAMPLES)
    assert store is not None
    store.initialize()
    before = opened()
    store.save(Sample("a"))
    del store
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert opened() < before


@pytest.mark.parametrize("change", ["tags = '{'", "tags = '[1]'", "extra = '5'", "run_time = 'noon'", "body = 'x'"])
def test_a_row_that_another_program_spoiled_is_damaged_and_no_other(url: str, change: str):
    with DatabaseStore(connection_url=url) as store:
        store.save_many([a_result("good"), a_result("bad")])
        store.execute_with_retry(lambda c: c.execute(text(f"UPDATE validations SET {change} WHERE id = 'bad'")))
        with pytest.raises(StoreCorruptError, match="'bad'"):
            store.get("bad")
        assert store.get("good") == a_result("good")
        assert sorted(store.list_ids()) == ["bad", "good"]
        store.save(a_result("bad"))
        assert store.verify().corrupt == {}


def test_other_tools_see_real_columns(tmp_path: Path, postgresql_16: Any, mariadb_server: Any):
    asked = """SELECT data_asset, status, count(*), max(total_issues) FROM validations v
        JOIN validations_tags t ON t.item = v.item WHERE t.name = 'environment' AND t.value = 'production'
        AND namespace = 'charts' AND run_time >= '2026-01-01' GROUP BY data_asset, status"""
    address = f"sqlite:///{tmp_path}/store.db"
    for where in (address, postgresql_16.url, mariadb_server.url):
        with DatabaseStore(connection_url=where, namespace="charts") as store:
            store.save(a_result())
    with sqlite3.connect(tmp_path / "store.db") as file:
        rows = [file.execute(asked).fetchall()]
    file.close()
    with psycopg.connect(postgresql_16.url) as connection:
        rows.append(connection.execute(asked).fetchall())
    port, user, password = mariadb_server.port, mariadb_server.user, mariadb_server.password
    with pymysql.connect(host="127.0.0.1", port=port, user=user, password=password, database="store") as connection:
        cursor = connection.cursor()
        cursor.execute(asked)
        rows.append(list(cursor.fetchall()))
    assert rows == [[("orders", "failure", 1, 1)]] * 3


def test_prefixes_keep_tables_apart(url: str):
    with DatabaseStore(connection_url=url) as one, DatabaseStore(connection_url=url, table_prefix="team_") as two:
        one.save(a_result())
        assert two.list_ids() == []
        names = two.execute_with_retry(lambda c: set(inspect(c).get_table_names()))
    assert {"validations", "team_validations", "team_truthstore_schema"} <= names
    with (
        DatabaseStore(connection_url=url, prefix="b", namespace="a") as one,
        DatabaseStore(connection_url=url, namespace="a/b") as two,
    ):
        one.save(a_result())
        assert two.list_ids() == []


def test_collections_of_results_use_the_table_that_dashboards_know():
    assert database_schema.table_name("", RESULTS.name) == "validations"
