"""Options of stores: a dataclass per store, filled from keywords or handed over whole."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar, cast

import msgspec

from truthstore.errors import StoreConfigError, nearest
from truthstore.model.encoding import ENCODINGS, Encoding

__all__ = [
    "COMPRESSIONS",
    "StoreConfig",
    "Text",
    "as_declared",
    "configure",
]

C = TypeVar("C")

COMPRESSIONS = ("gzip", "zstd")
_PLAIN_TYPES: Final[Mapping[str, type]] = {"bool": bool, "int": int, "str": str}
"""Annotations that are checked before a configuration is made of keywords."""


class Text(str):
    """A value in a URL or an environment variable: text, which the declared type of its option may convert."""

    __slots__ = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreConfig:
    """Options that every backend has.

    Attributes:
        namespace: stores of different namespaces in one place never see each other.
        prefix: path or key prefix below the namespace.
        serialization_format: ``json``, ``msgpack`` or ``yaml``.
        compression: None, ``gzip`` or ``zstd``; True means gzip.
        use_compression: another name of `compression`.
        metadata: labels of this store, repeated by `stats()`.

    Raises:
        StoreConfigError: a value that makes no sense.
    """

    namespace: str = "default"
    prefix: str = ""
    serialization_format: Encoding = "json"
    compression: str | bool | None = None
    use_compression: bool | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("namespace", "prefix"):
            if not isinstance(getattr(self, name), str):
                raise TypeError(f"{name} is a string, not {type(getattr(self, name)).__name__}")
        if str(self.serialization_format) == "pickle":
            raise StoreConfigError("pickle runs code when it is read, so it is not offered: use json or msgpack")
        if self.serialization_format not in ENCODINGS:
            raise StoreConfigError(
                f"unknown serialization_format {self.serialization_format!r}: use one of {', '.join(ENCODINGS)}"
            )
        if self.use_compression is not None and not isinstance(self.use_compression, bool):
            raise StoreConfigError(
                f"use_compression is True or False, not {self.use_compression!r}: name it in compression"
            )
        if not isinstance(self.metadata, Mapping):
            raise TypeError(f"metadata is a dict, not {type(self.metadata).__name__}")
        if self.compression is not None and not isinstance(self.compression, bool | str):
            raise TypeError(f"compression is None, a bool or a name, not {type(self.compression).__name__}")
        if self.compression not in {None, True, False, *COMPRESSIONS}:
            raise StoreConfigError(
                f"unknown compression {self.compression!r}: use None, True or one of {', '.join(COMPRESSIONS)}"
            )
        both = self.compression is not None and self.use_compression is not None
        if both and bool(self.compression) != bool(self.use_compression):
            raise StoreConfigError("compression and use_compression contradict each other: give one of them")

    @property
    def algorithm(self) -> str | None:
        """The compression algorithm, or None."""
        chosen = self.use_compression if self.compression is None else self.compression
        if isinstance(chosen, str):
            return chosen
        return "gzip" if chosen else None


def configure(kind: type[C], config: C | None, options: Mapping[str, Any], owner: str) -> C:
    """Return the configuration of a store, from an object or from keywords.

    Args:
        kind: the configuration's class.
        config: a ready configuration, or None.
        options: keywords.
        owner: name of the store, for messages.

    Raises:
        TypeError: both were given, an unknown keyword, or an object of another class.
    """
    known = {f.name for f in dataclasses.fields(cast("Any", kind))}
    if config is not None:
        if options:
            raise TypeError(f"{owner} takes either config= or keywords, not both")
        if not isinstance(config, kind):
            raise TypeError(f"config of {owner} is a {kind.__name__}, not {type(config).__name__}")
        return config
    for name in options:
        if name not in known:
            raise TypeError(f"{owner} has no option {name!r}: {nearest(name, known)}")
    declared = {option.name: str(option.type) for option in dataclasses.fields(cast("Any", kind))}
    options = {name: as_declared(name, declared[name], value) for name, value in options.items()}
    for option in dataclasses.fields(cast("Any", kind)):
        wanted = _PLAIN_TYPES.get(str(option.type))
        value = options.get(option.name)
        if wanted is not None and option.name in options and not isinstance(value, wanted):
            raise TypeError(f"{option.name} of {owner} is {option.type}, not {type(value).__name__}")
        if wanted is int and isinstance(value, bool):
            raise TypeError(f"{option.name} of {owner} is int, not bool")
    return kind(**options)


def as_declared(name: str, declared: str, value: Any) -> Any:
    """Convert a `Text` to the type of its option: one that takes text gets ``007`` as it is, and not 7.

    Args:
        name: the option, for messages.
        declared: its annotation; where it names none of bool, int, float and str, the looks of the text decide.
        value: any value; all but `Text` stay as they are.

    Raises:
        TypeError: the text is of none of the declared types.
    """
    if not isinstance(value, Text):
        return value
    kinds = set(re.findall(r"\w+", declared)) & {"bool", "int", "float", "str"} or _kinds_by_looks(value)
    for kind in (bool, int, float):
        if kind.__name__ in kinds:
            with suppress(msgspec.ValidationError):
                return msgspec.convert(str(value), kind, strict=False)
    if "str" not in kinds:
        raise TypeError(f"{name} is {declared}, not text")  # which may be a secret in the wrong place
    return str(value)


def _kinds_by_looks(text: str) -> set[str]:
    if text.lower() in {"true", "false"}:
        return {"bool"}
    is_number = re.fullmatch(r"-?\d{1,18}|-?\d{1,15}\.\d{1,15}", text)
    return {"int", "float", "str"} if is_number else {"str"}
