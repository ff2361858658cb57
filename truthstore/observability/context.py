"""The actor and the correlation id: set around calls, read where they are observed."""

from __future__ import annotations

import getpass
import secrets
from collections.abc import Generator
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar
from functools import cache
from typing import Final

__all__ = ["acting_as", "correlation", "current_actor", "current_correlation_id"]

_correlation: Final[ContextVar[str | None]] = ContextVar("truthstore_correlation_id", default=None)
_actor: Final[ContextVar[str | None]] = ContextVar("truthstore_actor", default=None)

current_correlation_id: Final = _correlation.get
"""Return the correlation id that is set, if any."""
current_actor: Final = _actor.get
"""Return the actor that is set, if any."""


@contextmanager
def _set(variable: ContextVar[str | None], value: str) -> Generator[str]:
    token = variable.set(value)
    try:
        yield value
    finally:
        variable.reset(token)


def correlation(id: str | None = None) -> AbstractContextManager[str]:
    """Give one correlation id to everything inside, by default a new one."""
    return _set(_correlation, id or secrets.token_hex(16))


def acting_as(actor: str) -> AbstractContextManager[str]:
    """Name the actor of everything inside.

    Raises:
        TypeError: the actor is not a string.
        ValueError: UTF-8 cannot encode it.
    """
    return _set(_actor, check_actor(actor))


def check_actor(actor: object) -> str:
    """Return the name of an actor, or raise as `acting_as` does."""
    if not isinstance(actor, str):
        raise TypeError(f"an actor is a string, not {type(actor).__name__}")
    try:
        actor.encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"the actor {actor!a} cannot be encoded as UTF-8") from error
    return actor


@cache
def system_user() -> str:
    """Return the user of the operating system."""
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):
        return "unknown"  # a container's user need not have a name
