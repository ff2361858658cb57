"""Expectation suites: what is to be checked."""

from __future__ import annotations

from truthstore.items.expectations import SUITES, Expectation, ExpectationSuite

__all__ = ["SUITES", "Expectation", "ExpectationSuite"]
