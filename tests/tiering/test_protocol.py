"""Every order of the calls of two operations on one id, with up to three switches between them, and a kill at every call.

Another process reads at each switch. An item that nobody deletes has one answer at any time; in the end it lies in one
tier; and what was acknowledged is in effect.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import settings

from tests.tiering.doubles import NAMES
from tests.tiering.stepping import KilledError, Operation, Stepped
from truthstore import BaseStore, StoreQuery
from truthstore.backends.memory import MemoryStore
from truthstore.base import ABSENT, StoreConflictError
from truthstore.testing import SAMPLES, Sample
from truthstore.tiering import StorageTier, TieredStore

Stores = list[BaseStore[Any]]
STRIDE = 1 if settings().max_examples > 200 else 4  # all orders at night, else each fourth place of the second switch

Work = Callable[[TieredStore[Any], str], Any]


def tiered(stores: Stores) -> TieredStore[Any]:
    tiers = [StorageTier(name, store, priority=n) for n, (name, store) in enumerate(zip(NAMES, stores, strict=True))]
    return TieredStore(tiers, track_accesses=False)


def new_place(tier: str | None) -> tuple[Stores, str]:
    """Stores with one item in a tier, beside another one, and the item's revision."""
    stores: Stores = [MemoryStore(collection=SAMPLES) for _ in NAMES]
    store = tiered(stores)
    store.save(Sample("other", count=7))
    if tier is None:
        return stores, ""
    store.save(Sample("x", count=1))
    store.migrate_item("x", tier)
    return stores, store.head("x").revision


OPERATIONS: dict[str, Work] = {
    "to hot": lambda store, _: store.migrate_item("x", "hot"),
    "to warm": lambda store, _: store.migrate_item("x", "warm"),
    "to cold": lambda store, _: store.migrate_item("x", "cold"),
    "there and back": lambda store, _: (store.migrate_item("x", "cold"), store.migrate_item("x", "hot")),
    "save": lambda store, _: store.save(Sample("x", count=2)),
    "replace": lambda store, revision: store.save(Sample("x", count=3), expect=revision),
    "delete": lambda store, _: store.delete("x"),
    "get": lambda store, _: store.get("x").count,
    "query": lambda store, _: [item.id for item in store.query(StoreQuery(order_by="id"))],
    "count": lambda store, _: store.count(),
    "recover": lambda store, _: store._placement.recover(SAMPLES),
    "save many": lambda store, _: store.save_many([Sample("x", count=4), Sample("y")]),
}
CREATE: Work = lambda store, _: store.save(Sample("x", count=5), expect=ABSENT)  # noqa: E731


def start(name: str, stores: Stores, revision: str) -> Operation:
    work = CREATE if name == "create" else OPERATIONS[name]
    return Operation(lambda own: work(tiered([Stepped(store, own) for store in stores]), revision))


def look(stores: Stores, *, is_there: bool | None = True) -> int | None:
    """What another process sees: one answer, the same in every way to ask."""
    store = tiered(stores)
    ids = store.list_ids(StoreQuery(order_by="id", ascending=True))
    assert ids in (["other", "x"], ["other"], ["other", "x", "y"], ["other", "y"])
    assert store.count() == len(ids)
    assert ("x" in ids) is store.exists("x") is ("x" in store.get_many(["x"], missing="skip"))
    rows = store.aggregate(by="id")
    assert [row["id"] for row in rows] == ids
    assert all(row["count"] == 1 for row in rows)
    if is_there is not None:
        assert ("x" in ids) is is_there
    return store.get("x").count if "x" in ids else None


def at_rest(stores: Stores) -> int | None:
    """The item when all is done: in one tier at most, and no intent is left."""
    store = tiered(stores)
    assert store._placement.intents.read(SAMPLES).ids == frozenset()
    copies = [copy for copy in stores if copy.exists("x")]
    assert len(copies) <= 1
    return look(stores, is_there=bool(copies))


def every_order(
    first: str, second: str, tier: str | None, *, is_there: bool | None, check: Callable[[Any, Any, Any], bool]
):
    number = 0
    for i in range(100):
        first_left = second_left = True
        for j in range(i % STRIDE, 100, STRIDE):
            stores, revision = new_place(tier)
            one, other = start(first, stores, revision), start(second, stores, revision)
            first_left = one.step(i)
            second_left = other.step(j)
            look(stores, is_there=is_there)
            results = one.finish(), other.finish()
            number += 1
            value = at_rest(stores)
            assert check(*results, value), (first, second, tier, i, j, results, value)
            if not second_left:
                break
        if not first_left:
            break
    assert number > 5


def is_bool(result: Any) -> bool:
    return isinstance(result, bool)


def saved(result: Any) -> bool:
    return bool(result == "x")


def refused(result: Any) -> bool:
    return isinstance(result, StoreConflictError)


