"""The functions that bring a document from one version to another, and the way through them."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeAlias, TypeVar

from truthstore.migration.base import MigrationError, MigrationPathError, SchemaVersion

__all__ = ["Migrate", "Migration", "MigrationRegistry"]

Migrate: TypeAlias = Callable[[dict[str, Any]], Mapping[str, Any]]
"""Takes a document as JSON has it, which it may change, and returns the document of another version."""

M = TypeVar("M", bound=Migrate)


class Migration(NamedTuple):
    """One step.

    Attributes:
        source: the version that it takes.
        target: the version that it makes.
        migrate: the function.
    """

    source: SchemaVersion
    target: SchemaVersion
    migrate: Migrate


class MigrationRegistry:
    """Hold the migrations of collections.

    Args:
        initial: the version of documents that say none: they were stored before there were migrations.
    """

    def __init__(self, initial: str | SchemaVersion = "1.0.0") -> None:
        self.initial = SchemaVersion.parse(initial)
        self._steps: dict[str, dict[SchemaVersion, dict[SchemaVersion, Migration]]] = {}

    def register(
        self, source: str | SchemaVersion, target: str | SchemaVersion, *, collection: str = "results"
    ) -> Callable[[M], M]:
        """Register the decorated function as the step between two versions, up or down.

        Args:
            source: the version that it takes.
            target: the version that it makes.
            collection: name of the collection.

        Raises:
            ValueError: there is such a step, or it leads nowhere.
        """
        from_version, to_version = SchemaVersion.parse(source), SchemaVersion.parse(target)
        if from_version == to_version:
            raise ValueError(f"a migration leads from one version to another, not from {from_version} to itself")
        steps = self._steps.setdefault(collection, {}).setdefault(from_version, {})
        if to_version in steps:
            raise ValueError(f"{collection} has a migration from {from_version} to {to_version}")

        def add(migrate: M) -> M:
            steps[to_version] = Migration(from_version, to_version, migrate)
            return migrate

        return add

    def latest(self, collection: str = "results") -> SchemaVersion:
        """Return the highest version of a collection that is known."""
        steps = self._steps.get(collection, {})
        return max({self.initial, *steps, *(target for targets in steps.values() for target in targets)})

    def path(
        self, source: str | SchemaVersion, target: str | SchemaVersion, collection: str = "results"
    ) -> list[Migration]:
        """Return the fewest steps from one version to another.

        Raises:
            MigrationPathError: none lead there.
        """
        start, end = SchemaVersion.parse(source), SchemaVersion.parse(target)
        ways: dict[SchemaVersion, list[Migration]] = {start: []}
        waiting = deque([start])
        while waiting and end not in ways:
            version = waiting.popleft()
            for step in self._steps.get(collection, {}).get(version, {}).values():
                if step.target not in ways:
                    ways[step.target] = [*ways[version], step]
                    waiting.append(step.target)
        if end not in ways:
            known = ", ".join(
                f"{step.source} → {step.target}"
                for steps in self._steps.get(collection, {}).values()
                for step in steps.values()
            )
            raise MigrationPathError(
                f"{collection}: no migrations lead from {start} to {end}; registered are {known or 'none'}",
                collection=collection,
            )
        return ways[end]

    def migrate(
        self,
        document: dict[str, Any],
        source: str | SchemaVersion,
        target: str | SchemaVersion,
        collection: str = "results",
    ) -> dict[str, Any]:
        """Return a document in another version; the given one may be changed.

        Raises:
            MigrationPathError: no migrations lead there.
            MigrationError: one of them raised, or returned no document.
        """
        for step in self.path(source, target, collection):
            try:
                migrated = step.migrate(document)
            except Exception as error:
                raise MigrationError(
                    f"the migration of {collection} from {step.source} to {step.target} raised "
                    f"{type(error).__name__}: {error}",
                    collection=collection,
                ) from error
            if not isinstance(migrated, Mapping):
                raise MigrationError(
                    f"the migration of {collection} from {step.source} to {step.target} returned "
                    f"{type(migrated).__name__}: return the document",
                    collection=collection,
                )
            document = dict(migrated)
        return document
