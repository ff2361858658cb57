"""What is run on this project, by people and by continuous integration alike.

`nox` alone runs what must pass before a change is merged: tests, and beside them lint, typing, docs. `nox -l` lists the rest.
Whatever follows `--` goes to the tool: `nox -s tests -- -k query -x`. Environments are kept between runs, and what is
in place is not installed again.
"""

from __future__ import annotations

import os
import secrets
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import nox

nox.needs_version = ">=2025.2"
nox.options.default_venv_backend = "uv"
nox.options.reuse_venv = "yes"
nox.options.sessions = ["all"]

ROOT = Path(__file__).parent
STORES = ("s3", "gcs", "azure", "db", "redis")
LAYERS = (
    "zstd",
    "backpressure",
    "compression",
    "encryption",
    "encryption-aws",
    "encryption-azure",
    "encryption-google",
)
EXTRAS = ("testing", *STORES, *LAYERS, "metrics", "tracing")
CI = os.environ.get("CI") == "true"
PARALLEL = ("--numprocesses", "logical", "--maxprocesses", "4", "--dist", "loadgroup")

# Trust the certificates that this machine trusts, as pip does: behind a company's proxy nothing installs otherwise.
os.environ.setdefault("UV_SYSTEM_CERTS", "1")
# Programs that the tests and benchmarks start would compile every package anew.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
# The folder that nox was started from is not for the environments that it makes.
BOOT = os.environ.pop("PYTHONPATH", None)


def install_wheel(session: nox.Session, *extras: str) -> None:
    """Build the wheel and install it with the extras, so that what runs is what users get."""
    folder = Path(session.create_tmp()) / "wheel"
    shutil.rmtree(folder, ignore_errors=True)
    session.run_install("uv", "build", "--quiet", "--wheel", "--out-dir", str(folder), str(ROOT), external=True)
    if wheels := list(folder.glob("*.whl")):  # none with --no-install
        wanted = f"{wheels[0]}[{','.join(extras)}]" if extras else str(wheels[0])
        session.install("--reinstall-package", "truthstore", wanted)


PROGRAMS = {
    "strace": "strace",
    "mariadbd": "mariadb-server-core",
    "mariadb": "mariadb-client-core",
    "pgbouncer": "pgbouncer",
}


def install_programs(session: nox.Session) -> None:
    """In CI, as root on Debian: install strace, with which the crash tests make system calls fail, MariaDB and PgBouncer."""
    path = f"{os.environ['PATH']}:/usr/sbin"
    missing = [package for program, package in PROGRAMS.items() if not shutil.which(program, path=path)]
    if CI and missing and shutil.which("apt-get") and os.geteuid() == 0:
        session.run_install("apt-get", "update", "-qq", external=True)
        session.run_install("apt-get", "install", "-y", "-qq", *missing, external=True)


def run_tests(session: nox.Session, *runner: str) -> None:
    """Run the tests on the installed wheel, which the source folder must not hide, here or in processes of the tests."""
    seed = os.environ.get("PYTHONHASHSEED") or str(secrets.randbelow(2**32))  # the same for all processes of a run
    session.log(f"PYTHONHASHSEED={seed}")
    env = {"PYTHONHASHSEED": seed, "PYTHONSAFEPATH": "1", "TRUTHSTORE_TEST_INSTALLED": "1"}
    session.run("python", *runner, *session.posargs, env=env)


@nox.session(venv_backend="none")
def all(session: nox.Session) -> None:  # the name to type
    """Run the tests, with lint, typing and docs beside them: what must pass before a change is merged."""
    run = [sys.executable, "-m", "nox", "-s"]
    env = {**os.environ, "PYTHONPATH": BOOT or ""}
    with tempfile.TemporaryFile("w+") as said:
        beside = subprocess.Popen([*run, "lint", "typing", "docs"], cwd=ROOT, env=env, stdout=said, stderr=said)  # noqa: S603
        try:
            session.run(*run, "tests", "--", *session.posargs, env=env, external=True)
        finally:
            beside.wait()
            said.seek(0)
            sys.stdout.write(said.read())
    if beside.returncode:
        session.error("lint, typing or docs failed")


