"""Items whose class has changed: documents of earlier versions are upgraded when they are read, or all at once."""

from truthstore.migration.base import (
    MigrationError,
    MigrationPathError,
    MigrationReport,
    NewerSchemaError,
    SchemaVersion,
)
from truthstore.migration.registry import MigrationRegistry
from truthstore.migration.store import MigratingStore

__all__ = [
    "MigratingStore",
    "MigrationError",
    "MigrationPathError",
    "MigrationRegistry",
    "MigrationReport",
    "NewerSchemaError",
    "SchemaVersion",
]
