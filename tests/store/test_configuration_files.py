"""What a YAML file and the environment say, as the options of a store."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path

import pytest

from truthstore import (
    BaseStore,
    ResultStatus,
    StoreConfigError,
    ValidationResult,
    WrapperStore,
    open_store,
    register_store,
)
from truthstore.backends.filesystem import FileSystemStore
from truthstore.backends.memory import MemoryStore
from truthstore.retention import RetentionStore
from truthstore.store import registry

Opened = Callable[..., BaseStore[ValidationResult]]


class Labelled(WrapperStore[ValidationResult]):
    """A layer with options of its own."""

    def __init__(self, base, label: str = "", loud: bool = False, volume: int = 1):
        super().__init__(base)
        self.label = label
        self.loud = loud
        self.volume = volume


@pytest.fixture
def opened(tmp_path: Path) -> Opened:
    """Opens what a text describes, with the given environment."""

    def opened(text: str, **environment: str) -> BaseStore[ValidationResult]:
        path = tmp_path / "store.yaml"
        path.write_text(text, encoding="utf-8")
        return open_store(path, environment=environment, allow=[__name__])

    return opened


class TestDefaults:
    @pytest.mark.parametrize("environment", [{}, {"STAGE": ""}])
    def test_they_stand_for_what_is_not_set_and_for_what_is_empty(self, opened: Opened, environment: dict[str, str]):
        store = opened("backend: memory\nmetadata: {a: '${STAGE:-dev}', b: 'x-${STAGE:-dev}'}\n", **environment)
        assert store.stats()["metadata"] == {"a": "dev", "b": "x-dev"}

    def test_without_one_a_variable_may_be_empty(self, opened: Opened):
        assert opened("backend: memory\nmetadata: {a: '${STAGE}'}\n", STAGE="").stats()["metadata"] == {"a": ""}

    def test_they_may_be_empty(self, opened: Opened):
        assert opened("backend: memory\nmetadata: {a: '${STAGE:-}'}\n").stats()["metadata"] == {"a": ""}


class TestReferences:
    @pytest.mark.parametrize(
        "written",
        ["${D.x}", "${D-secret}", "${D:secret}", "${}", "${ D }", "a/${D", "${D:-secret", "${D:-${E}}", "${1}"],
    )
    def test_what_is_none_is_refused(self, opened: Opened, written: str):
        with pytest.raises(
            StoreConfigError, match=r"store\.yaml: .* write \$\{NAME\} or \$\{NAME:-default\}"
        ) as caught:
            opened(f"backend: memory\nnamespace: '{written}'\n", D="d", E="e")
        assert "secret" not in str(caught.value)

    @pytest.mark.parametrize(
        ("written", "meant"), [("$${D.x}", "${D.x}"), ("$$${D}", "$d"), ("$D", "$D"), ("a$", "a$"), ("{D}", "{D}")]
    )
    def test_dollars_that_begin_none(self, opened: Opened, written: str, meant: str):
        store = opened(f"backend: memory\nmetadata:\n  label: '{written}'\n", D="d")
        assert store.stats()["metadata"] == {"label": meant}

    def test_what_a_variable_holds_is_not_read_again(self, opened: Opened):
        store = opened("backend: memory\nmetadata: {label: '${D}'}\n", D="${E.x}")
        assert store.stats()["metadata"] == {"label": "${E.x}"}


class TestWordsThatLookLikeValues:
    """Nobody can put quotes into an environment variable: what a word means follows from the option's type."""

    @pytest.mark.parametrize("word", ["true", "false", "null", "none", "007"])
    def test_options_that_take_text(self, opened: Opened, tmp_path: Path, word: str):
        for written in ("${WORD}", f"${{NO:-{word}}}"):
            store = opened(f"backend: filesystem\nbase_path: {tmp_path}\nnamespace: {written}\n", WORD=word)
            assert Path(store.layer(FileSystemStore).root) == tmp_path / word / "validations"
        with open_store(f"file://{tmp_path}/b?namespace={word}") as store:
            assert Path(store.layer(FileSystemStore).root) == tmp_path / "b" / word / "validations"

    def test_a_path(self, opened: Opened, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
        monkeypatch.chdir(tmp_path)
        store = opened("backend: filesystem\nbase_path: ${WORD}\n", WORD="true")
        assert Path(store.layer(FileSystemStore).root).absolute() == tmp_path / "true/default/validations"

    @pytest.mark.parametrize(("word", "ending"), [("true", ".gz"), ("false", ""), ("gzip", ".gz")])
    def test_options_that_take_text_or_a_bool(self, opened: Opened, tmp_path: Path, word: str, ending: str):
        store = opened(f"backend: filesystem\nbase_path: {tmp_path}\ncompression: ${{WORD}}\n", WORD=word)
        store.save(ValidationResult("r", datetime(2026, 1, 1, tzinfo=UTC), "a", ResultStatus.SUCCESS))
        (file,) = (tmp_path / "default/validations").glob("r.*")
        assert file.name == f"r.json{ending}"

    def test_options_that_take_a_bool(self, opened: Opened, tmp_path: Path):
        store = opened(f"backend: filesystem\nbase_path: {tmp_path}\npretty_print: ${{WORD}}\n", WORD="false")
        assert store.layer(FileSystemStore).indent is False
        with pytest.raises(StoreConfigError, match="max_items is int, not text"):
            opened("backend: memory\nmax_items: ${WORD}\n", WORD="true")

    @pytest.mark.parametrize("word", ["007", "2026", "true", "1.50"])
    def test_text_stays_text_at_any_depth(self, opened: Opened, word: str):
        store = opened(
            """
backend: memory
metadata: {flag: "${WORD}", all: ["${WORD}", {deep: "${WORD}"}]}
layers:
  - layer: retention
    policies:
      - {type: "truthstore.retention:TagBasedPolicy", tag_key: release, tag_value: "${WORD}", max_age_days: 9}
      - {type: "truthstore.retention:TagBasedPolicy", delete_tags: {release: "${WORD}"}}
    excluded_assets: ["${WORD}"]
    excluded_tags: {hold: "${WORD}"}
""",
            WORD=word,
        )
        assert store.stats()["metadata"] == {"flag": word, "all": [word, {"deep": word}]}
        config = store.layer(RetentionStore).config
        assert (config.excluded_assets, config.excluded_tags) == ((word,), {"hold": word})
        by_value, by_tags = (vars(policy) for policy in config.policies)
        assert word in by_value.values()
        assert {"release": word} in by_tags.values()

    def test_options_of_layers(self, opened: Opened):
        described = (
            f"backend: memory\nlayers:\n  - layer: {__name__}:Labelled\n    label: ${{WORD}}\n    loud: ${{WORD}}\n"
        )
        layer = opened(described, WORD="true").layer(Labelled)
        assert (layer.label, layer.loud) == ("true", True)
        assert isinstance(layer.loud, bool)
        layer = opened(described.replace("loud", "volume"), WORD="7").layer(Labelled)
        assert (layer.label, layer.volume) == ("7", 7)
        with pytest.raises(StoreConfigError, match="volume is int, not text"):
            opened(described.replace("loud", "volume"), WORD="007")

    def test_a_registered_store_gets_what_they_look_like(self, opened: Opened, monkeypatch: pytest.MonkeyPatch):
        monkeypatch.setattr(registry, "_registered", {})
        seen: dict[str, object] = {}

        @register_store("mine")
        def mine(collection, label: str, **options):
            seen.update(options, label=label)
            return MemoryStore(collection=collection)

        opened("backend: mine\nlabel: ${ON}\nloud: ${ON}\nvolume: ${N}\n", ON="true", N="7")
        assert seen == {"label": "true", "loud": True, "volume": 7}
        assert isinstance(seen["loud"], bool)

    def test_the_name_of_the_backend_is_a_name(self, opened: Opened):
        with pytest.raises(StoreConfigError, match="there is no store '…': there are azure"):
            opened("backend: ${WORD}\n", WORD="true")


@pytest.mark.parametrize("described", ["base_path: ''", "base_path: ${EMPTY}", "base_path: ${NO:-}"])
def test_an_empty_path_does_not_mean_the_current_folder(opened: Opened, described: str):
    with pytest.raises(StoreConfigError, match="base_path is empty"):
        opened(f"backend: filesystem\n{described}\n", EMPTY="")


BOMB = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{after}: &{after} [{', '.join([f'*{before}'] * 9)}]\n" for before, after in pairwise("abcdefghi")
)
SECRET = "Pa55W0rdXYZ"


