"""The SQLite index that answers queries for file-like backends."""
