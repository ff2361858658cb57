"""From a name, a URL or a YAML file to a store."""

from __future__ import annotations

import importlib.metadata
from datetime import UTC, datetime
from pathlib import Path

import pytest

import truthstore
from truthstore import (
    SUITES,
    ExpectationSuite,
    StoreConfigError,
    ValidationResult,
    WrapperStore,
    get_store,
    is_backend_available,
    list_available_backends,
    open_store,
    register_store,
    stack,
)
from truthstore.backends.filesystem import FileSystemStore
from truthstore.backends.memory import MemoryStore
from truthstore.store import layer_names, registry
from truthstore.versioning import VersionedStore


class Loud(WrapperStore[ValidationResult]):
    """A wrapper with an option."""

    def __init__(self, base, volume: int = 1):
        super().__init__(base)
        self.volume = volume


def a_result(id: str = "r") -> ValidationResult:
    return ValidationResult(id, datetime(2026, 1, 1, tzinfo=UTC), "a", truthstore.ResultStatus.SUCCESS)


@pytest.fixture
def registered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registry, "_registered", {})


def test_names_and_aliases(tmp_path: Path):
    assert isinstance(get_store("memory"), MemoryStore)
    assert isinstance(get_store("filesystem", base_path=tmp_path), FileSystemStore)
    assert isinstance(get_store("file", base_path=tmp_path), FileSystemStore)


def test_the_default_is_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    with get_store() as store:
        store.save(a_result())
    assert (tmp_path / ".truthstore/store/default/validations/r.json").is_file()


@pytest.mark.parametrize(
    ("name", "advice"),
    [("filesytem", "did you mean 'filesystem'"), ("Memory", "did you mean 'memory'"), ("x", "there are .*filesystem")],
)
def test_an_unknown_name_names_the_nearest(name: str, advice: str):
    with pytest.raises(StoreConfigError, match=advice):
        get_store(name)


def test_an_unknown_option_names_the_nearest(tmp_path: Path):
    with pytest.raises(TypeError, match="did you mean 'base_path'"):
        get_store("filesystem", base_pth=tmp_path)


def test_urls(tmp_path: Path):
    store = get_store(f"file://{tmp_path}/a%20folder?namespace=prod&pretty_print=false&durability=os")
    assert isinstance(store, FileSystemStore)
    assert Path(store.root) == tmp_path / "a folder/prod/validations"
    assert store.indent is False
    assert isinstance(get_store("memory://?max_items=2"), MemoryStore)


def test_keywords_win_over_the_url(tmp_path: Path):
    store = get_store(f"file://{tmp_path}?namespace=prod", namespace="dev")
    assert isinstance(store, FileSystemStore)
    assert Path(store.root) == tmp_path / "dev/validations"


def test_a_url_with_a_host_is_refused():
    with pytest.raises(StoreConfigError, match="three slashes"):
        get_store("file://host/path")


def test_a_wrong_url_does_not_show_its_password():
    with pytest.raises(StoreConfigError) as caught:
        get_store("nosuch+thing://user:secret@host/db")
    assert "secret" not in str(caught.value)


def test_collections(tmp_path: Path):
    suites = get_store("filesystem", base_path=tmp_path, collection=SUITES)
    suites.save(ExpectationSuite.create("s", "a"))
    results = get_store("filesystem", base_path=tmp_path)
    assert results.count() == 0
    assert results.collection(SUITES).list_ids() == ["s"]


@pytest.mark.usefixtures("registered")
class TestRegister:
    def test_a_class_and_a_function(self):
        @register_store("mine")
        class Mine(MemoryStore[ValidationResult]):
            pass

        @register_store("made")
        def made(collection, **options):
            return MemoryStore(collection=collection, **options)

        assert isinstance(get_store("mine"), Mine)
        assert isinstance(get_store("made", max_items=3), MemoryStore)
        assert {"mine", "made", "memory", "filesystem"} <= set(list_available_backends())
        assert is_backend_available("mine")

    def test_a_name_is_taken_once(self):
        register_store("mine")(MemoryStore)
        register_store("mine")(MemoryStore)
        with pytest.raises(StoreConfigError, match="registered already"):
            register_store("mine")(FileSystemStore)

    @pytest.mark.parametrize("name", ["memory", "file", "Upper", "", "a b"])
    def test_names_that_cannot_be(self, name: str):
        with pytest.raises(StoreConfigError):
            register_store(name)

    def test_the_url_of_a_registered_store_reaches_it(self):
        seen = {}

        @register_store("mine")
        def mine(collection, **options):
            seen.update(options)
            return MemoryStore(collection=collection)

        get_store("mine://host/path?size=3")
        assert seen == {"url": "mine://host/path", "size": 3}


class TestEntryPoints:
    def test_a_package_offers_a_store(self, monkeypatch: pytest.MonkeyPatch):
        point = importlib.metadata.EntryPoint(
            "elsewhere", "truthstore.backends.memory:MemoryStore", registry.ENTRY_POINTS
        )
        broken = importlib.metadata.EntryPoint("broken", "no_such_module:Store", registry.ENTRY_POINTS)
        monkeypatch.setattr(importlib.metadata, "entry_points", lambda group: [point, broken])
        assert isinstance(get_store("elsewhere"), MemoryStore)
        assert is_backend_available("elsewhere")
        assert "elsewhere" in list_available_backends()
        with pytest.raises(StoreConfigError, match="no_such_module"):
            get_store("broken")


