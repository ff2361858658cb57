"""One store kept on several: a primary, which decides, and replicas, which follow."""

from truthstore.replication.base import (
    ConflictResolution,
    ReadPreference,
    RejectedWrite,
    ReplicaHealth,
    ReplicaState,
    ReplicaTarget,
    ReplicationConfig,
    ReplicationError,
    ReplicationMetrics,
    ReplicationMode,
)
from truthstore.replication.store import ReplicatedStore

__all__ = [
    "ConflictResolution",
    "ReadPreference",
    "RejectedWrite",
    "ReplicaHealth",
    "ReplicaState",
    "ReplicaTarget",
    "ReplicatedStore",
    "ReplicationConfig",
    "ReplicationError",
    "ReplicationMetrics",
    "ReplicationMode",
]
