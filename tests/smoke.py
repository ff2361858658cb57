"""The tests of a whole suite that run every time where another class runs all of them over the same code."""

from __future__ import annotations

__all__ = ["SMOKE"]

SMOKE = frozenset(
    [
        "test_what_is_saved_is_what_one_gets",
        "test_large_items_come_back",
        "test_what_is_missing_is_not_found",
        "test_delete_and_create_again",
        "test_absent_creates_and_never_overwrites",
        "test_a_revision_replaces_just_that",
        "test_delete_with_a_revision",
        "test_many_are_as_good_as_one_by_one",
        "test_it_persists",
        "test_a_bulk_put_writes_what_it_can_and_names_the_rest",
        "test_a_forked_process_can_save_and_its_parent_reads",
    ]
)
