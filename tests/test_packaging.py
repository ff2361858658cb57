"""The wheel holds what users need, and the tests run on the wheel."""

from __future__ import annotations

import importlib.metadata
import os
import re
import subprocess
import sys
import sysconfig
import tomllib
from importlib.util import find_spec
from pathlib import Path

import pytest

import truthstore

ROOT = Path(__file__).parents[1]

installed_only = pytest.mark.skipif(
    "TRUTHSTORE_TEST_INSTALLED" not in os.environ, reason="about the wheel: run `nox -s tests`"
)


def package_folder() -> Path:
    spec = find_spec("truthstore")
    assert spec is not None
    assert spec.origin is not None
    return Path(spec.origin).resolve().parent


@installed_only
def test_what_is_tested_is_what_is_installed():
    site_packages = Path(sysconfig.get_path("purelib")).resolve()
    assert package_folder() == site_packages / "truthstore"


@installed_only
def test_child_processes_see_the_installed_package_too(tmp_path: Path):
    code = "import importlib.util as u; print(u.find_spec('truthstore').origin)"
    found = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert Path(found.strip()).resolve().parent == package_folder()


def test_the_package_is_typed_and_brings_the_suites():
    assert (package_folder() / "py.typed").is_file()
    assert (package_folder() / "testing" / "__init__.py").is_file()


@installed_only
def test_the_wheel_holds_the_package_and_nothing_else():
    files = importlib.metadata.files("truthstore")
    assert files is not None
    tops = {file.parts[0] for file in files}
    assert tops == {"truthstore", f"truthstore-{importlib.metadata.version('truthstore')}.dist-info"}
    assert any(file.match("licenses/LICENSE") for file in files)


@installed_only
def test_pytest_finds_the_plugin():
    (point,) = importlib.metadata.entry_points(group="pytest11", name="truthstore")
    assert point.load().__name__ == "truthstore.recording.pytest_plugin"


def test_importing_loads_no_optional_dependency():
    """What the tests have installed is enough to notice most; the names are those of every extra."""
    pyproject = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    imports = {
        "azure-identity": "azure",
        "azure-storage-blob": "azure",
        "google-cloud-storage": "google.cloud",
        "opentelemetry-api": "opentelemetry",
        "prometheus-client": "prometheus_client",
    }
    wanted = [
        re.split(r"[\[<>=]", requirement)[0]
        for name, extra in pyproject["project"]["optional-dependencies"].items()
        if not name.startswith("all")
        for requirement in extra
    ]
    modules = sorted({imports.get(name, name) for name in wanted} | {"numpy", "pandas", "attr", "attrs"})
    code = f"import sys, truthstore; print(sorted(set({modules!r}) & set(sys.modules)))"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"


HIDING = """
import sys

class Hidden:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {"azure", "boto3", "google", "pytest", "sqlalchemy"}:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Hidden())
try:
    DO
except Exception as error:
    print(type(error).__name__, error)
"""


@pytest.mark.parametrize(
    ("statement", "says"),
    [
        ("import truthstore; truthstore.get_store('sqlite:///x.db')", "StoreConfigError .*sqlalchemy.*truthstore.db."),
        ("import truthstore; truthstore.get_store('s3://b')", "StoreConfigError .*boto3.*truthstore.s3."),
        (
            "import truthstore; truthstore.get_store('gs://b')",
            "StoreConfigError .*google-cloud-storage.*truthstore.gcs.",
        ),
        (
            "import truthstore; truthstore.get_store('az://c')",
            "StoreConfigError .*azure-storage-blob.*truthstore.azure.",
        ),
        ("import truthstore.backends.database", "ImportError .*sqlalchemy.*truthstore.db."),
        ("import truthstore.testing", "ImportError .*pytest.*truthstore.testing."),
    ],
)
def test_what_is_not_installed_is_named_with_its_extra_also_where_it_is_the_first_thing_asked_for(
    statement: str, says: str
):
    run = subprocess.run(
        [sys.executable, "-c", HIDING.replace("DO", statement)], capture_output=True, text=True, check=True
    )
    assert re.match(says, run.stdout)


def test_every_extra_has_code_that_needs_it():
    pyproject = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    extras = set(pyproject["project"]["optional-dependencies"]) - {"all", "all-stores", "testing"}
    sources = "\n".join(path.read_text(encoding="utf-8") for path in package_folder().rglob("*.py"))
    assert {extra for extra in extras if f"truthstore[{extra}]" not in sources and f'"{extra}"' not in sources} == set()


def test_the_project_urls_are_those_of_one_repository():
    pyproject = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    urls = pyproject["project"]["urls"]
    assert {"Homepage", "Documentation", "Source", "Changelog", "Issues"} <= set(urls)
    source = urls["Source"]
    assert all(urls[name].startswith(source) for name in ("Homepage", "Changelog", "Issues"))
    for path in (ROOT / ".github").rglob("*.yml"):
        assert all(url.startswith(source) for url in re.findall(r"https://github\.com/\S+", path.read_text("utf-8")))


def test_logging_is_silent_unless_it_is_set_up():
    code = "import logging, truthstore; logging.getLogger('truthstore.caching').warning('unheard')"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (run.stdout, run.stderr) == ("", "")


def test_the_version_is_told_once():
    pyproject = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    version = pyproject["project"]["version"]
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    released = re.findall(r"^## \[(\d[^\]]*)\]", changelog, flags=re.MULTILINE)
    assert not released or released[0] == version
    assert truthstore.__version__ == version


def test_the_formatter_is_pinned_alike_everywhere():
    pyproject = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    (pin,) = [pin for pin in pyproject["dependency-groups"]["lint"] if pin.startswith("ruff==")]
    assert pin in (ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8")


def test_ci_runs_the_command_of_the_readme():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    commands = [line for line in readme.splitlines() if line.startswith("python3 -m pip install")]
    assert len(commands) == 2
    assert commands[1] in (ROOT / ".ci" / "run").read_text(encoding="utf-8").splitlines()
