"""Options of every store in a bucket or container, and the place that follows from them."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from typing import Any

from truthstore.errors import StoreConfigError, echoed
from truthstore.storage.objects.names import object_name
from truthstore.store.config import StoreConfig
from truthstore.store.urls import shown_url, split_url

__all__ = ["CONNECT_SECONDS", "CloudConfig", "options_of_url", "place_of"]

CONNECT_SECONDS = 10.0
"""At most so many seconds are waited for a connection."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CloudConfig(StoreConfig):
    """Options of every store in a bucket or container; objects lie below ``{prefix}/{namespace}/``.

    Attributes:
        use_compression: gzip, unless `compression` says otherwise.
        single_writer: use a service without conditional writes. Only one process may write then; see the documentation.
        concurrency: at most so many requests at a time in bulk operations, and so many connections are kept.
        timeout: seconds to wait for an answer to one request.
        retries: how often a request is repeated that failed for a passing reason.
        cache_dir: folder of this machine's copy of the index; the user's cache folder by default. It holds the indexed
            fields in plain text, and may be deleted at any time.
    """

    prefix: str = "truthstore/"
    single_writer: bool = False
    concurrency: int = 16
    timeout: float = 60.0
    retries: int = 4
    cache_dir: str | os.PathLike[str] | None = None

    def __post_init__(self) -> None:
        if self.use_compression is None:
            object.__setattr__(self, "use_compression", self.compression is None or bool(self.compression))
        StoreConfig.__post_init__(self)
        for name, least in (("concurrency", 1), ("retries", 0)):
            value = getattr(self, name)
            if not isinstance(value, int) or value < least:
                raise StoreConfigError(f"{name} is a number of at least {least}, not {echoed(value)}")
        if not self.timeout > 0:
            raise StoreConfigError(f"timeout is a number of seconds above 0, not {echoed(self.timeout)}")
        # Of the options that only some services have:
        for name in ("secret_access_key", "session_token", "account_key", "sas_token"):
            if re.search(r"\s", getattr(self, name, None) or ""):
                raise StoreConfigError(
                    f"{name} holds a space or a line break, such as the one at the end of a file; in a URL, write %2B for a +"
                )
        for name in ("endpoint_url", "account_url"):
            check_address(name, getattr(self, name, None) or "")
        for name in ("bucket", "container"):
            if "://" in (given := str(getattr(self, name, ""))):
                raise StoreConfigError(f"{name} is a name: for {shown_url(given)!r} write get_store(url)")

    @property
    def connect_timeout(self) -> float:
        """Seconds to wait for a connection."""
        return min(CONNECT_SECONDS, self.timeout)


def check_address(name: str, url: str) -> None:
    """Refuse an address that holds a user, a password or a signature: messages show addresses."""
    if found := re.search("[@?]", url):
        wrong = "a query" if found[0] == "?" else "a user"
        raise StoreConfigError(
            f"{name} holds {wrong}: give keys, or what follows the question mark as sas_token=, apart"
        )


def place_of(config: StoreConfig) -> str:
    """Return the beginning of the names of all objects of a store: the prefix, then the namespace, each part escaped.

    The prefix comes first, so that permissions and lifecycle rules for it cover all namespaces.

    Raises:
        StoreConfigError: a part is empty.
    """
    prefix = config.prefix.strip("/")
    parts = [*(prefix.split("/") if prefix else []), config.namespace]
    if not all(parts):
        raise StoreConfigError(f"namespace {config.namespace!r} and prefix {config.prefix!r}: no part may be empty")
    return "".join(f"{object_name(part)}/" for part in parts)


def options_of_url(url: str) -> dict[str, Any]:
    """Return the options in ``s3://bucket/prefix``, ``gs://bucket/prefix`` or ``az://container/prefix``.

    Raises:
        StoreConfigError: the URL says more than a name where the bucket or container is named.
    """
    from urllib.parse import unquote

    parts, options = split_url(url)
    option = "container" if parts.scheme == "az" else "bucket"
    if "@" in parts.netloc or ":" in parts.netloc:
        raise StoreConfigError(f"{shown_url(url)!r}: after {parts.scheme}:// comes the name of the {option} alone")
    options.setdefault(option, unquote(parts.netloc))
    if parts.path.strip("/"):
        options.setdefault("prefix", unquote(parts.path).strip("/"))
    return options
