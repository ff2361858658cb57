"""The import paths that the guide and the documentation name stay, wherever the code behind them lies."""

from __future__ import annotations

import importlib

import pytest

PATHS = {
    "truthstore": "BaseStore Collection RecordStore StoreConfig StoreQuery ValidationStore WrapperStore get_store open_store "
    "copy_store export_store is_backend_available list_available_backends record records register_store restore_store stack",
    "truthstore.base": "ABSENT ANY BaseStore Collection StoreConfig StoreQuery StoreError StoreNotFoundError StoreConflictError "
    "StoreConnectionError StoreReadError StoreWriteError StoreBulkError StoreCorruptError StoreKeyError StoreQueryError "
    "StoreConfigError StoreOverloadedError StoreClosedError StoreNotSupportedError ValidationStore VersionConflictError",
    "truthstore.factory": "get_store open_store register_store stack list_available_backends is_backend_available",
    "truthstore.results": "RESULTS ResultStatistics ResultStatus ValidationResult ValidatorResult new_run_id",
    "truthstore.checks": "Acknowledgement Blame Check CheckQuery Checks Comparison Flaky Overdue Ranked Trace",
    "truthstore.expectations": "SUITES Expectation ExpectationSuite",
    "truthstore.backends.filesystem": "FileSystemConfig FileSystemExpectationStore FileSystemStore",
    "truthstore.backends.memory": "MemoryConfig MemoryExpectationStore MemoryStore",
    "truthstore.backends.s3": "S3Config S3Store",
    "truthstore.backends.gcs": "GCSConfig GCSStore",
    "truthstore.backends.azure_blob": "AzureBlobConfig AzureBlobStore",
    "truthstore.backends.database": "DatabaseConfig DatabaseStore PoolingConfig PoolMetrics",
    "truthstore.versioning": "VersionedStore VersioningConfig VersioningMode VersionInfo VersionDiff DiffType",
    "truthstore.versioning.base": "VersioningConfig VersioningMode VersionInfo VersionDiff DiffType VersionConflictError "
    "VersionNotFoundError",
    "truthstore.versioning.store": "VersionedStore",
    "truthstore.versioning.strategies": "IncrementalStrategy SemanticStrategy TimestampStrategy GitLikeStrategy get_strategy",
    "truthstore.retention": "RetentionStore RetentionConfig RetentionPolicy TimeBasedPolicy CountBasedPolicy SizeBasedPolicy "
    "StatusBasedPolicy TagBasedPolicy CompositePolicy CustomPolicy",
    "truthstore.retention.base": "RetentionConfig RetentionSchedule ItemMetadata RetentionResult RetentionAction PolicyMode",
    "truthstore.retention.policies": "TimeBasedPolicy CountBasedPolicy SizeBasedPolicy StatusBasedPolicy TagBasedPolicy "
    "CompositePolicy CustomPolicy",
    "truthstore.retention.store": "RetentionStore",
    "truthstore.caching": "CachedStore CacheMode CacheConfig",
    "truthstore.caching.base": "CacheConfig CacheMetrics CacheMode EvictionPolicy",
    "truthstore.caching.backends": "LRUCache LFUCache TTLCache InMemoryCache RedisCache DiskCache",
    "truthstore.caching.store": "CachedStore",
    "truthstore.observability": "ObservableStore ObservabilityConfig",
    "truthstore.observability.config": "AuditConfig AuditLogLevel MetricsConfig ObservabilityConfig TracingConfig",
    "truthstore.observability.audit": "AuditEvent AuditEventType AuditStatus AuditLogger DataRedactor InMemoryAuditBackend "
    "FileAuditBackend JsonAuditBackend CompositeAuditBackend AsyncAuditBackend StoreAuditBackend",
    "truthstore.observability.store": "ObservableStore",
    "truthstore.backpressure": "BackpressureConfig BackpressureStore CircuitBreaker CircuitConfig",
    "truthstore.migration": "MigratingStore MigrationRegistry SchemaVersion MigrationError MigrationPathError NewerSchemaError",
    "truthstore.compression": "CompressedStore CompressionConfig",
    "truthstore.compression.base": "CompressionConfig",
    "truthstore.compression.store": "CompressedStore",
    "truthstore.encryption": "EncryptedStore EncryptionConfig generate_key KeyProvider WrappedKey Rotation MemoryKeys "
    "EnvironmentKeys PassphraseKeys AwsKmsKeys GoogleKmsKeys AzureKeyVaultKeys",
    "truthstore.encryption.base": "EncryptionConfig KeyProvider Rotation WrappedKey generate_key",
    "truthstore.encryption.store": "EncryptedStore",
    "truthstore.replication": "ReplicatedStore ReplicaTarget ReplicationConfig ReplicationMode ReadPreference ConflictResolution "
    "ReplicaHealth ReplicaState ReplicationMetrics",
    "truthstore.replication.base": "ReplicaTarget ReplicationConfig ReplicationMode ReadPreference ConflictResolution "
    "ReplicaHealth ReplicaState ReplicationMetrics",
    "truthstore.replication.store": "ReplicatedStore",
    "truthstore.tiering": "TieredStore StorageTier TierType MigrationDirection TieringConfig TierInfo TieringResult TierPolicy "
    "TierMetadataStore InMemoryTierMetadataStore TieringError TierNotFoundError TierMigrationError TierAccessError",
    "truthstore.tiering.base": "StorageTier TierType MigrationDirection TieringConfig TierInfo TieringResult TierPolicy "
    "TierMetadataStore InMemoryTierMetadataStore TieringError TierNotFoundError TierMigrationError TierAccessError",
    "truthstore.tiering.policies": "AgeBasedTierPolicy AccessBasedTierPolicy SizeBasedTierPolicy ScheduledTierPolicy "
    "CompositeTierPolicy CustomTierPolicy TierPolicy",
    "truthstore.tiering.store": "TieredStore",
    "truthstore.copying": "Conflict CopyConflictError CopyCounts copy_store export_store restore_store",
    "truthstore.interop": "from_great_expectations from_pandera from_truthound",
    "truthstore.recording": "Run keep record records",
    "truthstore.testing": "StoreSuite WrapperSuite BlobsSuite StoreMachine store_machine FaultyBlobs LatencyBlobs ManualClock",
}


@pytest.mark.parametrize("module", PATHS)
def test_a_public_path_has_its_names(module: str):
    loaded = importlib.import_module(module)
    assert [name for name in PATHS[module].split() if not hasattr(loaded, name)] == []


def test_the_root_holds_few_modules():
    """A reader sees the rooms at once: the public faces lie in the root, and nothing else."""
    import truthstore

    (root,) = truthstore.__path__
    modules = sorted(path.stem for path in importlib.import_module("pathlib").Path(root).glob("*.py"))
    assert len(modules) <= 7, modules
