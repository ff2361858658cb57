"""Proof for authors of backends and wrappers: conformance suites, a state machine, faults, and generated data.

It needs the extra ``testing`` (pytest and Hypothesis). For assertions that explain themselves, call
``pytest.register_assert_rewrite("truthstore.testing")`` in ``conftest.py`` before the first import.
"""

from __future__ import annotations

try:
    from truthstore.testing.faults import (
        FaultPlan,
        FaultyBlobs,
        FaultyStore,
        LatencyBlobs,
        ManualClock,
        SimulatedCrashError,
    )
    from truthstore.testing.machine import Faults, StoreMachine, store_machine
    from truthstore.testing.memory_blobs import MemoryBlobs
    from truthstore.testing.sample import SAMPLES, Sample, make_samples
    from truthstore.testing.suite.blobs import BlobsSuite
    from truthstore.testing.suite.store import StoreSuite
    from truthstore.testing.suite.wrapper import WrapperSuite
except ImportError as error:
    raise ImportError(f"{error}: the suites need the extra 'testing': pip install 'truthstore[testing]'") from error

__all__ = [
    "SAMPLES",
    "BlobsSuite",
    "FaultPlan",
    "Faults",
    "FaultyBlobs",
    "FaultyStore",
    "LatencyBlobs",
    "ManualClock",
    "MemoryBlobs",
    "Sample",
    "SimulatedCrashError",
    "StoreMachine",
    "StoreSuite",
    "WrapperSuite",
    "make_samples",
    "store_machine",
]
