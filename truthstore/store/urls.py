"""URLs of stores: their parts, and how a message shows them. What is printed of a URL anywhere is made here."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from truthstore.errors import StoreConfigError
from truthstore.store.config import Text

if TYPE_CHECKING:
    from urllib.parse import SplitResult

__all__ = ["check_url", "shown_url", "split_url", "without_secret"]

SURE: Final = 8
"""A secret of so many characters, not all of them letters, is no word of a message."""

_BEGINNING: Final = re.compile(r"([A-Za-z][\w+.-]*)(:?//?|:)")
_PAIRS: Final = re.compile(r"(?i)(password|pwd|key|secret|sig|token)\s*=")
_HOST: Final = re.compile(r"(\[[\w:.%]*\]|[^:\[\]]*)(:\d*)?")


def split_url(url: str) -> tuple[SplitResult, dict[str, Any]]:
    """Return the parts of a URL and the options in its query.

    Raises:
        StoreConfigError: it is no URL, or has a fragment, which would cut off what follows it.
    """
    from urllib.parse import parse_qsl, urlsplit

    if "#" in url:
        raise StoreConfigError(f"{shown_url(url)!r}: a # would cut off what follows it: write %23")
    try:
        parts = urlsplit(url)
    except ValueError:  # whose message shows what it is about
        parts = None
    if parts is None:
        raise StoreConfigError(f"{shown_url(url)!r} is no URL: write %5B and %5D for [ and ]")
    if not all("=" in option for option in parts.query.split("&") if option):
        raise StoreConfigError(f"{shown_url(url)!r}: write option=value, and %26 for a & in a value")
    return parts, {name: Text(value) for name, value in parse_qsl(parts.query, keep_blank_values=True)}


def check_url(url: str) -> None:
    """Refuse a URL of which it is open where its password ends and its query begins."""
    address, _, query = url.partition("://")[2].partition("?")
    if "@" in query and ":" in address.partition("/")[0]:
        raise StoreConfigError(f"{shown_url(url)!r}: write %3F for a ? in a password, %40 for an @ in an option")


def shown_url(url: str) -> str:
    """Return a URL, or a text that was meant as one, for a message: scheme, host and path, and nothing that may be secret.

    Where a raw sign in a password leaves it open what belongs to what, the less is shown.
    """
    if ":" not in url and "@" not in url:
        return "…" if _PAIRS.search(url) else url
    beginning = _BEGINNING.match(url)
    scheme = beginning[0] if beginning else ""
    address = url[beginning.end() if beginning else 0 :]
    is_path = address.startswith("/") and scheme.startswith(("file:", "sqlite:", "sqlite+"))
    user, at, rest = ("", "", address) if is_path else address.rpartition("@")
    place = re.split(r"[?#]", rest)[0]
    is_open = re.search(r"[?#]", user) or not _HOST.fullmatch(place.partition("/")[0]) or scheme[-1:] == ":"
    if is_open or _PAIRS.search(user + place):
        return f"{scheme}…"
    return f"{scheme}{'…@' if at else ''}{place}{'' if place == rest else '?…'}"


def without_secret(text: str, secret: str | None) -> str:
    """Return a text of another program without a secret, raw or percent-encoded, where it stands by itself.

    Where a short secret, or one of letters alone, may as well be a word of the text, it is left, for an *** in the place
    of the word would tell what it is: such a one must touch a sign that sets off values.
    """
    from urllib.parse import quote, quote_plus

    for written in {secret, quote(secret), quote(secret, safe=""), quote_plus(secret)} if secret else ():
        if len(written) < SURE or written.isalpha():
            found = rf"(?<=[:=@/'\"]){re.escape(written)}(?![^\W_])|(?<!\S){re.escape(written)}(?=[@'\"])"
        else:
            found = rf"(?<![^\W_]){re.escape(written)}(?![^\W_])"
        text = re.sub(found, "***", text)
    return text
