"""Full-text queries find what readers take for the same word."""

from __future__ import annotations

import pytest

from truthstore import StoreQuery, get_store
from truthstore.model.words import words
from truthstore.testing.sample import SAMPLES, Sample

ALIKE = [
    ("e\u0301te\u0301", "ÉTÉ"),
    ("ＡＢＣ１２", "abc12"),
    ("ﬁnal", "FINAL"),
    ("Straße", "STRASSE"),
    ("x²", "X2"),
    ("ᾳ", "ΑΙ"),
]


@pytest.mark.parametrize(("one", "other"), ALIKE)
def test_forms_of_a_word_that_unicode_calls_compatible_are_one_word(one: str, other: str):
    assert words(one) == words(other) != frozenset()


@pytest.mark.parametrize("backend", ["memory", "filesystem", "database"])
@pytest.mark.parametrize(("one", "other"), ALIKE)
def test_every_backend_finds_the_other_form(backend: str, one: str, other: str, tmp_path):
    places = {"memory": "memory", "filesystem": f"file://{tmp_path}", "database": f"sqlite:///{tmp_path}/a.db"}
    with get_store(places[backend], collection=SAMPLES) as store:
        store.save_many([Sample("a", note=one), Sample("b", note=other), Sample("c", note="else")])
        assert (
            sorted(store.list_ids(StoreQuery(text=one))) == sorted(store.list_ids(StoreQuery(text=other))) == ["a", "b"]
        )
