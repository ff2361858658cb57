"""Figures are of the same type on every way to them."""

from __future__ import annotations

from truthstore import StoreQuery, get_store
from truthstore.model.aggregate import Aggregation
from truthstore.model.query import EVERYTHING
from truthstore.testing.sample import SAMPLES, Sample


def test_the_sum_of_flags_is_a_number():
    samples = [Sample("a", name="alone", passed=True), Sample("b", name="none", passed=False)]
    samples += [Sample("c", name="two", passed=True), Sample("d", name="two", passed=True), Sample("e", name="unknown")]
    aggregation = Aggregation.of(SAMPLES, "name", None, ("sum:passed", "avg:passed", "max:passed"))
    reference = aggregation.over([SAMPLES.encode(sample) for sample in samples])
    assert [repr(row["sum:passed"]) for row in reference] == ["1", "0", "2", "None"]
    assert [repr(row["max:passed"]) for row in reference] == ["True", "False", "True", "None"]
    with get_store("memory", collection=SAMPLES) as store:
        store.save_many(samples)
        indexed = store.aggregate(by="name", metrics=("sum:passed", "avg:passed", "max:passed"))
        assert repr(indexed) == repr(reference)
        assert store.aggregate(StoreQuery(ids=[]), metrics="sum:passed") == aggregation.over([])
        assert store.count(EVERYTHING) == 5
