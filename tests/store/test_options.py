"""Options that there are not name the nearest that there is; what is given in a wrong place may be a secret, and is not shown."""

from __future__ import annotations

import re
import sys
import traceback
from pathlib import Path
from typing import Any

import pytest

from truthstore import StoreConfigError, StoreConnectionError, StoreError, get_store, open_store
from truthstore.backends.database import DatabaseStore, PoolingConfig
from truthstore.caching import CachedStore, RedisCache
from truthstore.retention import CountBasedPolicy
from truthstore.versioning import VersionedStore

SECRET = "hunter2" + "-S3cretOfNoWord"  # in two, for a traceback shows this line
LAYERS = "backend: memory\nlayers:\n  - "


@pytest.fixture
def opened(tmp_path: Path):
    def opened(text: str):
        path = tmp_path / "truthstore.yaml"
        path.write_text(text)
        return open_store(path)

    return opened


PARTS = {
    "policy": (
        '{layer: retention, policies: [{type: "truthstore.retention:TimeBasedPolicy", max_age_dayz: 3}]}',
        "TimeBasedPolicy has no option 'max_age_dayz': did you mean 'max_age_days'?",
    ),
    "policy in a policy": (
        """{layer: retention, policies: [{type: "truthstore.retention:CompositePolicy", policies: [
            {type: "truthstore.retention:CountBasedPolicy", max_cuont: 3}]}]}""",
        "CountBasedPolicy has no option 'max_cuont': did you mean 'max_count'?",
    ),
    "cache": (
        '{layer: caching, cache: {type: "truthstore.caching:DiskCache", dircetory: x}}',
        "DiskCache has no option 'dircetory': did you mean 'directory'?",
    ),
    "sink": (
        """{layer: observability, audit: {type: "truthstore.observability:AuditConfig",
            backend: {type: "truthstore.observability:FileAuditBackend", pth: x}}}""",
        "FileAuditBackend has no option 'pth': did you mean 'path'?",
    ),
    "schedule": (
        '{layer: retention, schedule: {type: "truthstore.retention:RetentionSchedule", run_at_huor: 3}}',
        "RetentionSchedule has no option 'run_at_huor': did you mean 'run_at_hour'?",
    ),
    "class": (
        '{layer: caching, cache: {type: "truthstore.caching:LRUCahce"}}',
        "truthstore.caching has no class 'LRUCahce': did you mean 'LRUCache'?",
    ),
    "no class at all": (
        '{layer: caching, cache: {type: "truthstore.caching:Squirrel"}}',
        "has no class '…': there are BaseCache, DiskCache, InMemoryCache, LFUCache, LRUCache, RedisCache, SharedCache",
    ),
    "module": ('{layer: "truthstore.cahcing:CachedStore"}', "'truthstore' has no such module"),
    "layer": ("versoning", "there is no layer 'versoning': use one of backpressure,"),
    "option of a layer": ("{layer: batching, bach_size: 3}", "did you mean 'max_batch_size'?"),
}


@pytest.mark.parametrize("part", PARTS)
def test_a_misspelt_option_of_a_part_names_the_part_and_the_nearest(opened, part: str):
    layer, message = PARTS[part]
    with pytest.raises(StoreConfigError, match=re.escape(message)):
        opened(LAYERS + layer + "\n")


URLS = {
    "file://{}/files?indx=log": "the filesystem store has no option 'indx': did you mean 'index'?",
    "memory://?namspace=x": "did you mean 'namespace'?",
    "s3://bucket/prefix?regoin=x": "the s3 store has no option 'regoin': did you mean 'region'?",
    "gs://bucket?projct=x": "did you mean 'project'?",
    "az://container?acount_url=x": "did you mean 'account_url'?",
    "sqlite:///{}/x.db?timout=3": "has no option 'timout': did you mean 'timeout'?",
    "sqlite:///{}/x.db?namespce=x": "did you mean 'namespace'?",
    "sqlite:///{}/x.db?x=y": "has no option 'x': it takes aliases, ",
    "sqlite:///{}/x.db?uri=true&mode=ro": "has no option 'mode'",
    "postgresql://host/checks?sslmod=require": "for psycopg has no option 'sslmod': did you mean 'sslmode'?",
    "postgresql://host/checks?table_prefx=a": "did you mean 'table_prefix'?",
    "mysql://host/checks?chrset=utf8mb4": "for pymysql has no option 'chrset': did you mean 'charset'?",
    "mariadb://host/checks?ssl_c=a": "did you mean 'ssl_ca'?",
    "s3://bucket?timeout=soon": "timeout is float, not text",
}