def test_a_missing_dependency_names_the_extra(monkeypatch: pytest.MonkeyPatch):
    missing = registry._Backend("truthstore.backends.memory", "MemoryStore", "no_such_module_at_all", "some-extra")
    monkeypatch.setattr(registry, "_BACKENDS", {**registry._BACKENDS, "far": missing})
    assert not is_backend_available("far")
    assert "far" not in list_available_backends()
    with pytest.raises(StoreConfigError, match=r"pip install 'truthstore\[some-extra\]'"):
        get_store("far")


class TestStack:
    def test_layers_go_on_from_the_inside_out(self):
        store = stack(MemoryStore(), Loud, lambda base: Loud(base, volume=2))
        assert [type(layer).__name__ for layer in store.layers()] == ["Loud", "Loud", "MemoryStore"]
        assert store.layer(Loud).volume == 2

    def test_get_store_takes_layers(self):
        assert isinstance(get_store("memory", layers=[Loud]), Loud)

    def test_layers_have_short_names(self):
        store = stack(MemoryStore(), "versioning", "caching")
        assert [layer.name for layer in store.layers()] == ["cached", "versioning", "memory"]
        assert get_store("memory", layers=["versioning"]).layer(VersionedStore).base.name == "memory"
        with pytest.raises(StoreConfigError, match="there is no layer 'versoning': use one of backpressure"):
            stack(MemoryStore(), "versoning")

    def test_packages_offer_layers_by_name(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
        loud = importlib.metadata.EntryPoint("loud", f"{__name__}:Loud", layer_names.ENTRY_POINTS)
        broken = importlib.metadata.EntryPoint("broken", "no_such_module:Layer", layer_names.ENTRY_POINTS)
        monkeypatch.setattr(importlib.metadata, "entry_points", lambda group: [loud, broken])
        assert isinstance(stack(MemoryStore(), "loud"), Loud)
        with pytest.raises(StoreConfigError, match="the layer broken of no_such_module:Layer cannot be loaded"):
            stack(MemoryStore(), "broken")
        path = tmp_path / "truthstore.yaml"
        path.write_text("backend: memory\nlayers: [{layer: loud, volume: 3}]\n")
        assert open_store(path).layer(Loud).volume == 3

    def test_what_returns_no_store_is_no_layer(self):
        with pytest.raises(TypeError, match="a layer takes a store"):
            stack(MemoryStore(), lambda base: None)  # type: ignore[arg-type,return-value]

    def test_a_layer_that_is_not_there(self):
        with pytest.raises(StoreConfigError, match="no Loud in this stack: it has MemoryStore"):
            MemoryStore().layer(Loud)


class TestOpenStore:
    def write(self, folder: Path, text: str) -> Path:
        path = folder / "truthstore.yaml"
        path.write_text(text, encoding="utf-8")
        return path

    def test_a_file_with_layers_and_variables(self, tmp_path: Path):
        path = self.write(
            tmp_path,
            "backend: filesystem\n"
            "base_path: ${ROOT}/results\n"
            "namespace: ${STAGE:-dev}\n"
            "metadata: {price: '$${5}'}\n"
            "layers:\n"
            f"  - {__name__}:Loud\n"
            f"  - layer: {__name__}:Loud\n"
            "    volume: 7\n",
        )
        store = open_store(path, environment={"ROOT": str(tmp_path)}, allow=[__name__])
        assert store.layer(Loud).volume == 7
        assert Path(store.layer(FileSystemStore).root) == tmp_path / "results/dev/validations"
        assert store.stats()["metadata"] == {"price": "${5}"}

    def test_a_url(self):
        assert isinstance(open_store("memory://"), MemoryStore)

    @pytest.mark.parametrize("number", ["2024", "007", "-1"])
    def test_text_that_looks_like_a_number(self, tmp_path: Path, number: str):
        """Options that take text get it as it was written: nobody can put quotes into an environment variable."""
        path = self.write(tmp_path, "backend: filesystem\nbase_path: ${ROOT}\nnamespace: ${NUMBER}\n")
        with open_store(path, environment={"ROOT": str(tmp_path), "NUMBER": number}) as store:
            assert Path(store.layer(FileSystemStore).root) == tmp_path / number / "validations"
        with get_store(f"file://{tmp_path}/b?namespace={number}") as store:
            assert Path(store.layer(FileSystemStore).root) == tmp_path / "b" / number / "validations"

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("backend: memory\nbase_path: ${NO_SUCH_VARIABLE}", "NO_SUCH_VARIABLE is not set"),
            ("backend: memory\nmax_itms: 3", "did you mean 'max_items'"),
            ("backend: [memory]", "key 'backend'"),
            ("- memory", "key 'backend'"),
            ("backend: memory\nlayers: Loud", "layers is a list"),
            ("backend: memory\nlayers: [Loud]", "import.path:Class"),
            ("backend: memory\nlayers: [truthstore:Nothing]", "truthstore has no class"),
            ("backend: memory\nlayers: [{volume: 3}]", "key 'layer'"),
            ("backend: !!python/object/apply:os.getcwd []", "is not YAML"),
            ("backend: memory\n  bad: [", "is not YAML"),
            ("backend: memory\nmax_items: -1", "truthstore.yaml: max_items"),
            ("backend: memory\ncollection: suites", "declared in code"),
        ],
    )
    def test_what_a_file_may_not_say(self, tmp_path: Path, text: str, message: str):
        with pytest.raises(StoreConfigError, match=message):
            open_store(self.write(tmp_path, text), environment={})

    def test_a_file_that_is_not_there(self, tmp_path: Path):
        with pytest.raises(StoreConfigError, match="cannot read"):
            open_store(tmp_path / "nothing.yaml")
