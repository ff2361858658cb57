"""A cache in Redis or Valkey, shared by processes and machines."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from itertools import islice
from typing import Any, ClassVar, Final

from truthstore.caching.shared import LEASE_SECONDS, GuardedCache
from truthstore.errors import StoreConfigError

__all__ = ["RedisCache"]

# Compare and set: the server runs it as one step.
FILL: Final = """
if redis.call('GET', KEYS[1]) ~= ARGV[1] then return 0 end
if ARGV[3] == '' then redis.call('SET', KEYS[1], ARGV[2]) else redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3]) end
return 1
"""


class RedisCache(GuardedCache):
    """Keeps bytes in Redis. While the server cannot be reached, the cache holds nothing; it never raises for that.

    Args:
        url: ``redis://``, ``rediss://`` or ``unix://``.
        prefix: what its keys start with; caches of one server with different prefixes never meet.
        ttl_seconds: how long an entry may be served; None, 0 and infinity mean until the server drops it.
        timeout_seconds: how long to wait for an answer.
        retry_seconds: after a failure the server is left alone for so long.
        client: a client of the package redis, instead of a URL. Its owner closes it, and sees to it that no other
            thread uses it elsewhere while the process forks.

    Raises:
        StoreConfigError: the package redis is not installed, or the client decodes answers.
    """

    name: ClassVar[str] = "redis"
    _connect: Callable[[], Any] | None = None

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
        if client is None:
            self._connect = partial(
                redis.Redis.from_url,
                url,
                socket_timeout=timeout_seconds,
                socket_connect_timeout=timeout_seconds,
                retry=Retry(NoBackoff(), 0),
            )
            client = self._connect()
        elif client.connection_pool.connection_kwargs.get("decode_responses"):
            raise StoreConfigError("the client of a RedisCache must not decode answers: decode_responses=False")
        self._client: Any = client

    def _get(self, keys: list[str]) -> list[bytes | None]:
        found: list[bytes | None] = self._client.mget([self._prefix + key for key in keys])
        return found

    def _set(self, values: Mapping[str, bytes], ttl_seconds: float | None) -> None:
        with self._client.pipeline(transaction=False) as pipeline:
            for key, value in values.items():
                pipeline.set(self._prefix + key, value, px=_milliseconds(ttl_seconds))
            pipeline.execute()

    def _remove(self, keys: list[str]) -> list[bytes | None]:
        with self._client.pipeline(transaction=True) as pipeline:
            for key in keys:
                pipeline.getrange(self._prefix + key, 0, 0)
            pipeline.delete(*(self._prefix + key for key in keys))
            *firsts, _ = pipeline.execute()
        return [first or None for first in firsts]

    def _take(self, values: Mapping[str, bytes], *, force: bool) -> list[str]:
        with self._client.pipeline(transaction=False) as pipeline:
            for key, lease in values.items():
                pipeline.set(self._prefix + key, lease, px=LEASE_SECONDS * 1_000, nx=not force)
            done = pipeline.execute()
        return [key for key, taken in zip(values, done, strict=True) if taken]

    def _fill(self, key: str, lease: bytes, value: bytes, ttl_seconds: float | None) -> bool:
        return bool(self._client.eval(FILL, 1, self._prefix + key, lease, value, _milliseconds(ttl_seconds) or ""))

    def _keys(self) -> Iterator[bytes]:
        pattern = re.sub(r"([\\*?\[\]])", r"\\\1", self._prefix) + "*"
        found: Iterator[bytes] = self._client.scan_iter(match=pattern, count=1_000)
        return found

    def _clear(self) -> int:
        count, keys = 0, self._keys()
        while some := list(islice(keys, 1_000)):
            count += int(self._client.unlink(*some))
        return count

    def _count(self) -> int:
        return sum(1 for _ in self._keys())

    def cleanup_expired(self) -> int:
        """Nothing: the server forgets what is too old by itself."""
        return 0

    def close(self) -> None:
        """Removes what is still to be removed, and closes the connections if they are its own."""
        self.settle()
        if self._connect is not None:
            self._client.close()

    def _rest(self) -> None:
        pass  # a child does not use its parent's connections

    def _start_anew(self) -> None:
        if self._connect is not None:
            self._client = self._connect()


def _milliseconds(seconds: float | None) -> int | None:
    return None if seconds is None else max(1, int(seconds * 1_000))
