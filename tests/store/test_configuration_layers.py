"""Layers in a YAML file: by short names, with policies, caches and sinks made of what the file says."""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from truthstore import StoreConfigError, WrapperStore, open_store
from truthstore.caching import CachedStore, CacheMode, LFUCache
from truthstore.observability import ObservableStore
from truthstore.retention import CountBasedPolicy, RetentionPolicy, RetentionStore, TimeBasedPolicy
from truthstore.versioning import VersionedStore

COMPOSING = Path(__file__).parents[2] / "docs" / "wrappers" / "composing.md"


@pytest.fixture
def described(tmp_path: Path):
    def described(text: str) -> str:
        path = tmp_path / "truthstore.yaml"
        path.write_text(text)
        return str(path)

    return described


def test_the_stack_of_the_documentation(described, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (block,) = re.findall(r"```yaml\n(.*?)```", COMPOSING.read_text(), re.DOTALL)
    with open_store(described(block)) as store:
        assert [layer.name for layer in store.layers()] == [
            "observable",
            "cached",
            "retention",
            "versioning",
            "filesystem",
        ]
        assert store.layer(VersionedStore).config.max_versions == 10
        (policy,) = store.layer(RetentionStore).config.policies
        assert isinstance(policy, TimeBasedPolicy)
        assert policy.max_age == timedelta(days=90)
        assert store.layer(CachedStore).mode is CacheMode.READ_WRITE
        assert store.layer(ObservableStore).config.audit.level == "verbose"


def test_objects_in_lists_and_with_variables(described, monkeypatch):
    monkeypatch.setenv("KEEP", "7")
    text = """
backend: memory
layers:
  - layer: retention
    policies:
      - {type: "truthstore.retention:CountBasedPolicy", max_count: "${KEEP}"}
      - {type: "truthstore.retention:TimeBasedPolicy", max_age_days: 30}
  - layer: caching
    cache: {type: "truthstore.caching:LFUCache", max_size: 5}
"""
    with open_store(described(text)) as store:
        first, second = store.layer(RetentionStore).config.policies
        assert isinstance(first, CountBasedPolicy)
        assert first.max_count == 7
        assert isinstance(second, TimeBasedPolicy)
        cache = store.layer(CachedStore).cache
        assert isinstance(cache, LFUCache)
        assert cache.config.max_size == 5


@pytest.mark.parametrize(
    ("layer", "why"),
    [
        (
            "versoning",
            "there is no layer 'versoning': use one of backpressure, batching, caching, ",
        ),
        ('{layer: retention, policy: {type: "truthstore.retention:NoPolicy"}}', "truthstore.retention has no class"),
        ('{layer: retention, policy: {type: "truthstore.retention:CountBasedPolicy", most: 1}}', "most"),
        ('{layer: caching, cache: {type: "truthstore.caching:LRUCache", max_size: 0}}', "max_size must be positive"),
    ],
)
def test_what_does_not_fit_is_refused(described, layer, why):
    with pytest.raises(StoreConfigError, match=re.escape(why)):
        open_store(described(f"backend: memory\nlayers:\n  - {layer}\n"))


METRICS = """{
    type: "truthstore.observability:MetricsConfig",
    registry: {type: "truthstore.caching:DiskCache", directory: made},
    }"""
called: list[str] = []


def note(*_: Any, **given: Any) -> None:
    called.append(f"note {given}")


class Noting:
    """Of no kind that an option takes."""

    def __init__(self, **given: Any) -> None:
        called.append(f"Noting {given}")


class Own(RetentionPolicy):
    """A policy of the program."""

    def should_retain(self, item: Any) -> bool:
        return True


class Passing(WrapperStore[Any]):
    """A layer of the program."""

    def __init__(self, base: Any, options=None):
        super().__init__(base)
        self.options = options


@pytest.mark.parametrize(
    ("layer", "why"),
    [
        ('{layer: retention, policy: {type: "os:mkdir", path: made}}', "a class of 'os' is not of truthstore"),
        ('{layer: retention, policies: [{type: "os:mkdir", path: made}]}', "a class of 'os' is not of truthstore"),
        ('{layer: "os:mkdir", path: made}', "a class of 'os' is not of truthstore"),
        ('"os:getcwd"', "is not of truthstore"),
        ('{layer: retention, policy: {type: "truthstore_plugins:Policy"}}', "is not of truthstore"),
        ('{layer: retention, policy: {type: "truthstore.retention.plan:threading"}}', "has no class"),
        (
            '{layer: retention, policy: {type: "truthstore.runtime.parallel:ThreadPoolExecutor"}}',
            "not of truthstore",
        ),
        ('{layer: retention, policy: {type: "truthstore.factory:open_store", source: made}}', "has no class"),
        (
            '{layer: retention, policy: {type: "truthstore.caching:DiskCache", directory: made}}',
            "is no RetentionPolicy",
        ),
        ('{layer: caching, cache: {type: "truthstore.retention:CountBasedPolicy", max_count: 1}}', "is no BaseCache"),
        ('{layer: "truthstore.caching:DiskCache", directory: made}', "is no WrapperStore"),
        (f'{{layer: retention, policy: {{type: "{__name__}:note"}}}}', "has no class"),
        (f'{{layer: retention, policy: {{type: "{__name__}:Noting"}}}}', "is no RetentionPolicy"),
        (f'{{layer: caching, cache: {{type: "{__name__}:Own", a: {{type: "{__name__}:Noting"}}}}}}', "is no BaseCache"),
        (
            '{layer: retention, polices: [{type: "truthstore.caching:DiskCache", directory: made}]}',
            "did you mean 'policies'",
        ),
        (
            f"{{layer: observability, metrics: {METRICS}}}",
            "registry is an object with a method register(), not dict",
        ),
        (f'{{layer: "{__name__}:note"}}', "has no class"),
        (f'{{layer: "{__name__}:Own"}}', "is no WrapperStore"),
    ],
)
def test_a_file_makes_nothing_but_the_parts_that_an_option_takes(described, tmp_path, monkeypatch, layer, why):
    monkeypatch.chdir(tmp_path)
    called.clear()
    with pytest.raises(StoreConfigError, match=re.escape(why)):
        open_store(described(f"backend: memory\nlayers:\n  - {layer}\n"), allow=[__name__])
    assert called == []
    assert not (tmp_path / "made").exists()


def test_what_takes_data_gets_data_whatever_its_keys(described):
    text = f"""
backend: memory
metadata: {{type: "team:crm"}}
layers:
  - {{layer: "{__name__}:Passing", options: {{type: "os:mkdir"}}}}
  - layer: retention
    excluded_tags: {{type: "team:crm"}}
    policy: {{type: "truthstore.retention:TagBasedPolicy", delete_tags: {{type: "team:crm"}}}}
"""
    with open_store(described(text), allow=[__name__]) as store:
        assert store.stats()["metadata"] == {"type": "team:crm"}
        assert store.layer(Passing).options == {"type": "os:mkdir"}
        assert store.layer(RetentionStore).config.excluded_tags == {"type": "team:crm"}


def test_a_module_of_the_program_is_named_by_the_program(described):
    text = f"""
backend: memory
layers:
  - {__name__}:Passing
  - {{layer: retention, policy: {{type: "{__name__}:Own"}}}}
"""
    with pytest.raises(StoreConfigError, match=re.escape(f"open_store(…, allow=['{__name__}'])")):
        open_store(described(text))
    for allow in ([__name__], [__name__.rpartition(".")[0]]):
        with open_store(described(text), allow=allow) as store:
            assert isinstance(store.layer(RetentionStore).config.policies[0], Own)
            assert isinstance(store, RetentionStore)
            assert isinstance(store.base, Passing)
    with pytest.raises(TypeError, match="a list of modules"):
        open_store(described(text), allow=__name__)