@pytest.mark.parametrize("url", URLS)
def test_a_url_has_no_option_that_is_ignored(tmp_path: Path, url: str, recwarn: pytest.WarningsRecorder):
    with pytest.raises(StoreConfigError, match=re.escape(URLS[url])):
        get_store(url.format(tmp_path))
    assert not recwarn.list


@pytest.mark.parametrize("option", ["timeout=3", "cached_statements=5", "uri=true", "namespace=x"])
def test_options_of_sqlite_are_taken(tmp_path: Path, option: str):
    with get_store(f"sqlite:///file:{tmp_path}/x.db?uri=true&{option}&cache=private") as store:
        assert store.count() == 0


def test_an_option_of_the_store_is_not_read_from_the_url_of_its_database(tmp_path: Path):
    with pytest.raises(StoreConfigError, match="an option of the store: give namespace= apart"):
        DatabaseStore(connection_url=f"sqlite:///{tmp_path}/x.db?namespace=x")


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("redis://host/0?scket_timeout=3", "has no option 'scket_timeout': did you mean 'socket_timeout'?"),
        ("rediss://host/0?ssl_crt=x", "did you mean 'ssl_cert"),
        ("redis://host/0?socket_timeout=soon", "give an option what it takes"),
        ("redis://host/0?decode_responses=true", "must not decode answers"),
    ],
)
def test_a_cache_refuses_what_its_connections_would(url: str, message: str):
    with pytest.raises(StoreConfigError, match=re.escape(message)):
        RedisCache(url)


MISTAKEN = [
    f"backend: {SECRET}\n",
    f"backend: {SECRET}/a\n",
    f"backend: memory\n{SECRET}: 1\n",
    f"backend: filesystem\nserialization_format: {SECRET}\n",
    f"backend: filesystem\ncompression: {SECRET}\n",
    f"backend: filesystem\ndurability: {SECRET}\n",
    f"backend: filesystem\nindex: {SECRET}\n",
    f"backend: filesystem\nfile_extension: {SECRET}\n",
    f"backend: database\ntable_prefix: {SECRET}\n",
    f"backend: database\npooling: {SECRET}\n",
    f"backend: s3://bucket\nserver_side_encryption: {SECRET}\n",
    f"backend: s3://bucket\ntimeout: {SECRET}\n",
    f"backend: az://container\naccount_name: a\naccess_tier: {SECRET}\n",
    f"{LAYERS}{SECRET}\n",
    f"{LAYERS}{{layer: {SECRET}}}\n",
    f"{LAYERS}{{layer: 'alice:{SECRET}'}}\n",
    f"{LAYERS}{{layer: '{SECRET}:Class'}}\n",
    f"{LAYERS}{{layer: 'truthstore.{SECRET}:Class'}}\n",
    f"{LAYERS}{{layer: 'truthstore.retention:{SECRET}'}}\n",
    f"{LAYERS}{{layer: caching, cache: {{type: '{SECRET}'}}}}\n",
    f"{LAYERS}{{layer: caching, cache: {{type: 'truthstore.caching:{SECRET}'}}}}\n",
    f"{LAYERS}{{layer: caching, mode: {SECRET}}}\n",
    f"{LAYERS}{{layer: caching, eviction_policy: {SECRET}}}\n",
    f"{LAYERS}{{layer: caching, {SECRET}: 1}}\n",
    f"{LAYERS}{{layer: versioning, mode: {SECRET}}}\n",
    f"{LAYERS}{{layer: versioning, checksum_algorithm: {SECRET}}}\n",
    f"{LAYERS}{{layer: retention, mode: {SECRET}, policies: []}}\n",
    f"{LAYERS}{{layer: retention, default_action: {SECRET}, policies: []}}\n",
    f"{LAYERS}{{layer: retention, excluded_assets: {SECRET}, policies: []}}\n",
    f"{LAYERS}{{layer: batching, durable: true, durability: {SECRET}}}\n",
    f"{LAYERS}{{layer: observability, audit: {{type: 'truthstore.observability:AuditConfig', level: {SECRET}}}}}\n",
    f"{LAYERS}{{layer: observability, audit: {{type: 'truthstore.observability:AuditConfig', backend: {SECRET}}}}}\n",
    f"{LAYERS}{{layer: observability, metrics: {{type: 'truthstore.observability:MetricsConfig', exporter: {SECRET}}}}}\n",
]


