"""A cache in Redis or Valkey, shared by processes and machines."""

from __future__ import annotations

import inspect
import re
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from typing import Any, ClassVar, Final

from truthstore.caching.backends.shared import SharedCache
from truthstore.errors import StoreConfigError, no_option
from truthstore.store.urls import shown_url

__all__ = ["RedisCache"]

NO_END: Final = 1e9
"""Seconds, about thirty years: longer life spans have no end."""

NO_OPTIONS: Final = frozenset({"args", "kwargs", "self"})


class RedisCache(SharedCache):
    """Keeps bytes in Redis. While the server cannot be reached, the cache holds nothing; it never raises for that.

    Args:
        url: ``redis://``, ``rediss://`` or ``unix://``.
        prefix: start of its keys; caches of one server with different prefixes never meet.
        ttl_seconds: life span of an entry; None, 0 and infinity mean until the server evicts it.
        timeout_seconds: longest wait for an answer.
        retry_seconds: after a failure the server is not asked for so long.
        client: a client of the package redis, instead of a URL. Its owner closes it.

    Raises:
        StoreConfigError: the package redis is not installed, or the client decodes answers.
    """

    name: ClassVar[str] = "redis"

    def __init__(
        self,
        url: str = "redis://localhost:6379/0",
        *,
        prefix: str = "truthstore:",
        ttl_seconds: float | None = 3_600.0,
        timeout_seconds: float = 0.5,
        retry_seconds: float = 1.0,
        client: Any = None,
    ) -> None:
        try:
            import redis
            from redis.backoff import NoBackoff
            from redis.retry import Retry
        except ImportError as error:
            raise StoreConfigError("RedisCache needs the extra 'redis': pip install 'truthstore[redis]'") from error
        super().__init__(ttl_seconds=ttl_seconds, retry_seconds=retry_seconds, failures=(redis.RedisError, OSError))
        self._prefix = prefix
        self._owns_client = client is None
        if client is None:
            try:
                if re.match(r"rediss?://[^@]*[@/?#][^@]*@", url):
                    raise ValueError("it is open where the password ends")
                client = redis.Redis.from_url(
                    url,
                    socket_timeout=timeout_seconds,
                    socket_connect_timeout=timeout_seconds,
                    retry=Retry(NoBackoff(), 0),
                )
            except (TypeError, ValueError):  # which shows a part of it
                raise StoreConfigError(
                    f"{shown_url(url)!r} is no URL of Redis: %-encode the password, and give an option what it takes"
                ) from None
            _check_options(client.connection_pool)
        if client.connection_pool.connection_kwargs.get("decode_responses"):
            raise StoreConfigError("the client of a RedisCache must not decode answers: leave out decode_responses")
        self._client: Any = client  # also in a forked child: there the package redis makes other connections

    def _get(self, keys: Sequence[str]) -> Sequence[bytes | None]:
        found: list[bytes | None] = self._client.mget([self._prefix + key for key in keys])
        return found

    def _put(self, values: Mapping[str, bytes], ttl_seconds: float, *, replace: bool) -> int:
        milliseconds = max(1, int(ttl_seconds * 1_000)) if ttl_seconds < NO_END else None
        with self._client.pipeline(transaction=False) as pipeline:
            for key, value in values.items():
                pipeline.set(self._prefix + key, value, px=milliseconds, nx=not replace)
            return sum(map(bool, pipeline.execute()))

    def _remove(self, keys: Sequence[str]) -> int:
        return int(self._client.unlink(*(self._prefix + key for key in keys)))

    def _keys(self) -> Iterator[bytes]:
        pattern = re.sub(r"([\\*?\[\]])", r"\\\1", self._prefix) + "*"
        found: Iterator[bytes] = self._client.scan_iter(match=pattern, count=1_000)
        return found

    def _clear(self) -> int:
        count, keys = 0, self._keys()
        while some := list(islice(keys, 1_000)):
            count += int(self._client.unlink(*some))
        return count

    def _size(self) -> int:
        return sum(1 for _ in self._keys())

    def _expire(self) -> int:
        return 0  # the server does it by itself

    def close(self) -> None:
        """Close the connections, unless the client was given."""
        if self._owns_client:
            self._client.close()


def _check_options(pool: Any) -> None:
    """Refuse options in a URL that a connection would refuse, with a TypeError, when it is first made."""
    kinds = pool.connection_class.__mro__
    known = {name for kind in kinds for name in inspect.signature(kind.__init__).parameters} - NO_OPTIONS
    for name in pool.connection_kwargs:
        if name not in known:
            raise StoreConfigError(no_option("the URL of Redis", name, known))
