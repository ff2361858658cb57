"""Compressing bytes, each algorithm with a checksum, and expanding them up to a limit."""

from __future__ import annotations

import gzip
import importlib
from typing import Any

from truthstore.errors import StoreConfigError, StoreCorruptError
from truthstore.storage.objects.compression import compressor

__all__ = ["Gzip", "Lz4", "Zstd", "library"]


def library(name: str) -> Any:
    """Return a module of a package that not everybody has.

    Raises:
        StoreConfigError: it is not installed.
    """
    try:
        return importlib.import_module(name)
    except ImportError as error:
        package = name.partition(".")[0]
        raise StoreConfigError(f"compression needs {package}: pip install 'truthstore[compression]'") from error


class Gzip:
    """The format of gzip."""

    def __init__(self, level: int) -> None:
        self._level = level

    def compress(self, data: bytes) -> bytes:
        """Return bytes compressed."""
        return gzip.compress(data, self._level, mtime=0)

    def expand(self, data: bytes, limit: int) -> bytes:
        """Return bytes as they were; raise `StoreCorruptError` if they are damaged, or more than the limit."""
        return compressor("gzip", limit)[2](data)


class Lz4:
    """Frames of LZ4."""

    def __init__(self, level: int) -> None:
        self._level = level
        self._lz4 = library("lz4.frame")

    def compress(self, data: bytes) -> bytes:
        """Return bytes compressed."""
        made: bytes = self._lz4.compress(data, compression_level=self._level, content_checksum=True)
        return made

    def expand(self, data: bytes, limit: int) -> bytes:
        """Return bytes as they were; raise as `Gzip.expand` does."""
        reader = self._lz4.LZ4FrameDecompressor()
        try:
            whole: bytes = reader.decompress(data, max_length=limit + 1)
        except RuntimeError as error:
            raise StoreCorruptError(f"damaged lz4 data: {error}") from error
        _check(len(whole), limit)
        if not reader.eof or reader.unused_data:
            raise StoreCorruptError("damaged lz4 data: it ends too early, or too late")
        return whole


class Zstd:
    """Frames of zstd, with a dictionary or without. Contexts, which take longest to make, are used again."""

    def __init__(self, level: int, dictionary: bytes = b"") -> None:
        self._level = level
        self._zstd = library("zstandard")
        self._dictionary = self._zstd.ZstdCompressionDict(dictionary) if dictionary else None
        if self._dictionary is not None:
            self._dictionary.precompute_compress(level=level)
        self._compressors: list[Any] = []
        self._readers: list[Any] = []

    def compress(self, data: bytes) -> bytes:
        """Return bytes compressed."""
        try:
            context = self._compressors.pop()  # no other thread has it now
        except IndexError:
            context = self._zstd.ZstdCompressor(level=self._level, dict_data=self._dictionary, write_checksum=True)
        made: bytes = context.compress(data)
        self._compressors.append(context)
        return made

    def expand(self, data: bytes, limit: int) -> bytes:
        """Return bytes as they were; raise as `Gzip.expand` does."""
        try:
            # Every frame that was written here says its size, and the library takes as much memory.
            size = self._zstd.frame_content_size(data)
            _check(size, limit)
            if size < 0:
                raise StoreCorruptError("damaged zstd data: it does not say its size")
            try:
                context = self._readers.pop()
            except IndexError:
                context = self._zstd.ZstdDecompressor(dict_data=self._dictionary)
            whole: bytes = context.decompress(data, allow_extra_data=False)
        except self._zstd.ZstdError as error:
            raise StoreCorruptError(f"damaged zstd data: {error}") from error
        self._readers.append(context)
        return whole


def _check(size: int, limit: int) -> None:
    if size > limit:
        raise StoreCorruptError(f"it expands to more than {limit:,} bytes, which max_item_bytes= can change")