@nox.session(default=False)
def tests(session: nox.Session) -> None:
    """Run the tests on the built wheel."""
    install_programs(session)
    session.install("--group", "tests")
    install_wheel(session, *EXTRAS)
    run_tests(session, "-m", "pytest", *PARALLEL)


@nox.session(default=False)
def lowest(session: nox.Session) -> None:
    """Run the tests with the oldest dependencies that are allowed."""
    session.install("--resolution", "lowest-direct", "-r", "pyproject.toml", "--all-extras")
    session.install("--group", "tests")
    install_wheel(session, *EXTRAS)
    run_tests(session, "-m", "pytest", *PARALLEL)


@nox.session(default=False)
def coverage(session: nox.Session) -> None:
    """Run the tests on the built wheel and report the lines and branches that they do not reach."""
    session.install("--group", "coverage")
    install_wheel(session, *EXTRAS)
    session.run("coverage", "erase")
    run_tests(session, "-m", "coverage", "run", "-m", "pytest")
    session.run("coverage", "combine", "--quiet")
    session.run("coverage", "report")


@nox.session(default=False)
def lint(session: nox.Session) -> None:
    """Check style and format; `nox -s lint -- --fix` puts right what can be."""
    session.install("--group", "lint")
    if "--fix" in session.posargs:
        session.run("ruff", "check", *session.posargs)
        session.run("ruff", "format")
    else:
        session.run("ruff", "check", *session.posargs)
        session.run("ruff", "format", "--check")
        session.run("lint-imports", env={"PYTHONPATH": str(ROOT)})


@nox.session(default=False)
def typing(session: nox.Session) -> None:
    """Check types with mypy and pyright."""
    session.install("--group", "typing")
    session.install("-e", f".[{','.join(EXTRAS)}]")
    session.run("mypy", *session.posargs)
    session.run("basedpyright", "--pythonpath", str(Path(session.bin) / "python"))


@nox.session(default=False)
def docs(session: nox.Session) -> None:
    """Build the documentation into site/; `nox -s docs -- serve` shows it while you write."""
    session.install("--group", "docs")
    session.run("zensical", *(session.posargs or ("build", "--clean", "--strict")))


RECORDED = ROOT / "tests" / "interop" / "recorded"


@nox.session(default=False)
@nox.parametrize("tool", sorted(script.parent.name for script in RECORDED.glob("*/make.py")))
def tools(session: nox.Session, tool: str) -> None:
    """Have another tool make its results anew, in an environment of its own, and run the tests of its importer on them."""
    script = RECORDED / tool / "make.py"
    session.install(*nox.project.load_toml(script)["dependencies"])
    install_wheel(session, "testing")
    folder = Path(session.create_tmp()) / "recorded"
    (folder / tool).mkdir(parents=True, exist_ok=True)
    session.run("python", str(script), str(folder / tool), env={"PYTHONSAFEPATH": "1"})
    test = f"tests/interop/test_{tool.rpartition('-')[0].replace('-', '_')}.py"
    session.run(
        "python",
        "-m",
        "pytest",
        test,
        *session.posargs,
        env={"TRUTHSTORE_RECORDED": str(folder), "PYTHONSAFEPATH": "1"},
    )


@nox.session(default=False)
def quickstart(session: nox.Session) -> None:
    """Install the wheel and run the quickstart example, which checks tables with pandera and Great Expectations."""
    session.install("--group", "examples")
    install_wheel(session)
    session.run("python", str(ROOT / "examples" / "quickstart.py"), *session.posargs, env={"PYTHONSAFEPATH": "1"})


@nox.session(default=False)
def bench(session: nox.Session) -> None:
    """Run the benchmarks: `nox -s bench -- --quick` for a first look, `-- --markdown docs/performance.md` to publish."""
    session.install("--group", "bench", "-e", f".[{','.join(EXTRAS)}]")
    session.run("python", "-m", "benchmarks.run", *session.posargs)
