"""Who acts, and on whose behalf: set around calls, read where they are observed."""

from __future__ import annotations

import contextlib
import getpass
import secrets
from collections.abc import Generator
from contextvars import ContextVar
from functools import cache
from typing import Final

__all__ = ["acting_as", "correlation", "current_actor", "current_correlation_id"]

_correlation: Final[ContextVar[str | None]] = ContextVar("truthstore_correlation_id", default=None)
_actor: Final[ContextVar[str | None]] = ContextVar("truthstore_actor", default=None)


@contextlib.contextmanager
def correlation(id: str | None = None) -> Generator[str]:
    """Everything inside carries one correlation id, a new one unless it is given."""
    id = id or secrets.token_hex(16)
    token = _correlation.set(id)
    try:
        yield id
    finally:
        _correlation.reset(token)


@contextlib.contextmanager
def acting_as(actor: str) -> Generator[None]:
    """Everything inside is done by this actor.

    Raises:
        TypeError: the actor is not a string.
        ValueError: it holds what UTF-8 cannot encode.
    """
    token = _actor.set(check_actor(actor))
    try:
        yield
    finally:
        _actor.reset(token)


def check_actor(actor: object) -> str:
    """The name of an actor, if it can be written down.

    Raises:
        TypeError: it is not a string.
        ValueError: it holds what UTF-8 cannot encode.
    """
    if not isinstance(actor, str):
        raise TypeError(f"an actor is a string, not {type(actor).__name__}")
    try:
        actor.encode()
    except UnicodeEncodeError as error:
        raise ValueError(f"the actor {actor!a} holds what UTF-8 cannot encode") from error
    return actor


def current_correlation_id() -> str | None:
    """The correlation id that is set, if any."""
    return _correlation.get()


def current_actor() -> str | None:
    """The actor that is set, if any."""
    return _actor.get()


@cache
def system_user() -> str:
    """The user of the operating system."""
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):
        return "unknown"  # a container's user need not have a name
