"""The action for checkpoints of Great Expectations."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

from truthstore import get_store

pytest.importorskip("great_expectations")

pytestmark = [
    # Importing Great Expectations imports sre_constants, which Python 3.11 deprecates.
    pytest.mark.filterwarnings("ignore:module 'sre_constants' is deprecated:DeprecationWarning"),
]


def checkpoint(*, folder: Path | None = None, **options):
    """Two validations of a table with a null, one of which fails, and the action."""
    pandas = importlib.import_module("pandas")
    gx = importlib.import_module("great_expectations")
    action = importlib.import_module("truthstore.recording.great_expectations").StoreResultsAction
    context = (
        gx.get_context(mode="ephemeral") if folder is None else gx.get_context(mode="file", project_root_dir=folder)
    )
    asset = context.data_sources.add_pandas("tables").add_dataframe_asset("orders")
    batch = asset.add_batch_definition_whole_dataframe("all")
    definitions = []
    for name in ("ids", "names"):
        expectation = gx.expectations.ExpectColumnValuesToNotBeNull(column=name)
        suite = context.suites.add(gx.ExpectationSuite(name=name, expectations=[expectation]))
        definition = gx.ValidationDefinition(name=name, data=batch, suite=suite)
        definitions.append(context.validation_definitions.add(definition))
    actions = [action(name="keep", **options)]
    made = context.checkpoints.add(gx.Checkpoint(name="daily", validation_definitions=definitions, actions=actions))
    table = pandas.DataFrame({"ids": [1, 2], "names": ["a", None]})
    return context, lambda made=made: made.run(batch_parameters={"dataframe": table})


def test_a_checkpoint_stores_each_of_its_validations():
    url = Path("store").absolute().as_uri()
    _, run = checkpoint(store=url, tags={"team": "sales"})
    assert not run().success
    with get_store(url) as store:
        found = {result.suite_name: result for result in store.query()}
    assert {name: result.status for name, result in found.items()} == {"ids": "success", "names": "failure"}
    assert {(result.data_asset, result.tags["team"]) for result in found.values()} == {("orders", "sales")}


def test_the_action_is_kept_with_its_checkpoint(tmp_path):
    url = Path("store").absolute().as_uri()
    context, run = checkpoint(folder=tmp_path, store=url)
    run(context.checkpoints.get("daily"))
    with get_store(url) as store:
        assert len(list(store.query())) == 2


def test_a_store_that_cannot_be_opened_fails_no_checkpoint_unless_asked(caplog):
    _, run = checkpoint(store="nowhere.yaml")
    assert len(run().run_results) == 2
    assert "cannot read nowhere.yaml" in caplog.text
    _, run = checkpoint(store="nowhere.yaml", on_error="raise")
    with pytest.raises(Exception, match=r"cannot read nowhere\.yaml"):
        run()
