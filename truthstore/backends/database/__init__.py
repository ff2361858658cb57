"""A store in a SQL database."""

from __future__ import annotations

from truthstore.backends.database.config import DatabaseConfig, PoolingConfig
from truthstore.backends.database.pool import PoolMetrics
from truthstore.backends.database.store import DatabaseStore

__all__ = ["DatabaseConfig", "DatabaseStore", "PoolMetrics", "PoolingConfig"]
