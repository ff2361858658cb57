"""The store in a bucket or container: the log over a driver, with one constructor for all services."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

from truthstore.backends.cloud.config import place_of
from truthstore.backends.cloud.driver import SingleWriterBlobs
from truthstore.errors import StoreConfigError, StoreError, StoreNotFoundError
from truthstore.items.results import RESULTS
from truthstore.model.fields import check_id
from truthstore.model.record import new_revision
from truthstore.storage.log.store import LogStore
from truthstore.storage.objects.object_store import Format, folder_of
from truthstore.store.config import configure

if TYPE_CHECKING:
    from typing_extensions import TypeVar  # type checkers know it without its being installed

    from truthstore.backends.cloud.config import CloudConfig
    from truthstore.backends.cloud.driver import CloudBlobs
    from truthstore.items.results import ValidationResult
    from truthstore.model.collection import Collection
    from truthstore.store.health import Health

    T = TypeVar("T", default=ValidationResult)
else:
    from typing import TypeVar

    T = TypeVar("T")

__all__ = ["CloudStore", "T"]


class CloudStore(LogStore[T]):
    """A store in an object storage service.

    Args:
        config: the options, or
        options: the same as keywords.
        collection: the collection that the public operations act on.

    Attributes:
        config_type: the class of the options.
        driver_type: the class of the driver, made of the options and the beginning of the names of all objects.

    Raises:
        StoreConfigError: options that make no sense.
        TypeError: unknown options.
    """

    config_type: ClassVar[type[Any]]
    driver_type: ClassVar[type[Any]]

    def __init__(
        self, config: CloudConfig | None = None, *, collection: Collection[Any] = RESULTS, **options: Any
    ) -> None:
        settings: CloudConfig = configure(self.config_type, config, options, type(self).__name__)
        driver: CloudBlobs = self.driver_type(settings, place_of(settings))
        super().__init__(
            collection,
            settings,
            Format.of(settings),
            SingleWriterBlobs(driver, self.name) if settings.single_writer else driver,
            url=driver.place,
            cache_dir=None if settings.cache_dir is None else os.fspath(settings.cache_dir),
            single_writer=settings.single_writer,
            concurrency=settings.concurrency,
        )
        self._driver = driver
        self._options = settings

    def objects(self) -> CloudBlobs:
        """Return the objects below the prefix, of whatever program; the store need not be opened, nor be there."""
        prefix = self._options.prefix.strip("/")
        objects: CloudBlobs = self.driver_type(self._options, f"{prefix}/" if prefix else "")
        return objects

    @property
    def identity(self) -> str:
        """The URL of the objects, and the account where that is needed to tell it from others."""
        account = self._driver.account
        return f"{self.place} at {account}" if account else self.place

    def _open(self) -> None:
        try:
            super()._open()
        except ImportError as error:
            needs = f"the {self.name} store needs {self._driver.needs}"
            raise StoreConfigError(f"{needs}: pip install 'truthstore[{self.name}]'", backend=self.name) from error

    @property
    def place(self) -> str:
        """The URL of the objects, without secrets."""
        return self._driver.place

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.place!r}, {self._collection.name})"

    def set_storage_class(self, id: str, name: str, collection: Collection[Any] | None = None) -> None:
        """Give an item another storage class (of Azure: access tier), without a copy.

        Raises:
            StoreNotFoundError: there is no such item.
            StoreConflictError: it was saved meanwhile.
            StoreConfigError: there is no such class, or what lies in it cannot be read at once.
        """
        of = collection or self._collection
        self._ready(of)
        try:
            self._driver.set_class(self._key(of, check_id(id)), name)
        except StoreNotFoundError:
            raise StoreNotFoundError(of.name, id, backend=self.name) from None

    def storage_classes(self, collection: Collection[Any]) -> Callable[[str], str]:
        """Return the function that names the storage class of an item as it is now: one list of the objects."""
        self._ready(collection)
        known = dict(self._driver.classes(folder_of(collection.name)))
        return lambda id: known.get(self._key(collection, id), "")

    def health_check(self) -> Health:
        """Check that the store can be read and written, and if not, say why and what to do. Never raises a `StoreError`."""
        health = super().health_check()
        details: dict[str, Any] = {"place": self.place, "readable": health.healthy, "writable": False}
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
