"""The index on plain object storage, without a lock."""
