"""What a call says about versions, taken out of the options that go on to the layers below."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from truthstore.errors import StoreWriteError
from truthstore.model.fields import check_string
from truthstore.model.record import NONE, Options
from truthstore.versioning.meta import plain_metadata

if TYPE_CHECKING:
    from truthstore.versioning.base import VersioningConfig

__all__ = ["DELETE", "GET", "SAVE", "Saying", "take_delete", "take_save", "take_version"]

SAVE: Final = frozenset({"message", "created_by", "metadata", "expected_version"})
GET: Final = frozenset({"version"})
DELETE: Final = frozenset({"version", "delete_all_versions"})


class Saying(NamedTuple):
    """What a save says about the version that it makes."""

    message: str | None = None
    created_by: str | None = None
    metadata: Mapping[str, Any] = {}
    expected: int | str | None = None


NOTHING: Final = Saying()


def _without(options: Options, own: frozenset[str]) -> Options:
    return {name: value for name, value in options.items() if name not in own} or NONE


def take_save(options: Options, config: VersioningConfig) -> tuple[Saying, Options]:
    """What a save says, and the options of others.

    Raises:
        StoreWriteError: a message is missing, or it, the author or the metadata cannot be stored.
        TypeError: a value of the wrong type.
    """
    saying, rest = NOTHING, options
    if options:
        for name in ("message", "created_by"):
            value = options.get(name)
            if value is not None and not isinstance(value, str):
                raise TypeError(f"{name} is a string, not {type(value).__name__}")
            if value is not None:
                check_string(value)
        metadata = options.get("metadata")
        if metadata is not None and not isinstance(metadata, Mapping):
            raise TypeError(f"metadata is a dict, not {type(metadata).__name__}")
        saying = Saying(
            options.get("message"),
            options.get("created_by"),
            plain_metadata(metadata) if metadata else {},
            _checked(options.get("expected_version"), "expected_version"),
        )
        rest = _without(options, SAVE)
    if config.require_message and not saying.message:
        raise StoreWriteError("this store wants to know why: save(item, message=…)")
    return saying, rest


def take_version(options: Options) -> tuple[int | str | None, Options]:
    """The version that is asked for, and the options of others."""
    if not options:
        return None, options
    return _checked(options.get("version"), "version"), _without(options, GET)


def take_delete(options: Options) -> tuple[int | str | None, bool, Options]:
    """The version to remove, whether all are to go, and the options of others.

    Raises:
        TypeError: both are given.
    """
    if not options:
        return None, False, options
    version = _checked(options.get("version"), "version")
    everything = bool(options.get("delete_all_versions", False))
    if everything and version is not None:
        raise TypeError("delete takes either version= or delete_all_versions=True, not both")
    return version, everything, _without(options, DELETE)


def _checked(version: Any, name: str) -> int | str | None:
    if version is not None and (isinstance(version, bool) or not isinstance(version, int | str)):
        raise TypeError(f"{name} is a number or its label, not {type(version).__name__}")
    return version
