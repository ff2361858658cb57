"""A store in a SQL database."""

from __future__ import annotations

from truthstore.backends.database.config import DatabaseConfig, PoolingConfig

try:
    from truthstore.backends.database.pool import PoolMetrics
    from truthstore.backends.database.store import DatabaseStore
except ImportError as error:
    raise ImportError(f"{error}: the database store needs the extra 'db': pip install 'truthstore[db]'") from error

__all__ = ["DatabaseConfig", "DatabaseStore", "PoolMetrics", "PoolingConfig"]
