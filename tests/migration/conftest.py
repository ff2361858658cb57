"""An order as three versions of a program know it, and the migrations between them."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from truthstore import Collection
from truthstore.migration import MigrationRegistry


class OrderV1(msgspec.Struct):
    id: str
    customer: str
    amount: str
    note: str = ""


class OrderV3(msgspec.Struct):
    id: str
    first_name: str
    last_name: str
    cents: int


V1 = Collection.of(OrderV1, name="orders", index={"customer": str})
V3 = Collection.of(OrderV3, name="orders", index={"last_name": str, "cents": int})


@pytest.fixture
def registry() -> MigrationRegistry:
    """From 1.0.0 over 2.0.0 to 3.0.0, and back."""
    registry = MigrationRegistry()

    @registry.register("1.0.0", "2.0.0", collection="orders")
    def split_names(order: dict[str, Any]) -> dict[str, Any]:
        first, _, last = order.pop("customer").partition(" ")
        return {**order, "first_name": first, "last_name": last}

    @registry.register("2", "3", collection="orders")
    def count_cents(order: dict[str, Any]) -> dict[str, Any]:
        order["cents"] = round(float(order.pop("amount")) * 100)
        return order

    @registry.register("3", "2", collection="orders")
    def write_amount(order: dict[str, Any]) -> dict[str, Any]:
        order["amount"] = str(order.pop("cents") / 100)
        return order

    @registry.register("2", "1", collection="orders")
    def join_names(order: dict[str, Any]) -> dict[str, Any]:
        order["customer"] = f"{order.pop('first_name')} {order.pop('last_name')}"
        return order

    return registry