class TestDocuments:
    @pytest.mark.parametrize(
        "bomb",
        [
            BOMB,
            BOMB.replace("a: &a [x, x, x, x, x, x, x, x, x]", "a: &a {x: y}").replace("[", "{<<: [").replace("]", "]}"),
            "a: &a [*a]\n",
            "a: &a {b: *a}\n",
        ],
    )
    def test_aliases_that_repeat_without_bound_are_refused(self, opened: Opened, bomb: str):
        with pytest.raises(StoreConfigError, match=r"store\.yaml has more than 10,000 values, aliases repeated"):
            opened(f"backend: memory\n{bomb}")

    def test_other_aliases_are_not(self, opened: Opened):
        store = opened("backend: memory\nmetadata: {a: &a {x: 1}, b: *a, c: {<<: *a, y: 2}}\n")
        assert store.stats()["metadata"] == {"a": {"x": 1}, "b": {"x": 1}, "c": {"x": 1, "y": 2}}

    @pytest.mark.parametrize("opening", ["[", "{a: ", "- "])
    def test_so_is_what_is_nested_too_deeply(self, opened: Opened, opening: str):
        with pytest.raises(StoreConfigError, match="nested too deeply"):
            opened(f"backend: memory\na:\n {opening * 5_000}")

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("backend: memory\nbackend: memory\n", "has the key 'backend' a second time at line 2"),
            ("backend: memory\nmetadata: {a: 1, b: 2, a: 3}\n", "has the key 'a' a second time at line 2"),
            ("backend: memory\nmetadata:\n  1: a\n  '1': b\n", "has the key '1' a second time at line 4"),
            ("backend: memory\nmetadata: {yes: a, true: b}\n", "has the key 'true' a second time at line 2"),
            ("backend: memory\nmetadata: {~: a, null: b}\n", "has the key 'null' a second time at line 2"),
            ("backend: memory\nmetadata: {16: a, 0x10: b}\n", "has the key '0x10' a second time at line 2"),
            ("backend: memory\nmetadata: {true: a, 'True': b}\n", "has the key 'True' a second time at line 2"),
            ("backend: memory\nlayers: [{layer: caching, max_size: 1, max_size: 2}]\n", "'max_size' a second time"),
        ],
    )
    def test_a_key_has_one_value(self, opened: Opened, text: str, message: str):
        with pytest.raises(StoreConfigError, match=message):
            opened(text)

    @pytest.mark.parametrize(
        "line",
        [
            f"connection_url: 'postgresql://u:{SECRET}@h/db",
            f'connection_url: "postgresql://u:{SECRET}\\q@h/db"',
            f"key: {SECRET}: x",
            f"key: %{SECRET}",
            f"key: @{SECRET}",
            f"key: *{SECRET}",
            f"key: !{SECRET} x",
            f"key: !{SECRET}!x y",
            f"key: &{SECRET}? x",
            f"key: [{SECRET}",
            f"key: {{{SECRET}: [}}",
            f"\tkey: {SECRET}",
            f"key: |{SECRET}",
            f"key: {SECRET}\n  more: x",
            f"key: !!int {SECRET}",
            f"key: !!float {SECRET}",
            f"key: !!timestamp {SECRET}",
            f"key: !!binary {SECRET}é",
            f"key: !!python/name:{SECRET}",
            f"key: {SECRET}\x07",
            f"%{SECRET} 1\n---\na: b",
            f"? [{SECRET}]\n: [",
            f"? {{{SECRET}: 1}}\n: x",
            "key: 2026-13-45",
        ],
    )
    def test_what_is_no_yaml_is_not_shown(self, opened: Opened, line: str):
        with pytest.raises(StoreConfigError) as caught:
            opened(f"backend: memory\n{line}\n")
        assert SECRET not in "".join(traceback.format_exception(caught.value))
        assert caught.value.__context__ is None
        assert "is not YAML" in str(caught.value)

    def test_a_url_that_is_taken_for_a_file_is_not_shown(self):
        for url in (f"postgresql:/u:{SECRET}@h/db", f"postgresql//u:{SECRET}@h/db", f"postgresql:u:{SECRET}"):
            with pytest.raises(StoreConfigError) as caught:
                open_store(url)
            assert SECRET not in "".join(traceback.format_exception(caught.value))
