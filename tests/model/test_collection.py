"""What can be declared, and which items a collection takes."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Annotated, Any, NewType

import attrs
import msgspec
import pytest

from truthstore import RESULTS, Collection, StoreBulkError, StoreConfigError, ValidationResult, get_store
from truthstore.testing.sample import SAMPLES, Sample

NOW = datetime(2026, 7, 1, tzinfo=UTC)
Stamp = NewType("Stamp", int)


class WithOwner(ValidationResult):
    """Has a field of its own."""

    owner: str = "nobody"


class Described(ValidationResult):
    """Has methods of its own, no fields."""

    def shout(self) -> str:
        return self.data_asset.upper()


@dataclass
class WithColour(Sample):
    """Has a field of its own."""

    colour: str = "red"


class Quiet(Sample):
    """Has none."""


@attrs.define
class Part:
    id: str


@attrs.define
class PartWithPrice(Part):
    price: int = 0


def test_an_item_whose_fields_would_be_lost_is_refused():
    wrong: list[tuple[Collection[Any], Any, str]] = [
        (RESULTS, WithOwner("a", NOW, "orders", "success", owner="me"), r"'owner'.*Collection\.of\(WithOwner, "),  # type: ignore[arg-type]
        (SAMPLES, WithColour("a", colour="blue"), r"'colour'.*Collection\.of\(WithColour, "),
        (Collection.of(Part), PartWithPrice("a", 7), r"'price'.*Collection\.of\(PartWithPrice, "),
    ]
    for collection, item, message in wrong:
        with get_store("memory", collection=collection) as store:
            for _ in range(2):
                with pytest.raises(TypeError, match=message):
                    store.save(item)
            with pytest.raises(StoreBulkError, match=message):
                store.save_many([item])
            assert store.list_ids() == []


def test_a_subclass_without_fields_of_its_own_is_as_good_as_its_class():
    for _ in range(2):
        with get_store("memory") as results:
            results.save(Described("a", NOW, "orders", "success"))  # type: ignore[arg-type]
            assert results.get("a").data_asset == "orders"
        with get_store("memory", collection=SAMPLES) as samples:
            samples.save(Quiet("a", name="x"))
            assert samples.get("a") == Sample("a", name="x")


def test_a_collection_of_the_subclass_keeps_its_fields():
    with get_store("memory", collection=Collection.of(WithColour)) as store:
        store.save(WithColour("a", colour="blue"))
        assert store.get("a") == WithColour("a", colour="blue")


@pytest.mark.parametrize("index", [["name"], "name", ("name", "count"), {"name"}, None])
def test_fields_without_their_types_are_refused(index: Any):
    with pytest.raises(TypeError, match="index is a dict of fields and their types"):
        Collection.of(Sample, index=index)


class Times(msgspec.Struct):
    """Attributes that can and that cannot be times."""

    id: str
    number: int
    words: str | None
    either: int | str
    many: list[datetime]
    noted: Annotated[int, "seconds"]
    moment: datetime
    day: date
    perhaps: datetime | None
    marked: Annotated[datetime, "UTC"] | None
    mixed: datetime | int
    anything: Any
    something: object
    stamp: Stamp
    inner: dict[str, datetime]

    @property
    def derived(self) -> datetime:
        return self.moment


@pytest.mark.parametrize("name", ["number", "words", "either", "many", "noted", "inner"])
def test_what_is_declared_as_something_else_cannot_be_the_time(name: str):
    with pytest.raises(StoreConfigError, match=f"times.{name}: the time field must be a datetime"):
        Collection.of(Times, time=name)
    with pytest.raises(StoreConfigError, match=r"times\.at: the time field must be a datetime"):
        Collection.of(Times, time="at", index={"at": field_at(name)})


@pytest.mark.parametrize(
    "name",
    ["moment", "day", "perhaps", "marked", "mixed", "anything", "something", "stamp", "derived"],
)
def test_what_may_be_a_time_can_be_the_time(name: str):
    assert Collection.of(Times, time=name).time == name


def test_a_time_further_in_is_not_judged():
    assert Collection.of(Times, time="at", index={"at": field_at("inner.at")}).time == "at"


def field_at(path: str) -> Any:
    from truthstore.model.fields import Field

    return Field(datetime, path)


def test_a_collection_never_changes():
    for collection in (RESULTS, Collection.of(Part)):
        assert copy.copy(collection) is collection
        assert copy.deepcopy({"collection": collection}) == {"collection": collection}
