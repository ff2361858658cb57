"""What the stores in buckets and containers have in common: the log over a driver, and a health check that writes too."""

from __future__ import annotations

import os
from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeVar

from truthstore.errors import StoreError
from truthstore.model.record import new_revision
from truthstore.storage.log.store import LogStore
from truthstore.storage.objects.object_store import Format

if TYPE_CHECKING:
    from truthstore.backends.cloud.config import CloudConfig
    from truthstore.model.collection import Collection
    from truthstore.storage.objects.blobs import Blobs
    from truthstore.store.health import Health

__all__ = ["CloudStore"]

T = TypeVar("T")


class CloudStore(LogStore[T]):
    """A store in an object storage service.

    Args:
        collection: what the public operations act on.
        settings: the options.
        blobs: the driver, below the store's place.
        place: the URL of the place, without secrets.
        account: the endpoint or account, for the name of the local replica, where the place alone is not unique.
    """

    def __init__(
        self, collection: Collection[T], settings: CloudConfig, blobs: Blobs, place: str, account: str = ""
    ) -> None:
        super().__init__(
            collection,
            settings,
            Format.of(settings),
            blobs,
            url=f"{place} at {account}" if account else place,
            cache_dir=None if settings.cache_dir is None else os.fspath(settings.cache_dir),
            single_writer=settings.single_writer,
            concurrency=settings.concurrency,
        )
        self._place = place
        self._driver = blobs

    @property
    def place(self) -> str:
        """Where the objects lie, as a URL."""
        return self._place

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self._place!r}, {self._collection.name})"

    def health_check(self) -> Health:
        """Whether the store can be read and written, and if not, why and what to do. Never raises a `StoreError`."""
        health = super().health_check()
        details: dict[str, Any] = {"place": self._place, "readable": health.healthy, "writable": False}
        if not health.healthy:
            return replace(health, details=details)
        key = f"_truthstore/health-{new_revision()}"
        try:
            self._driver.put(key, b"")
            self._driver.delete(key)
        except StoreError as error:
            message = f"reading works, writing does not: {error}"
            return replace(health, healthy=False, message=message, details=details)
        return replace(health, details={**details, "writable": True})
