"""A plugin of pytest: each test that is marked ``data_asset`` is a check, and each session a run of every asset.

Reports are read where all of them come together: in the controller of pytest-xdist, or where there is none. What a test
says of its asset is read at its collection; workers write it to a file, for of a test that took its worker
down, the controller learns nothing but the name. A test is recorded at its teardown, so that reruns count once.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest

if TYPE_CHECKING:
    from collections.abc import Generator

    from truthstore.recording.run import Run
    from truthstore.store.store import BaseStore

__all__ = ["pytest_addoption", "pytest_configure"]

MARK: Final = "data_asset"
SAID: Final = ("check_id", "column", "owner", "severity")
"""Keywords of the mark: fields of the check."""
MEASURED: Final = ("checked", "expected", "failed", "observed")
"""Properties that a test may record: likewise."""
FOLDER: Final = "truthstore_folder"
FILE: Final = "marked.json"
MESSAGE_LENGTH: Final = 500
COLLECTED_ID: Final = pytest.StashKey[str]()
"""The id of a test when it is collected: pytest-xdist adds its group later."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options of the plugin."""
    parser.addini("truthstore_store", "URL or YAML file of the store in which tests marked data_asset are recorded")
    parser.addini("truthstore_tags", "tags of these runs, a 'name = value' a line", type="linelist")
    parser.addini("truthstore_on_error", "'queue': recording never fails the tests; 'raise'", default="queue")
    parser.getgroup("truthstore").addoption(
        "--truthstore",
        metavar="STORE",
        help="the store in which tests marked data_asset are recorded: a URL or YAML file",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Declare the mark, and record where that is asked for."""
    config.addinivalue_line(
        "markers", f"{MARK}(name, *, {', '.join(SAID)}): the data that the test checks; truthstore records it"
    )
    url = config.getoption("--truthstore") or config.getini("truthstore_store")
    worker = getattr(config, "workerinput", None)
    if worker is None and url and not config.option.collectonly:
        config.pluginmanager.register(_Recorder(config, url))
    elif worker is not None and FOLDER in worker:
        config.pluginmanager.register(_Worker(Path(worker[FOLDER])))


class _Collector:
    """Reads the marks of tests."""

    def pytest_itemcollected(self, item: pytest.Item) -> None:
        item.stash[COLLECTED_ID] = item.nodeid

    def marked(self, session: pytest.Session) -> dict[str, dict[str, Any]]:
        """Return the asset and the fields of the check of each marked test."""
        found: dict[str, dict[str, Any]] = {}
        for item in session.items:
            if (mark := item.get_closest_marker(MARK)) is None:
                continue
            if len(mark.args) != 1 or not isinstance(mark.args[0], str) or not set(mark.kwargs) <= set(SAID):
                raise pytest.UsageError(
                    f"{item.nodeid}: write {MARK}('orders'), and of keywords {', '.join(SAID)} alone"
                )
            found[item.nodeid] = {
                "asset": mark.args[0],
                "fields": {"name": item.name, "check_id": item.stash[COLLECTED_ID], **mark.kwargs},
            }
        return found


class _Worker(_Collector):
    """In a worker of pytest-xdist: leaves the marks to the controller."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        from truthstore.recording.run import surviving

        marked = json.dumps(self.marked(session), default=str)
        with surviving("queue", "recording tests"):
            with tempfile.NamedTemporaryFile("w", dir=self.folder, delete=False, encoding="utf-8") as file:
                file.write(marked)
            Path(file.name).rename(self.folder / FILE)  # all workers collect the same


class _Recorder(_Collector):
    """In the controller, or where there is none: records."""

    def __init__(self, config: pytest.Config, url: str) -> None:
        self.url = url
        self.on_error: Any = config.getini("truthstore_on_error")
        pairs = [line.partition("=") for line in config.getini("truthstore_tags")]
        self.tags = {name.strip(): value.strip() for name, _, value in pairs}
        self.folder: Path | None = None
        self.tests: dict[str, dict[str, Any]] | None = None
        self.reports: dict[str, list[pytest.TestReport]] = {}
        self.store: BaseStore[Any] | None = None
        self.runs: dict[str, Run] = {}
        self.stack = contextlib.ExitStack()

    @pytest.hookimpl(optionalhook=True)
    def pytest_configure_node(self, node: Any) -> None:
        if self.folder is None:
            self.folder = Path(tempfile.mkdtemp(prefix="truthstore-"))
        node.workerinput[FOLDER] = str(self.folder)

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        self.tests = self.marked(session)  # none in a controller, which collects nothing

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if hasattr(report, "context") and not report.failed:
            return  # a subtest that passed; one that failed fails its test
        if report.nodeid not in self.read():
            return
        reports = self.reports.setdefault(report.nodeid, [])
        if report.when == "setup":
            reports.clear()  # of an earlier attempt
        reports.append(report)
        is_last = report.when not in {"setup", "call"}  # the death of a worker has a word of its own
        if is_last and not any(str(each.outcome) == "rerun" for each in reports):
            self.keep(report.nodeid, self.reports.pop(report.nodeid))

    def read(self) -> dict[str, dict[str, Any]]:
        """Return the tests without an outcome; in a controller, once a worker has left them."""
        if self.tests is not None:
            return self.tests
        if self.folder is None or not (file := self.folder / FILE).exists():
            return {}
        tests: dict[str, dict[str, Any]] = json.loads(file.read_text("utf-8"))
        self.tests = tests
        return tests

    def keep(self, nodeid: str, reports: list[pytest.TestReport]) -> None:
        """Record a test by its reports; one without any did not run."""
        test = self.read().pop(nodeid)
        run = self.run(test["asset"])
        if run is not None:
            measured: dict[str, Any] = {
                name: value for report in reports for name, value in report.user_properties if name in MEASURED
            }
            taken = sum(report.duration for report in reports) * 1_000
            run.check(**test["fields"], **measured, **_outcome(reports), execution_time_ms=taken)

    def run(self, asset: str) -> Run | None:
        """Return the run of an asset, begun with its first check; None if there can be none."""
        from truthstore.factory import open_store
        from truthstore.recording.run import record, surviving

        if asset not in self.runs:
            with surviving(self.on_error, "recording tests"):
                self.store = self.store or self.stack.enter_context(open_store(self.url))
                run = record(self.store, asset, tags=self.tags, suite_name="pytest", on_error=self.on_error)
                self.runs[asset] = self.stack.enter_context(run)
        return self.runs.get(asset)

    @pytest.hookimpl(wrapper=True)
    def pytest_sessionfinish(self) -> Generator[None, object, object]:
        """Store the runs, when every report has come."""
        try:
            return (yield)
        finally:
            for nodeid in list(self.read()):
                self.keep(nodeid, self.reports.get(nodeid, []))
            self.stack.close()
            if self.folder is not None:
                shutil.rmtree(self.folder, ignore_errors=True)


def _outcome(reports: list[pytest.TestReport]) -> dict[str, Any]:
    """Return the outcome of a test: that of its call, unless something before or after it broke."""
    from truthstore.results import VALIDATOR_ERROR

    broken = next((report for report in reports if report.failed), None)
    skipped = next((report for report in reports if report.skipped), None)
    decisive = broken or skipped
    message = None if decisive is None else _message(decisive)
    if broken is not None:
        kind = None if broken.when == "call" else VALIDATOR_ERROR
        return {"passed": False, "issue_type": kind, "message": message}
    if skipped is not None:
        expected = hasattr(skipped, "wasxfail")  # it failed, as it was known to
        return {"passed": False, "status": "warning" if expected else "skipped", "message": message}
    if any(report.when == "call" and report.passed for report in reports):
        return {"passed": True}
    return {"passed": None, "message": "the session ended before the test did"}


def _message(report: pytest.TestReport) -> str:
    if hasattr(report, "wasxfail") and report.wasxfail:
        return str(report.wasxfail)
    crash = getattr(report.longrepr, "reprcrash", None)
    if crash is not None:
        return str(crash.message)[:MESSAGE_LENGTH]
    if isinstance(report.longrepr, tuple):
        return str(report.longrepr[2])[:MESSAGE_LENGTH]
    return report.longreprtext[:MESSAGE_LENGTH]
