"""Saves that wait, and are stored together soon after: in memory, or in a durable queue on the local disk."""

from truthstore.batching.base import BatchConfig, RejectedItem
from truthstore.batching.store import BatchedStore

__all__ = ["BatchConfig", "BatchedStore", "RejectedItem"]
