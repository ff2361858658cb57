"""Compressing the bytes of an object, by gzip or zstd."""

from __future__ import annotations

import gzip
import zlib
from typing import TYPE_CHECKING

from truthstore.errors import StoreConfigError, StoreCorruptError

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["compressor"]


def compressor(algorithm: str | None) -> tuple[str, Callable[[bytes], bytes], Callable[[bytes], bytes]]:
    """Return file extension, compress and decompress of an algorithm.

    Raises:
        StoreConfigError: the library it needs is not installed.
    """
    if algorithm is None:
        return "", _same, _same
    if algorithm == "gzip":
        return ".gz", _gzip, _gunzip
    try:
        import zstandard  # an extra
    except ImportError as error:
        raise StoreConfigError("zstd needs the extra 'zstd': pip install 'truthstore[zstd]'") from error

    def compress(data: bytes) -> bytes:
        # A compressor object is not safe to share between threads; making one costs microseconds.
        return zstandard.ZstdCompressor(level=3).compress(data)

    def decompress(data: bytes) -> bytes:
        try:
            return zstandard.ZstdDecompressor().decompress(data)
        except zstandard.ZstdError as error:
            raise StoreCorruptError(f"damaged zstd data: {error}") from error

    return ".zst", compress, decompress


def _same(data: bytes) -> bytes:
    return data


def _gzip(data: bytes) -> bytes:
    return gzip.compress(data, 6, mtime=0)


def _gunzip(data: bytes) -> bytes:
    try:
        return gzip.decompress(data)
    except (OSError, EOFError, zlib.error) as error:
        raise StoreCorruptError(f"damaged gzip data: {error}") from error
