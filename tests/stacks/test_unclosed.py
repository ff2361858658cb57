"""Programs that close nothing: what they saved is stored, and Python has nothing to say (3.13 would warn of connections)."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from truthstore.backends.memory import MemoryStore
from truthstore.batching import BatchedStore
from truthstore.testing import SAMPLES

PROGRAM = """
import sys
from truthstore.backends.memory import MemoryStore
from truthstore.batching import BatchedStore
from truthstore.caching import CachedStore, DiskCache
from truthstore.testing import SAMPLES, Sample

below = MemoryStore(collection=SAMPLES)
below.subscribe(heard := lambda changes: print(*(change.id for change in changes)))
waiting = BatchedStore(below, flush_interval_seconds=None)
waiting.save(Sample("in memory"))
durable = BatchedStore(below, durable=True, path=sys.argv[1] + "/queue.db", flush_interval_seconds=None)
durable.save(Sample("in a file"))
cached = CachedStore(below, DiskCache(sys.argv[1] + "/cache"))
cached.save(Sample("at once"))
"""


def test_a_program_that_closes_nothing(tmp_path: Path):
    command = [sys.executable, "-X", "dev", "-W", "error", "-c", PROGRAM, str(tmp_path)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert ended.stderr == ""
    assert sorted(ended.stdout.splitlines()) == ["at once", "in a file", "in memory"]
    with BatchedStore(MemoryStore(collection=SAMPLES), durable=True, path=tmp_path / "queue.db") as store:
        assert store.pending == 0
