"""Options of stores: a dataclass per store, filled from keywords or handed over whole."""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, is_dataclass
from enum import Enum
from typing import Any, Final, TypeVar, cast

import msgspec

from truthstore.errors import StoreConfigError, echoed, no_option, one_of
from truthstore.items.aliases import resolved
from truthstore.model.encoding import ENCODINGS, Encoding

__all__ = ["COMPRESSIONS", "StoreConfig", "Text", "check_options", "configure", "converted", "declared_types", "member"]

C = TypeVar("C")
E = TypeVar("E", bound=Enum)

COMPRESSIONS = ("gzip", "zstd")
_PLAIN_TYPES: Final[Mapping[str, type | tuple[type, ...]]] = {
    "bool": bool,
    "float": (float, int),
    "int": int,
    "str": str,
}
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
        max_item_bytes: compressed items may have so many bytes when they are expanded; more is taken for damage.
        metadata: labels of this store, repeated by `stats()`.
        aliases: the identities that checks have now, by the ones that earlier runs recorded: see `Checks.alias`.

    Raises:
        StoreConfigError: a value that makes no sense.
        TypeError: a value of another type.
    """

    namespace: str = "default"
    prefix: str = ""
    serialization_format: Encoding = "json"
    compression: str | bool | None = None
    use_compression: bool | None = None
    max_item_bytes: int = 1 << 30
    metadata: Mapping[str, Any] = field(default_factory=dict)
    aliases: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name, wanted in (("namespace", str), ("prefix", str), ("metadata", Mapping), ("aliases", Mapping)):
            if not isinstance(getattr(self, name), wanted):
                raise TypeError(f"{name} is a {wanted.__name__}, not {type(getattr(self, name)).__name__}")
        if str(self.serialization_format) == "pickle":
            raise StoreConfigError("pickle runs code when it is read, so it is not offered: use json or msgpack")
        for option, known in (
            ("serialization_format", ENCODINGS),
            ("compression", (None, True, False, *COMPRESSIONS)),
            ("use_compression", (None, True, False)),
        ):
            if (value := getattr(self, option)) not in known:
                raise StoreConfigError(one_of(option, value, known))
        if not all(isinstance(id, str) for pair in self.aliases.items() for id in pair):
            raise TypeError("aliases are strings, by strings")
        try:
            resolved(self.aliases)
        except ValueError as error:
            raise StoreConfigError(str(error)) from error
        if not isinstance(self.max_item_bytes, int) or self.max_item_bytes < 1:
            raise StoreConfigError(f"max_item_bytes is a number of at least 1, not {echoed(self.max_item_bytes)}")
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


def configure(kind: type[C], config: C | None, options: Mapping[str, Any], owner: str, others: Iterable[str] = ()) -> C:
    """Return the configuration of a store, from an object or from keywords.

    Args:
        kind: the configuration's class, a dataclass.
        config: a ready configuration, or None.
        options: keywords.
        owner: name of the store, for messages.
        others: parameters of the store that are not part of its configuration.

    Raises:
        TypeError: both were given, an unknown keyword, or an object of another class.
    """
    if config is not None:
        if options:
            raise TypeError(f"{owner} takes either config= or keywords, not both")
        if not isinstance(config, kind):
            raise TypeError(f"config of {owner} is a {kind.__name__}, not {type(config).__name__}")
        return config
    declared = declared_types(kind)
    for name in options:
        if name not in declared:
            raise TypeError(no_option(owner, name, {*declared, *others}))
    options = converted(kind, options)
    for name, value in options.items():
        wanted = _PLAIN_TYPES.get(declared[name].removesuffix(" | None"), object)
        if value is None and declared[name].endswith(" | None"):
            continue
        is_number = wanted in {int, (float, int)}
        if not isinstance(value, wanted) or (is_number and isinstance(value, bool)):
            raise TypeError(f"{name} of {owner} is {declared[name]}, not {type(value).__name__}")
    return kind(**options)


def member(kind: type[E], value: object, option: str) -> E:
    """Return the member of an enumeration with this value.

    Raises:
        StoreConfigError: there is none.
    """
    found = next((one for one in kind if one == value), None)
    if found is None:
        raise StoreConfigError(one_of(option, value, [one.value for one in kind]))
    return found


def converted(target: Callable[..., Any], options: Mapping[str, Any]) -> dict[str, Any]:
    """Convert options that were written as text, as the parameters of a store, layer or configuration declare them."""
    declared = declared_types(target)
    return {name: _as_declared(name, declared.get(name, ""), value) for name, value in options.items()}


def declared_types(target: Callable[..., Any]) -> dict[str, str]:
    """Return the annotation of each option of a store, layer or configuration; a configuration's fields are options too."""
    return _declared(target)[0]


def check_options(target: Callable[..., Any], options: Iterable[str], owner: str) -> None:
    """Refuse options that a store, layer, policy, cache or sink does not declare, if it declares what it takes.

    Raises:
        StoreConfigError: there is no such option.
    """
    declared, takes_any = _declared(target)
    known = declared.keys() - {"base", "collection"}
    for name in options:
        if name not in known and not takes_any:
            raise StoreConfigError(no_option(owner, name, known))


def _declared(target: Callable[..., Any]) -> tuple[dict[str, str], bool]:
    """Return the annotations of options, and whether it takes others too."""
    try:
        parameters = inspect.signature(target).parameters
    except ValueError:  # a callable written in C need not have a signature
        return {}, True
    others = [name for name, parameter in parameters.items() if parameter.kind is parameter.VAR_KEYWORD]
    declared = {name: _written(parameter.annotation) for name, parameter in parameters.items() if name not in others}
    names = vars(sys.modules[target.__module__])
    for word in re.findall(r"\w+", declared.get("config", "")):
        if is_dataclass(kind := names.get(word)):
            return declared_types(cast("type", kind)) | declared, False
    return declared, bool(others)


def _written(annotation: Any) -> str:
    return annotation.__name__ if isinstance(annotation, type) else str(annotation)


def _as_declared(name: str, declared: str, value: Any) -> Any:
    """Convert a `Text`, or those within a value, to the type of its option: one that takes text gets ``007`` as it is.

    Args:
        name: the option, for messages.
        declared: its annotation; where it names none of bool, int, float and str, the looks of the text decide.
        value: any value.

    Raises:
        TypeError: the text is of none of the declared types.
    """
    if type(value) is dict:
        return {key: _as_declared(name, declared, inner) for key, inner in value.items()}
    if type(value) is list:
        return [_as_declared(name, declared, inner) for inner in value]
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
