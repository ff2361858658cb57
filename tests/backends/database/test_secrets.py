"""Passwords with any sign in them: taken as they are, and never shown."""

from __future__ import annotations

import random
import traceback
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from sqlalchemy import text

from tests.services.postgresql import PostgreSQL
from truthstore import StoreConfigError, StoreConnectionError, StoreError, get_store, open_store
from truthstore.backends.database import DatabaseConfig, DatabaseStore, PoolingConfig
from truthstore.backends.database.config import options_of_url
from truthstore.testing.suite.items import a_result

SIGNS = "@@?#/[]:%&=+ '\"\\,;$é"
ONCE = PoolingConfig(enable_retry=False)


def passwords(number: int) -> Iterator[tuple[str, str]]:
    """Return passwords, each with a part of it that nothing else shows."""
    chance = random.Random(7)
    for _ in range(number):
        core = "".join(chance.choices("QXZWVJ", k=9))
        parts = ["".join(chance.choices(SIGNS + "abc", k=chance.randrange(4))) for _ in range(2)]
        yield f"{parts[0]}{core}{parts[1]}", core


def everything_shown(make: Any) -> list[str]:
    """Return all that a store says of itself whose server cannot be reached."""
    said = []
    try:
        with closing(make()) as store:
            health = store.health_check()
            said += [repr(store), str(health), repr(store._settings), store.identity]
            store.count()
    except StoreError as error:
        said += [repr(error), *traceback.format_exception(error)]
    return said


@pytest.mark.parametrize("kind", ["postgresql", "postgresql+psycopg2", "mysql", "nonsense", "postgresq"])
def test_no_password_is_shown(kind: str, caplog: pytest.LogCaptureFixture):
    for password, core in passwords(40):
        for url in (
            f"{kind}://alice:{password}@127.0.0.1:1/checks",
            f"{kind}://alice:{quote(password, safe='')}@127.0.0.1:1/checks",
            f"{kind}://127.0.0.1:1/checks?user=alice&password={password}",
            f"{kind}:/alice:{password}@127.0.0.1:1/checks",
            f"{kind}://alice:{password.replace('@', '')}",
        ):
            shown = everything_shown(lambda: DatabaseStore(**options_of_url(url), pooling=ONCE, echo=True))  # noqa: B023
            shown += everything_shown(lambda: DatabaseStore(connection_url=url, pooling=ONCE, echo=True))  # noqa: B023
            assert core not in "".join(shown)
        apart: dict[str, Any] = {"connection_url": f"{kind}://", "user": "alice", "password": password, "port": 1}
        shown = everything_shown(lambda: DatabaseStore(**apart, host="127.0.0.1", database="checks", pooling=ONCE))  # noqa: B023
        assert core not in "".join(shown)
    assert not any(core in caplog.text for _, core in passwords(40))


@pytest.mark.parametrize("password", ["a", "server", "connection"])
def test_messages_stay_readable_whatever_the_password(password: str):
    store = get_store(f"postgresql://alice:{password}@127.0.0.1:1/checks")
    assert "connection to server" in store.health_check().message
    store.close()


@pytest.fixture
def odd_user(postgresql_16: PostgreSQL) -> Iterator[str]:
    """Return the password of a user, which no URL takes as it is."""
    password = "p@ss/w?rd#%41[x]: &'ü"
    run = DatabaseStore(connection_url=postgresql_16.url).execute_with_retry
    quoted = password.replace("'", "''")
    run(lambda c: c.execute(text(f"CREATE ROLE odd LOGIN SUPERUSER PASSWORD '{quoted}'".replace(":", "\\:"))))
    yield password
    run(lambda c: c.execute(text("REASSIGN OWNED BY odd TO CURRENT_USER")))
    run(lambda c: c.execute(text("DROP ROLE odd")))


def test_parts_of_the_address_need_no_escapes(odd_user: str, postgresql_16: PostgreSQL, tmp_path: Path):
    apart: dict[str, Any] = {"user": "odd", "password": odd_user, "port": postgresql_16.port, "database": "postgres"}
    with get_store("database", connection_url="postgresql://", host="127.0.0.1", **apart) as store:
        store.save(a_result())
    with DatabaseStore(DatabaseConfig(connection_url="postgresql://127.0.0.1/other", **apart)) as store:
        assert store.get("run_1") == a_result()
    file = tmp_path / "store.yaml"
    file.write_text(
        "backend: database\nconnection_url: postgresql://\nuser: odd\npassword: ${SECRET}\n"
        "host: 127.0.0.1\nport: ${PORT}\ndatabase: postgres\n"
    )
    with open_store(file, environment={"SECRET": odd_user, "PORT": str(postgresql_16.port)}) as found:
        assert found.get("run_1") == a_result()


def test_a_password_of_digits_is_text(tmp_path: Path):
    file = tmp_path / "store.yaml"
    file.write_text("backend: database\nconnection_url: postgresql://localhost\npassword: ${SECRET}\n")
    with closing(open_store(file, environment={"SECRET": "007"})) as store:
        assert store.layer(DatabaseStore)._database.url.password == "007"
    with pytest.raises(TypeError, match=r"password of DatabaseStore is str \| None, not int"):
        DatabaseStore(connection_url="postgresql://localhost", password=7)


def test_a_file_has_no_user():
    with pytest.raises(StoreConfigError, match="for a server"):
        DatabaseStore(user="alice")


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://u:x@127.0.0.1:1/d?colour=red",
        "postgresql://u:x@127.0.0.1:1/d?connect_timeout=often",
        "postgresql://u:x@127.0.0.1:1/d?sslmode=perhaps",
        "postgresql://u:x@127.0.0.1:1/d?prepare_threshold=often",
        "mysql://u:x@127.0.0.1:1/d?colour=red",
        "mysql://u:x@127.0.0.1:1/d?read_timeout=often",
        "mysql://u:x@127.0.0.1:1/d?ssl_disabled=perhaps",
    ],
)
def test_an_option_that_the_driver_does_not_take_is_said(url: str):
    with pytest.raises((StoreConfigError, StoreConnectionError), match=r"option|invalid literal") as caught:
        get_store(url).initialize()
    assert not caught.value.retryable


def test_an_address_holds_no_control_characters():
    with pytest.raises(StoreConfigError, match="connection_url holds U"):
        DatabaseStore(connection_url="sqlite:///a\0b.db")
