"""No message, log, repr, traceback, label or event shows a password that stands in a URL, however it is written there."""

from __future__ import annotations

import logging
import random
import string
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from truthstore import StoreConfigError, StoreConnectionError, StoreError, get_store, open_store
from truthstore.backends.azure_blob import AzureBlobConfig
from truthstore.backends.database import DatabaseConfig, DatabaseStore, PoolingConfig
from truthstore.backends.filesystem.config import FileSystemConfig
from truthstore.backends.s3 import S3Config
from truthstore.caching import RedisCache
from truthstore.observability import AuditConfig, MetricsConfig, ObservabilityConfig, ObservableStore
from truthstore.retention import RetentionConfig
from truthstore.store.urls import shown_url, without_secret
from truthstore.testing import SAMPLES, Sample

SIGNS = "@?#/[]:%&=+ '\"\\$!;,"
ONCE = PoolingConfig(enable_retry=False, enable_circuit_breaker=False)


def passwords(count: int) -> list[str]:
    """Passwords with signs that mean something in a URL, of parts that no message has."""
    chance = random.Random(10)
    made = []
    for _ in range(count):
        parts = ["".join(chance.choices(string.ascii_letters + string.digits, k=9)) for _ in range(3)]
        made.append("".join(part + chance.choice(SIGNS) * chance.choice((1, 1, 2)) for part in parts))
    return made


PASSWORDS = passwords(200)
SECRET = PASSWORDS[0][:9]  # written nowhere, also not in the lines of a traceback


def parts_of(password: str) -> list[str]:
    """The parts of a password between the signs: none may be seen, not even alone."""
    return "".join(sign if sign.isalnum() else " " for sign in password).split()


def written(password: str) -> list[str]:
    """URLs with this password: as it should be and raw, mistyped, without a host, in the query."""
    return [
        f"postgresql://alice:{quote(password, safe='')}@127.0.0.1:1/checks",
        f"postgresql://alice:{password}@127.0.0.1:1/checks",
        f"mysql://alice:{password}@127.0.0.1:1/checks",
        f"postgresql:/alice:{password}@127.0.0.1:1/checks",
        f"postgresql//alice:{password}@127.0.0.1:1/checks",
        f"postgrseql://alice:{password}@127.0.0.1:1/checks",
        f"alice:{password}@127.0.0.1:1/checks",
        f"postgresql://127.0.0.1:1/checks?user=alice&password={quote(password, safe='')}",
        f"s3://alice:{password}@bucket/prefix",
        f"file://alice:{password}@host/folder",
        f"redis://alice:{password}@127.0.0.1:1/0",
        f"nosuch+thing://alice:{password}@host",
    ]


@pytest.fixture
def seen(caplog: pytest.LogCaptureFixture) -> Callable[..., str]:
    """Everything that can be seen of what a function does: its errors, their causes, what it returns and logs."""
    caplog.set_level(logging.DEBUG)

    def seen(*calls: Callable[[], object]) -> str:
        texts: list[str] = []
        for call in calls:
            try:
                texts.append(repr(call()))
            except (StoreError, TypeError, ValueError) as error:
                texts += traceback.format_exception(error)
                texts.append(f"{error!r} {vars(error)}")
        return "\n".join([*texts, caplog.text])

    return seen


def uses(url: str, registry: CollectorRegistry) -> list[Callable[[], object]]:
    """The ways to meet a URL."""
    config = ObservabilityConfig(audit=AuditConfig(backend="memory"), metrics=MetricsConfig(registry=registry))
    options: dict[str, Any] = {"pooling": ONCE} if "sql:" in url else {}
    kept: list[ObservableStore[Any]] = []

    def make() -> object:
        kept.append(ObservableStore(get_store(url, collection=SAMPLES, **options), config))
        return kept

    def ask(question: Callable[[ObservableStore[Any]], object]) -> Callable[[], object]:
        return lambda: [question(store) for store in kept]

    return [
        make,
        ask(lambda store: store.identity),
        ask(lambda store: store.health_check()),
        ask(lambda store: store.save(Sample("a"))),
        ask(lambda store: list(store.audit.query())),
        ask(lambda store: store.close()),
        lambda: open_store(url),
        lambda: DatabaseConfig(connection_url=url),
        lambda: get_store("database", connection_url=url),
        lambda: RedisCache(url).get("a"),
        lambda: S3Config(bucket="b", endpoint_url=url.replace("s3:", "http:")) if url.startswith("s3:") else None,
        lambda: RetentionConfig(archive_store_name=url),
        lambda: shown_url(url),
        lambda: generate_latest(registry),
    ]


@pytest.mark.parametrize("part", range(10))
def test_no_password_is_seen(part: int, seen: Callable[..., str]):
    registry = CollectorRegistry()
    for number, password in enumerate(PASSWORDS[part::10]):
        # All ways of writing for some, in turn one for the others.
        urls = written(password)
        for url in urls if number == 0 else {urls[1], urls[number % len(urls)]}:
            text = seen(*uses(url, registry))
            assert [piece for piece in parts_of(password) if piece in text] == [], url


