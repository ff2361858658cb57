"""Bodies compressed by zstd, gzip or lz4, where that pays; zstd with dictionaries for small results."""

from truthstore.compression.base import CompressionConfig
from truthstore.compression.store import CompressedStore

__all__ = ["CompressedStore", "CompressionConfig"]
