"""Runs that are larger than memory: written check by check in parts, and read back the same way."""

from __future__ import annotations

from truthstore.streaming.reading import damaged, iter_checks
from truthstore.streaming.run import OpenRun
from truthstore.streaming.sweep import sweep

__all__ = ["OpenRun", "damaged", "iter_checks", "sweep"]
