"""Versioning: the whole suite on the stack, and the state machine with faults, over memory and files."""

from __future__ import annotations

from typing import Any

import pytest

from truthstore import RESULTS
from truthstore.backends.filesystem import FileSystemStore
from truthstore.backends.memory import MemoryBlobs, MemoryStore
from truthstore.testing import SAMPLES, FaultyBlobs, WrapperSuite, store_machine
from truthstore.versioning import VersionedStore, VersioningConfig, VersioningMode


class TestVersionedMemory(WrapperSuite):
    transparent = False

    def wrap(self, base):
        return VersionedStore(base)


class TestVersionedFiles(WrapperSuite):
    concurrent = True
    shared_between_processes = True
    transparent = False

    @pytest.fixture
    def location(self, tmp_path):
        return tmp_path / "store"

    def wrap(self, base):
        return VersionedStore(base, VersioningConfig(max_versions=3))

    def make_base(self, location, *, collection=RESULTS, **options):
        return FileSystemStore(base_path=location, durability="os", collection=collection, **options)


def make_versioned(location: MemoryBlobs) -> VersionedStore[Any]:
    return VersionedStore(MemoryStore(collection=SAMPLES, blobs=location), max_versions=2)


def make_faulty_versioned(location: MemoryBlobs) -> tuple[VersionedStore[Any], FaultyBlobs]:
    faulty = FaultyBlobs(location)
    return VersionedStore(MemoryStore(collection=SAMPLES, blobs=faulty)), faulty


def make_versioned_files(location) -> VersionedStore[Any]:
    base = FileSystemStore(base_path=location, durability="os", collection=SAMPLES)
    return VersionedStore(base, mode=VersioningMode.TIMESTAMP)


TestVersionedMachine = store_machine(
    make_versioned, make_location=MemoryBlobs, make_faulty=make_faulty_versioned, effort=0.2
)
TestVersionedFilesMachine = store_machine(make_versioned_files, writers=2, effort=0.1)
