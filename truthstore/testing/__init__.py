"""Proof for authors of backends and wrappers: conformance suites, a state machine, faults, and generated data.

It needs the extra ``testing`` (pytest and Hypothesis). For assertions that explain themselves, call
``pytest.register_assert_rewrite("truthstore.testing")`` in ``conftest.py`` before the first import.
"""

from __future__ import annotations

from truthstore.testing.blobs_suite import BlobsSuite
from truthstore.testing.faults import FaultyBlobs, LatencyBlobs, ManualClock, SimulatedCrashError
from truthstore.testing.sample import SAMPLES, Sample, make_samples
from truthstore.testing.store_machine import Faults, StoreMachine, store_machine
from truthstore.testing.store_suite import StoreSuite
from truthstore.testing.wrapper_suite import WrapperSuite

__all__ = [
    "SAMPLES",
    "BlobsSuite",
    "Faults",
    "FaultyBlobs",
    "LatencyBlobs",
    "ManualClock",
    "Sample",
    "SimulatedCrashError",
    "StoreMachine",
    "StoreSuite",
    "WrapperSuite",
    "make_samples",
    "store_machine",
]
