"""Words for full-text queries: one meaning on every backend, no stemming, no stop words."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final
from unicodedata import normalize

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["index_text", "words"]

_WORD: Final = re.compile(r"[^\W_]+")


def words(text: str) -> frozenset[str]:
    """Return the runs of letters and digits in a text, without regard to case and to forms that Unicode calls compatible."""
    if not text.isascii():
        text = normalize("NFKC", normalize("NFKC", text).casefold())
    return frozenset(_WORD.findall(text.casefold()))


def index_text(parts: Iterable[str]) -> str:
    """Return the distinct words of several texts, sorted, separated by spaces, as an index keeps them."""
    return " ".join(sorted(words("\n".join(parts))))