def test_a_file_shows_none_either(tmp_path: Path, seen: Callable[..., str]):
    path = tmp_path / "store.yaml"
    for password in PASSWORDS[:40]:
        for line in (
            f"connection_url: postgresql://alice:{password}@127.0.0.1:1/checks",
            f"connection_url: 'postgresql:/alice:{password}@127.0.0.1:1/checks'",
            "connection_url: ${URL}",
            "conection_url: ${URL}",
        ):
            path.write_text(f"backend: database\npool_size: 1\n{line}\n")
            url = {"URL": f"postgresql://alice:{password}@127.0.0.1:1/checks"}
            text = seen(lambda url=url: open_store(path, environment=url))
            assert [piece for piece in parts_of(password) if piece in text] == [], line


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://alice:secret@host:5432/checks?sslmode=require", "postgresql://…@host:5432/checks?…"),
        ("postgresql://host/checks", "postgresql://host/checks"),
        ("postgresql://alice:se?cret@host/checks", "postgresql://…"),
        ("postgresql://alice:secret", "postgresql://…"),
        ("s3://bucket/prefix?region=eu", "s3://bucket/prefix?…"),
        ("redis://[::1]:6379/0", "redis://[::1]:6379/0"),
        ("file:///home/me@work/store#1", "file:///home/me@work/store?…"),
        ("sqlite:////home/me@work/x.db", "sqlite:////home/me@work/x.db"),
        ("/data/checks", "/data/checks"),
        ("memory", "memory"),
        ("postgresql:/alice:secret@host/checks", "postgresql:/…@host/checks"),
        ("host=db user=alice password=secret", "…"),
        ("DRIVER=x;UID=alice;Pwd = secret", "…"),
        ("AccountName=a;AccountKey=secret==", "…"),
        ("host=db password=@secret", "…"),
        ("postgresql://host/checks;password=secret", "postgresql://…"),
    ],
)
def test_what_is_shown_of_a_url(url: str, shown: str):
    assert shown_url(url) == shown


@pytest.mark.parametrize("password", ["a", "r", "1", "server", "connection", "***"])
def test_words_of_a_message_are_left(password: str):
    message = 'connection to server at "127.0.0.1", port 1 failed: Connection refused'
    assert without_secret(message, password) == message


@pytest.mark.parametrize("password", ["tr0ub4dor&3", "p@ss/w:rd %", "server", "x"])
def test_what_another_program_says_of_a_password_is_not(password: str):
    message = f"host \"{password}\" of alice:{password}@host and password={quote(password)}, '{password}', is unknown"
    assert without_secret(message, password) == ("host \"***\" of alice:***@host and password=***, '***', is unknown")
    assert without_secret(message, None) == message


@pytest.mark.parametrize(
    "make",
    [
        lambda secret: FileSystemConfig(base_path=f"postgresql://alice:{secret}@host/checks"),
        lambda secret: DatabaseConfig(connection_url="postgresql://", host=f"alice:{secret}@host"),
        lambda secret: DatabaseStore(connection_url="postgresql://", port=secret),
        lambda secret: DatabaseStore(connection_url="postgresql://", database=f"checks?password={secret}"),
        lambda secret: DatabaseStore(connection_url=f"postgresql://host/checks;password={secret}"),
        lambda secret: get_store(f"s3://b?access_key_id=a&secret_access_key=a&{secret}"),
        lambda secret: get_store(f"s3://b?access_key_id=a&secret_access_key=a+{secret}"),
        lambda secret: RedisCache(f"redis://:@{secret}@127.0.0.1"),
        lambda secret: RedisCache(f"redis://:1/{secret}@127.0.0.1"),
        lambda secret: S3Config(bucket=f"s3://alice:{secret}@bucket"),
        lambda secret: S3Config(bucket="b", endpoint_url=f"http://host:9000?key={secret}"),
        lambda secret: S3Config(bucket="b", session_token=f"{secret}\n"),
        lambda secret: S3Config(bucket="b", access_key_id="a", secret_access_key=f" {secret}"),
        lambda secret: AzureBlobConfig(container="c", account_url=f"http://alice:{secret}@host"),
        lambda secret: AzureBlobConfig(container="c", account_url="http://host", account_key=f"{secret}\n"),
        lambda secret: AzureBlobConfig(container="c", account_name="a", sas_token=f"sig={secret} "),
    ],
)
def test_an_option_with_a_secret_in_the_wrong_place_or_form_is_refused(make: Callable[[str], object]):
    with pytest.raises((StoreConfigError, TypeError)) as caught:
        make(SECRET)
    assert SECRET not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("AWS_ENDPOINT_URL", f"http://alice:{SECRET}@127.0.0.1:1"),
        ("AWS_ENDPOINT_URL_S3", f"http://127.0.0.1:1?key={SECRET}"),
        ("AWS_SESSION_TOKEN", f"{SECRET}\n"),
    ],
    ids=["a user", "a query", "a token"],
)
def test_so_is_one_of_the_environment(variable: str, value: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    for name, given in {"ACCESS_KEY_ID": "a", "SECRET_ACCESS_KEY": "b", "ENDPOINT_URL": "http://127.0.0.1:1"}.items():
        monkeypatch.setenv(f"AWS_{name}", given)
    monkeypatch.setenv(variable, value)
    store = get_store("s3", bucket="b", region="eu", retries=0, cache_dir=tmp_path)
    with pytest.raises((StoreConfigError, StoreConnectionError)) as caught:
        store.count()
    assert SECRET not in "".join(traceback.format_exception(caught.value))
    assert SECRET not in str(store.health_check())


def test_a_wrong_url_still_says_what_to_do():
    with pytest.raises(StoreConfigError, match="write %5B and %5D"):
        get_store("s3://[bucket/prefix")
    with pytest.raises(StoreConfigError, match=r"'postgresql://…': write %3F"):
        get_store("postgresql://alice:se?cret@host/checks")
