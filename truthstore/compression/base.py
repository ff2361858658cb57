"""Options of compression."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from truthstore.errors import StoreConfigError, one_of

__all__ = ["CompressionConfig"]

LEVELS: Final[Mapping[str, range]] = MappingProxyType({"gzip": range(1, 10), "lz4": range(13), "zstd": range(-50, 23)})
USUAL: Final[Mapping[str, int]] = MappingProxyType({"gzip": 6, "lz4": 0, "zstd": 3})


@dataclass(frozen=True, slots=True, kw_only=True)
class CompressionConfig:
    """How bodies are compressed.

    Attributes:
        algorithm: ``zstd``, ``gzip`` or ``lz4``. What another one wrote is read all the same.
        level: more takes longer and gives less: -50 to 22 for zstd, 1 to 9 for gzip, 0 to 12 for lz4; None is the usual one.
        dictionary_bytes: size of the dictionaries that are made for zstd; 0 for none.
        max_item_bytes: bodies have at most so many bytes; one that expands to more is taken for damaged.

    Raises:
        StoreConfigError: a value that makes no sense.
    """

    algorithm: str = "zstd"
    level: int | None = None
    dictionary_bytes: int = 16_384
    max_item_bytes: int = 1 << 30

    def __post_init__(self) -> None:
        if self.algorithm not in LEVELS:
            raise StoreConfigError(one_of("algorithm", self.algorithm, LEVELS))
        levels = LEVELS[self.algorithm]
        if self.level is not None and self.level not in levels:
            raise StoreConfigError(f"{self.algorithm} has the levels {levels[0]} to {levels[-1]}, not {self.level}")
        if self.dictionary_bytes < 0 or self.max_item_bytes < 1:
            raise StoreConfigError("dictionary_bytes is 0 or more, max_item_bytes at least 1")

    @property
    def chosen_level(self) -> int:
        """The level that is used."""
        return USUAL[self.algorithm] if self.level is None else self.level
