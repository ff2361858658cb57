"""Tiers of one store: S3 storage classes and Azure access tiers, without a copy."""

from __future__ import annotations

from typing import Any

import pytest

from tests.services.azurite import Azurite, azurite
from tests.services.process import started
from tests.tiering.doubles import three_tiers
from truthstore import BaseStore
from truthstore.base import StoreConfigError
from truthstore.testing import SAMPLES, Sample
from truthstore.tiering import CustomTierPolicy, StorageTier, TieredStore, TierMigrationError, TierType

moto = pytest.importorskip("moto")
boto3 = pytest.importorskip("boto3")

from truthstore.backends.azure_blob import AzureBlobStore  # noqa: E402
from truthstore.backends.s3 import S3Store  # noqa: E402


@pytest.fixture
def client():
    with moto.mock_aws():
        client = boto3.client("s3", region_name="us-east-1", aws_access_key_id="a", aws_secret_access_key="b")
        client.create_bucket(Bucket="results")
        yield client


def test_an_item_changes_its_storage_class_where_it_lies(client, tmp_path):
    base: BaseStore[Any] = S3Store(bucket="results", client=client, collection=SAMPLES, cache_dir=tmp_path)
    hot = StorageTier("hot", base, storage_class="STANDARD", cost_per_gb=0.023)
    rare = StorageTier("rare", base, TierType.COLD, 1, storage_class="STANDARD_IA", cost_per_gb=0.0125)
    policy = CustomTierPolicy("hot", "rare", lambda info: info.item_id == "a")
    store: TieredStore[Any] = TieredStore([hot, rare], policies=[policy])
    with store:
        store.save_many([Sample("a", count=1), Sample("b", count=2)])
        revision = store.head("a").revision
        if tuple(map(int, boto3.__version__.split(".")[:2])) < (1, 41):
            assert "boto3 1.41" in store.run_tiering().errors[0]
            return
        assert store.run_tiering().migrations == {"hot → rare": 1}
        assert (store.tier_of("a"), store.tier_of("b")) == ("rare", "hot")
        assert store.head("a").revision == revision
        assert store.get("a").count == 1
        assert store.count() == 2
        assert [(row["tier"], row["items"]) for row in store.cost_report()] == [("hot", 1), ("rare", 1)]
        assert store.run_tiering().items_migrated == 0
        assert store.migrate_item("a", "hot")
        assert store.tier_of("a") == "hot"
        store.migrate_item("a", "rare")
        store.save(Sample("a", count=3))
        assert store.tier_of("a") == "hot", "a save is an object of the usual class again"


@pytest.fixture(scope="module")
def azure_server():
    yield from started(azurite())


@pytest.mark.xdist_group("azure")
def test_an_item_changes_its_access_tier_where_it_lies(azure_server: Azurite, tmp_path):
    blob = pytest.importorskip("azure.storage.blob")
    with blob.ContainerClient.from_connection_string(azure_server.connection_string, "tiers") as client:
        client.create_container()
    options: dict[str, Any] = {
        "connection_string": azure_server.connection_string,
        "container": "tiers",
        "cache_dir": tmp_path,
    }
    base: BaseStore[Any] = AzureBlobStore(collection=SAMPLES, **options)
    hot = StorageTier("hot", base, storage_class="Hot")
    cool = StorageTier("cool", base, TierType.COLD, 1, storage_class="Cool")
    policy = CustomTierPolicy("hot", "cool", lambda info: info.item_id == "a")
    with TieredStore[Any]([hot, cool], policies=[policy]) as store:
        store.save_many([Sample("a", count=1), Sample("b", count=2)])
        assert store.run_tiering().migrations == {"hot → cool": 1}
        assert (store.tier_of("a"), store.tier_of("b")) == ("cool", "hot")
        assert (store.get("a").count, store.count()) == (1, 2)
        with AzureBlobStore(collection=SAMPLES, **options) as again:
            assert again.storage_classes(SAMPLES)("a") == "Cool"
        assert store.migrate_item("a", "hot")
        assert store.tier_of("a") == "hot"


def test_a_class_that_cannot_be_read_at_once_is_refused(client, tmp_path):
    base: BaseStore[Any] = S3Store(bucket="results", client=client, collection=SAMPLES, cache_dir=tmp_path)
    deep = StorageTier("deep", base, TierType.ARCHIVE, 1, storage_class="DEEP_ARCHIVE")
    store: TieredStore[Any] = TieredStore([StorageTier("hot", base, storage_class="STANDARD"), deep])
    with store:
        store.save(Sample("a"))
        with pytest.raises(TierMigrationError, match="cannot be read at once"):
            store.migrate_item("a", "deep")


def test_tiers_of_one_store_need_their_classes():
    store = three_tiers()
    with pytest.raises(StoreConfigError, match="share a store: give each a storage_class"):
        TieredStore([StorageTier("hot", store.base), StorageTier("cold", store.base)])
    with pytest.raises(StoreConfigError, match="has no storage classes"):
        TieredStore([StorageTier("hot", store.base, storage_class="STANDARD")])