@pytest.mark.parametrize("text", MISTAKEN)
def test_a_secret_in_the_place_of_a_choice_is_not_shown(opened, text: str):
    with pytest.raises(StoreConfigError) as caught:
        opened(text)
    assert SECRET not in "".join(traceback.format_exception(caught.value))
    assert len(str(caught.value)) < 2_000


@pytest.mark.parametrize("given", ["option", "environment"])
def test_a_profile_that_there_is_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: str):
    (tmp_path / "config").write_text("[profile staging]\nregion = eu-central-1\n")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))
    for profile, message in {"stagign": "'stagign': did you mean 'staging'?", SECRET: "'…': there are staging"}.items():
        if given == "environment":
            monkeypatch.setenv("AWS_PROFILE", profile)
        options: dict[str, Any] = {"profile": profile} if given == "option" else {}
        store = get_store("s3://bucket", cache_dir=tmp_path, **options)
        with pytest.raises(StoreConfigError, match=re.escape(f"there is no profile {message}")) as caught:
            store.initialize()
        assert SECRET not in "".join(traceback.format_exception(caught.value))


ONCE = PoolingConfig(enable_retry=False)


@pytest.mark.parametrize(
    ("url", "error"),
    [
        (f"postgresql://127.0.0.1:1/checks?sslmode={SECRET}", StoreConnectionError),
        (f"postgresql://127.0.0.1:1/checks?service={SECRET}", StoreConnectionError),
        (f"postgresql://127.0.0.1:1/checks?connect_timeout={SECRET}", StoreConnectionError),
        (f"postgresql://127.0.0.1:1/checks?{SECRET}=1", StoreConfigError),
        (f"mysql://127.0.0.1:1/checks?connect_timeout={SECRET}", StoreConfigError),
        (f"mysql://127.0.0.1:1/checks?ssl_ca={SECRET}", StoreConfigError),
        (f"sqlite:///x.db?timeout={SECRET}", StoreConfigError),
    ],
)
def test_what_a_driver_says_of_an_option_does_not_show_its_value(url: str, error: type[StoreError]):
    with pytest.raises(error) as caught:
        get_store(url, pooling=ONCE).count()
    assert SECRET not in "".join(traceback.format_exception(caught.value))


def test_what_resembles_a_choice_is_shown():
    store = get_store("memory")
    with pytest.raises(StoreConfigError, match="not 'read_thru'"):
        CachedStore(store, mode="read_thru")
    with pytest.raises(
        StoreConfigError, match="mode is one of incremental, semantic, timestamp, git_like, not 'semantik'"
    ):
        VersionedStore(store, mode="semantik")
    with pytest.raises(StoreConfigError, match=r"action is one of .*, not 7"):
        CountBasedPolicy(1, action=7)  # type: ignore[arg-type]


def test_a_module_that_is_not_allowed_is_named_if_there_is_one(opened):
    for name, shown in {"json.decoder": "json.decoder", "wsgiref.nothing": "wsgiref"}.items():
        assert name == shown or name not in sys.modules
        with pytest.raises(StoreConfigError, match=re.escape(f"open_store(…, allow=['{shown}'])")):
            opened(f"{LAYERS}{{layer: '{name}:Class'}}\n")