@pytest.mark.parametrize(("move", "tier"), [("to cold", "hot"), ("to hot", "cold"), ("to warm", "cold")])
class TestWhileItMoves:
    def test_a_save_is_not_lost(self, move, tier):
        for order in ((move, "save"), ("save", move)):
            every_order(
                order[0],
                order[1],
                tier,
                is_there=True,
                check=lambda a, b, value: value == 2 and {type(a), type(b)} == {bool, str},
            )

    def test_a_conditional_save_finds_the_revision(self, move, tier):
        for order in ((move, "replace"), ("replace", move)):
            every_order(order[0], order[1], tier, is_there=True, check=lambda a, b, value: value == 3 and "x" in {a, b})

    def test_a_delete_is_not_undone(self, move, tier):
        for order in ((move, "delete"), ("delete", move)):
            every_order(order[0], order[1], tier, is_there=None, check=lambda a, b, value: value is None)

    def test_a_reader_finds_it(self, move, tier):
        every_order(move, "get", tier, is_there=True, check=lambda a, b, _: b == 1)
        every_order("get", move, tier, is_there=True, check=lambda a, b, _: a == 1)
        for name in ("query", "count"):
            every_order(move, name, tier, is_there=True, check=lambda a, b, _: b in (2, ["x", "other"]))
            every_order(name, move, tier, is_there=True, check=lambda a, b, _: a in (2, ["x", "other"]))

    @pytest.mark.parametrize("second", ["to hot", "to cold", "recover"])
    def test_another_mover_does_no_harm(self, move, tier, second):
        every_order(move, second, tier, is_there=True, check=lambda a, b, value: value == 1)

    def test_a_killed_mover_leaves_one_item_and_the_work_goes_on(self, move, tier):
        for i in range(100):
            stores, revision = new_place(tier)
            one = start(move, stores, revision)
            left = one.step(i)
            one.kill()
            assert not left or isinstance(one.result, KilledError)
            assert look(stores) == 1
            store = tiered(stores)
            assert store.head("x").revision == revision
            store._placement.recover(SAMPLES)
            assert at_rest(stores) == 1
            store.migrate_item("x", move.removeprefix("to "))
            assert store.tier_of("x") == move.removeprefix("to ")
            assert at_rest(stores) == 1
            if not left:
                return


@pytest.mark.parametrize("tier", ["hot", "cold"])
class TestWriters:
    def test_of_two_conditional_saves_one_succeeds(self, tier):
        every_order(
            "replace",
            "replace",
            tier,
            is_there=True,
            check=lambda a, b, value: value == 3 and saved(a) + saved(b) == 1 == refused(a) + refused(b),
        )

    def test_of_two_saves_both_succeed(self, tier):
        every_order(
            "save",
            "save many",
            tier,
            is_there=True,
            check=lambda a, b, value: value in {2, 4} and a == "x" and b == ["x", "y"],
        )

    def test_a_save_and_a_delete(self, tier):
        every_order(
            "save",
            "delete",
            tier,
            is_there=None,
            check=lambda a, b, value: saved(a) and is_bool(b) and value in {2, None},
        )
        every_order(
            "delete",
            "save",
            tier,
            is_there=None,
            check=lambda a, b, value: saved(b) and is_bool(a) and value in {2, None},
        )

    @pytest.mark.parametrize("name", ["save", "replace", "delete", "save many"])
    def test_a_killed_writer_wrote_all_or_nothing(self, tier, name):
        for i in range(100):
            stores, revision = new_place(tier)
            one = start(name, stores, revision)
            left = one.step(i)
            one.kill()
            before = look(stores, is_there=None)
            assert before in {1, None} or not isinstance(one.result, StoreConflictError)
            tiered(stores)._placement.recover(SAMPLES)
            assert at_rest(stores) == before
            if not left:
                return

    def test_a_reader_meets_an_item_that_goes_there_and_back(self, tier):
        every_order("get", "there and back", tier, is_there=True, check=lambda a, b, _: a == 1)
        every_order("there and back", "get", tier, is_there=True, check=lambda a, b, _: b == 1)


def test_of_two_that_create_one_succeeds():
    every_order(
        "create",
        "create",
        None,
        is_there=None,
        check=lambda a, b, value: value == 5 and saved(a) + saved(b) == 1 == refused(a) + refused(b),
    )


def test_what_is_created_and_moved_meanwhile_is_not_created_again():
    def both(store: TieredStore[Any], _: str) -> Any:
        return store.save(Sample("x", count=2), expect=ABSENT), store.migrate_item("x", "cold")

    OPERATIONS["create and move"] = both

    def check(a: Any, b: Any, value: Any) -> bool:
        if saved(a):
            return value == 5 and refused(b)
        return refused(a) and value == 2

    every_order("create", "create and move", None, is_there=None, check=check)
    every_order("create and move", "create", None, is_there=None, check=lambda a, b, value: check(b, a, value))
