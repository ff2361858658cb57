"""A store that upgrades documents of earlier versions."""

from __future__ import annotations

import base64
import functools
from collections import Counter
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, Final, Generic, TypeVar, cast

import msgspec

from truthstore.errors import (
    StoreConflictError,
    StoreCorruptError,
    StoreError,
    StoreNotFoundError,
    shown,
)
from truthstore.migration.base import (
    MigrationError,
    MigrationPathError,
    MigrationReport,
    NewerSchemaError,
    SchemaVersion,
)
from truthstore.migration.registry import MigrationRegistry
from truthstore.model.collection import Collection
from truthstore.model.encoding import Codec, Encoding, pretty, to_builtins
from truthstore.model.meta_codec import pack, unpack
from truthstore.model.query import StoreQuery
from truthstore.model.record import Record, new_revision
from truthstore.store.transform import TransformingStore

if TYPE_CHECKING:
    from truthstore.store.store import BaseStore

__all__ = ["MigratingStore"]

T = TypeVar("T")

KEY: Final = "schema"
"""The annotation with the version of a document."""
ORIGINAL: Final = "original"
MIGRATION_FAILURES: Final = (MigrationError, StoreCorruptError)
_DOCUMENTS: Final = Codec(dict)


class MigratingStore(TransformingStore[T], Generic[T]):
    """Bring documents of other versions to the one that the program needs when they are read; what is saved says its version.

    Queries are answered from the index, which holds the fields as they were saved, until `migrate` has written the documents anew.

    Args:
        base: the store below.
        registry: the migrations.
        versions: the version that the program needs, by the name of the collection; the latest one that the registry knows
            if left out.

    Raises:
        ValueError: something else instead of a version.
    """

    name: ClassVar[str] = "migration"

    def __init__(
        self,
        base: BaseStore[T],
        registry: MigrationRegistry,
        *,
        versions: Mapping[str, str | SchemaVersion] = MappingProxyType({}),
    ) -> None:
        super().__init__(base)
        if not isinstance(registry, MigrationRegistry):
            raise TypeError(f"registry is a MigrationRegistry, not {type(registry).__name__}")
        self._registry = registry
        self._versions = {name: SchemaVersion.parse(version) for name, version in versions.items()}

    @property
    def registry(self) -> MigrationRegistry:
        """The migrations."""
        return self._registry

    def version(self, collection: str = "results") -> SchemaVersion:
        """Return the version that documents of a collection are brought to."""
        return self._versions.get(collection) or self._registry.latest(collection)

    def migrate(
        self,
        query: StoreQuery | None = None,
        *,
        dry_run: bool = False,
        keep_originals: bool = True,
        progress: Callable[[int, int], object] | None = None,
    ) -> MigrationReport:
        """Write all documents of other versions anew, so that queries find what is in them now.

        It may be stopped at any time, and goes on where it stopped. Each document is replaced only if it is still the one
        that was read. One that cannot be migrated stays, and is named in the report.

        Args:
            query: which items; all by default. Its order, limit and offset do not matter.
            dry_run: migrate without writing, to see what would fail.
            keep_originals: keep each document as it was, for `restore_originals`.
            progress: called after each document with the number of those looked at, and of all.
        """
        self._check()
        chosen = (query or StoreQuery()).replace(order_by="id", ascending=True, limit=None, offset=0, after=None)
        total, seen = self.count(chosen), 0
        counts = Counter[str]()
        failed: dict[str, StoreError] = {}
        for seen, head in enumerate(self.entries(chosen), 1):
            try:
                counts[self._migrate_one(head, self._collection, keep=keep_originals, dry_run=dry_run)] += 1
            except MIGRATION_FAILURES as error:
                failed[head.id] = error
            if progress is not None:
                progress(seen, max(seen, total))
        return MigrationReport(
            total=seen, migrated=counts["migrated"], current=counts["current"], changed=counts["changed"], failed=failed
        )

    def _migrate_one(self, head: Record, collection: Collection[Any], *, keep: bool, dry_run: bool) -> str:
        """Migrate one document, and say what came of it: a field of the report."""
        target = self.version(collection.name)
        if self._version(head) == target:
            return "current"
        try:
            record = self._base.get_record(head.id, collection=collection)
            if (source := self._version(record)) == target:
                return "current"
            migrated = self._migrated(record, collection, collection.name, source, target)
            if collection.id_of(collection.decode(migrated)) != record.id:
                raise MigrationError(
                    f"{shown(record.id)}: the migrations to {target} change its id", identifier=record.id
                )
            if not dry_run:
                anew = Record(migrated.meta, migrated.body, new_revision())
                if keep:
                    self._base.put_record(_original(record, anew.revision), collection=_originals(collection.name))
                self._base.put_record(anew, collection=collection, expect=record.revision)
        except (StoreNotFoundError, StoreConflictError):
            return "changed"
        return "migrated"

    def restore_originals(self) -> MigrationReport:
        """Take back the last migration of each document that was not saved since, and forget the originals of the others."""
        self._check()
        collection, originals = self._collection, _originals(self._collection.name)
        counts = Counter[str]()
        ids = list(self._base.scan_ids(StoreQuery(), collection=originals))
        for id in ids:
            kept = self._base.get_record(id, collection=originals)
            about = kept.meta.annotations[ORIGINAL]
            head = unpack(base64.b64decode(about["head"]))
            # Under a new revision: what was read of the migrated document is no longer what is stored.
            record = collection.as_declared(Record(head.meta, kept.body, new_revision()))
            try:
                self._base.put_record(record, collection=collection, expect=about["migrated"])
                counts["migrated"] += 1
            except (StoreNotFoundError, StoreConflictError):
                counts["changed"] += 1
            self._base.delete_record(id, collection=originals, expect=kept.revision)
        return MigrationReport(total=len(ids), migrated=counts["migrated"], changed=counts["changed"])

    def discard_originals(self) -> int:
        """Remove what `restore_originals` would need, and return how many documents there were."""
        self._check()
        originals = _originals(self._collection.name)
        ids = list(self._base.scan_ids(StoreQuery(), collection=originals))
        return len(self._base.delete_records(ids, collection=originals))

    def encoded(self, record: Record, collection: Collection[Any]) -> Record:
        """Return a record with the version of its document."""
        meta = record.meta
        if not collection.is_users or meta.deleted or KEY in meta.annotations:
            return record
        annotations = {**meta.annotations, KEY: str(self.version(collection.name))}
        return Record(meta.replace(annotations=annotations), record.body, record.revision)

    def decoded(self, record: Record, collection: Collection[Any]) -> Record:
        """Return a record, its document upgraded; a head is as it was saved.

        Raises:
            MigrationError: it cannot be upgraded.
        """
        name = collection.name.removesuffix(".versions")  # which hold the same documents
        if "." in name or record.body is None or record.meta.deleted:
            return record
        source, target = self._version(record), self.version(name)
        return record if source == target else self._migrated(record, collection, name, source, target)

    def _version(self, record: Record) -> SchemaVersion:
        """Return the version of a document.

        Raises:
            StoreCorruptError: it cannot be read.
        """
        said = record.meta.annotations.get(KEY)
        try:
            return self._registry.initial if said is None else SchemaVersion.parse(said)
        except ValueError as error:
            raise StoreCorruptError(f"{shown(record.id)}: {error}", identifier=record.id) from error

    def _migrated(
        self, record: Record, collection: Collection[Any], name: str, source: SchemaVersion, target: SchemaVersion
    ) -> Record:
        meta = record.meta
        try:
            document = self._registry.migrate(to_builtins(record.body or b"", meta.encoding), source, target, name)
            body = _DOCUMENTS.encode(document, cast("Encoding", meta.encoding))
        except MigrationPathError as error:
            if source < target:
                raise
            raise NewerSchemaError(
                f"{name} {shown(meta.id)} has version {source}, and this program needs {target}: use a newer program, or "
                "register the migration back",
                collection=collection.name,
                identifier=meta.id,
            ) from error
        except (StoreError, msgspec.MsgspecError, ValueError) as error:
            kind = type(error) if isinstance(error, MigrationError) else StoreCorruptError
            raise kind(f"{shown(meta.id)}: {error}", collection=collection.name, identifier=meta.id) from error
        if self.indent and meta.encoding == "json":
            body = pretty(body)
        changed = meta.replace(size=len(body), annotations={**meta.annotations, KEY: str(target)})
        return collection.as_declared(Record(changed, body, record.revision))


@functools.cache
def _originals(name: str) -> Collection[Any]:
    """Return the collection that keeps the documents of a collection as they were before their last migration."""
    return Collection.of_records(f"{name}.originals", index={})


def _original(record: Record, migrated: str) -> Record:
    """Build the record that keeps a document as it was, with the revision of the one that takes its place."""
    about = {"head": base64.b64encode(pack(record.head())).decode(), "migrated": migrated}
    meta = record.meta.replace(derive=None, fields={}, tags={}, text="", rows=None, annotations={ORIGINAL: about})
    return Record(meta, record.body)
