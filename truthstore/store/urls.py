"""URLs of stores: their parts, and how a message shows them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from truthstore.errors import StoreConfigError
from truthstore.store.config import Text

if TYPE_CHECKING:
    from urllib.parse import SplitResult

__all__ = ["shown_url", "split_url"]


def split_url(url: str) -> tuple[SplitResult, dict[str, Any]]:
    """Return the parts of a URL and the options in its query.

    Raises:
        StoreConfigError: it has a fragment, which would cut off what follows it.
    """
    from urllib.parse import parse_qsl, urlsplit

    if "#" in url:
        raise StoreConfigError(f"{shown_url(url)!r}: a # would cut off what follows it: write %23")
    parts = urlsplit(url)
    return parts, {name: Text(value) for name, value in parse_qsl(parts.query, keep_blank_values=True)}


def shown_url(url: str) -> str:
    """Return a URL, or a text that was meant as one, for a message: without all that stands before the last ``@``."""
    before, at, after = url.rpartition("@")
    return f"{before.partition(':')[0]}:…@{after}" if at else url
