"""Layers in a YAML file: by short names, with policies, caches and sinks made of what the file says."""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from truthstore import StoreConfigError, get_store, open_store
from truthstore.caching import CachedStore, CacheMode, LFUCache
from truthstore.observability import ObservableStore
from truthstore.retention import CountBasedPolicy, RetentionStore, TimeBasedPolicy
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
            "there is no layer 'versoning': use one of batching, caching, observability, retention, versioning",
        ),
        ('{layer: retention, policy: {type: "truthstore.retention:NoPolicy"}}', "NoPolicy' cannot be loaded"),
        ('{layer: retention, policy: {type: "truthstore.retention:CountBasedPolicy", most: 1}}', "most"),
        ('{layer: caching, cache: {type: "truthstore.caching:LRUCache", max_size: 0}}', "max_size must be positive"),
    ],
)
def test_what_does_not_fit_is_refused(described, layer, why):
    with pytest.raises(StoreConfigError, match=re.escape(why)):
        open_store(described(f"backend: memory\nlayers:\n  - {layer}\n"))


def test_a_name_is_no_layer_in_code():
    names: Any = ["versioning"]
    with pytest.raises(TypeError, match="a layer is a class, or a function from a store to a store, not 'versioning'"):
        get_store("memory", layers=names)
