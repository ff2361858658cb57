"""Compressing the bytes of an object, by gzip or zstd, and expanding them up to a limit."""

from __future__ import annotations

import gzip
import zlib
from functools import partial
from typing import TYPE_CHECKING, Final

from truthstore.errors import StoreConfigError, StoreCorruptError, StoreWriteError

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["compressor"]

PIECE: Final = 1 << 20
GZIP: Final = 31
"""The window size with which zlib reads and writes the format of gzip."""


def compressor(algorithm: str | None, limit: int) -> tuple[str, Callable[[bytes], bytes], Callable[[bytes], bytes]]:
    """Return file extension, compress and decompress of an algorithm.

    Args:
        algorithm: ``gzip``, ``zstd`` or None.
        limit: neither takes nor makes more bytes than this: a damaged or forged object can expand a thousandfold.

    Raises:
        StoreConfigError: the library it needs is not installed.
    """
    if algorithm is None:
        return "", bytes, bytes
    if algorithm == "gzip":
        return (
            ".gz",
            partial(_checked, partial(gzip.compress, compresslevel=6, mtime=0), limit),
            partial(_gunzip, limit=limit),
        )
    try:
        import zstandard  # an extra
    except ImportError as error:
        raise StoreConfigError("zstd needs zstandard: pip install 'truthstore[zstd]'") from error

    def compress(data: bytes) -> bytes:
        # A compressor object is not safe to share between threads; making one costs microseconds.
        return zstandard.ZstdCompressor(level=3).compress(data)

    def decompress(data: bytes) -> bytes:
        pieces: list[bytes] = []
        size = 0
        # Streaming writers leave out the size, and make one frame after the other. That a frame is not whole does not show.
        with zstandard.ZstdDecompressor().stream_reader(data, read_across_frames=True) as reader:
            try:
                while piece := reader.read(PIECE):
                    pieces.append(piece)
                    size += len(piece)
                    if size > limit:
                        raise _too_large(limit)
            except zstandard.ZstdError as error:
                raise StoreCorruptError(f"damaged zstd data: {error}") from error
        return b"".join(pieces)

    return ".zst", partial(_checked, compress, limit), decompress


def _checked(compress: Callable[[bytes], bytes], limit: int, data: bytes) -> bytes:
    if len(data) > limit:
        raise StoreWriteError(f"an item of {len(data):,} bytes is larger than max_item_bytes={limit}: allow more")
    return compress(data)


def _gunzip(data: bytes, limit: int) -> bytes:
    pieces: list[bytes] = []
    size = 0
    while data:
        member = zlib.decompressobj(GZIP)
        try:
            pieces.append(member.decompress(data, limit + 1 - size))
        except zlib.error as error:
            raise StoreCorruptError(f"damaged gzip data: {error}") from error
        size += len(pieces[-1])
        if size > limit:
            raise _too_large(limit)
        if not member.eof:
            raise StoreCorruptError("damaged gzip data: it ends too early")
        data = member.unused_data.lstrip(b"\0")
    return b"".join(pieces)


def _too_large(limit: int) -> StoreCorruptError:
    return StoreCorruptError(f"it expands to more than {limit:,} bytes, which max_item_bytes= can change")
