"""Items to bytes and back: JSON, MessagePack and YAML through msgspec, in all of them the same values.

What JSON lacks is replaced before it is encoded, by `truthstore.model.values`; NaN and ±Infinity, which become strings,
come back as floats where the type says float.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final, Generic, Literal, TypeAlias, TypeVar

import msgspec
import yaml

from truthstore.errors import StoreConfigError, StoreCorruptError, StoreWriteError
from truthstore.model.attribute_paths import attributes
from truthstore.model.values import plain, tidy

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["ADVICE", "ENCODINGS", "Codec", "Encoding", "OutgrownError", "pretty", "to_builtins"]

T = TypeVar("T")

Encoding: TypeAlias = Literal["json", "msgpack", "yaml"]
ENCODINGS: Final[tuple[Encoding, ...]] = ("json", "msgpack", "yaml")

LARGEST_BUFFER: Final = 1 << 20
_BIG_INT: Final = 1
"""MessagePack's integers have 64 bits: longer ones are an extension of this number, with their digits."""
# A null that is a value. Written so that the search is for the plain word, several times faster than for a choice.
_holds_null: Final = re.compile(rb"null(?<=[:,\[]null)").search
_REFUSALS: Final = (
    msgspec.MsgspecError,
    NotImplementedError,
    OverflowError,
    TypeError,
    ValueError,
    yaml.YAMLError,
)


def pretty(body: bytes) -> bytes:
    """Return JSON with an indent of two spaces.

    Raises:
        StoreWriteError: it is not valid, which only a `msgspec.Raw` in it can cause.
    """
    try:
        return msgspec.json.format(body, indent=2)
    except msgspec.DecodeError as error:
        raise StoreWriteError(f"holds raw JSON that is not valid: {error}") from error


ADVICE: Final = "if the class has changed since"


class OutgrownError(StoreCorruptError):
    """The item is whole, but its class does not take it: it lacks an attribute, say, that the class has got since."""


class Codec(Generic[T]):
    """Encode and decode the items of one type.

    Args:
        type: a msgspec Struct, dataclass or attrs class.
        enc_hook: turns objects that neither msgspec nor `plain` knows into ones that they know.
        dec_hook: the way back, as in `msgspec.json.Decoder`.
        is_canonical: returns True for an item that can surely be read back from the JSON that msgspec makes of it, unless
            that JSON holds a null; faster than reading back.
    """

    def __init__(
        self,
        type: type[T],
        *,
        enc_hook: Callable[[Any], Any] | None = None,
        dec_hook: Callable[[type, Any], Any] | None = None,
        is_canonical: Callable[[T], bool] | None = None,
    ) -> None:
        self.type = type
        self._is_canonical = is_canonical
        self._dec_hook = dec_hook
        self._hook = _with_fallback(enc_hook) if enc_hook else plain
        self._encode_json_into = msgspec.json.Encoder(enc_hook=self._hook).encode_into
        self._buffers: list[bytearray] = []
        self._decode_json = msgspec.json.Decoder(type, dec_hook=dec_hook).decode

    def _encode_json(self, item: Any) -> bytes:
        """Return the item as JSON, written into a buffer that is used again: growing a new one each time costs more."""
        try:
            buffer = self._buffers.pop()  # no other thread has it now, and no hook that encodes
        except IndexError:
            buffer = bytearray()
        self._encode_json_into(item, buffer)
        body = bytes(buffer)
        if len(body) <= LARGEST_BUFFER:
            self._buffers.append(buffer)
        return body

    def encode(self, item: T, encoding: Encoding = "json") -> bytes:
        """Return the item as bytes from which it can be read back.

        Raises:
            StoreWriteError: it holds something that cannot be stored, or that could not be read back.
        """
        try:
            if self._is_canonical is not None and encoding == "json" and self._is_canonical(item):
                body = self._encode_json(item)
                if not _holds_null(body):  # msgspec writes NaN as null
                    return body
            body = self._encode_tidy(tidy(item), encoding)
        except RecursionError as error:
            raise StoreWriteError(f"{self.type.__name__}: nested too deeply, or holds itself") from error
        except _REFUSALS as error:
            raise StoreWriteError(f"{self.type.__name__}{self._place(item)} cannot be stored: {error}") from error
        try:
            self.decode(body, encoding)
        except StoreCorruptError as error:
            raise StoreWriteError(f"could not be read back: {error.__cause__}") from error
        return body

    def _place(self, value: Any) -> str:
        """Return the way from an item to the part of it that cannot be stored, for a message."""
        if isinstance(value, Mapping):
            parts = [(f"[{key!r:.80}]", part) for key, part in value.items()]
        elif isinstance(value, list | tuple):
            parts = [(f"[{number}]", part) for number, part in enumerate(value)]
        else:
            try:
                parts = [(f".{name}", getattr(value, name, None)) for name in attributes(type(value))]
            except TypeError:
                return ""
        for name, part in parts:
            try:
                self._encode_json(tidy(part))
            except (*_REFUSALS, RecursionError):
                return name + self._place(part)
        return ""

    def _encode_tidy(self, item: Any, encoding: Encoding) -> bytes:
        if encoding == "json":
            return self._encode_json(item)
        builtins = msgspec.to_builtins(item, str_keys=True, enc_hook=self._hook)
        if encoding == "yaml":
            return yaml.dump(
                builtins, Dumper=_dumper(), sort_keys=False, allow_unicode=True, encoding="utf-8", width=100
            )
        if encoding != "msgpack":
            raise StoreConfigError(f"unknown encoding {encoding!r}: use one of {', '.join(ENCODINGS)}")
        try:
            return msgspec.msgpack.encode(builtins)
        except OverflowError:
            return msgspec.msgpack.encode(_with_big_ints(builtins))

    def decode(self, body: bytes, encoding: str = "json") -> T:
        """Return the item that the bytes hold.

        Raises:
            StoreCorruptError: the bytes are damaged, or do not fit the type.
        """
        try:
            try:
                return self._decode_json(body) if encoding == "json" else self._convert(body, encoding)
            except msgspec.ValidationError:
                if b"NaN" not in body and b"Infinity" not in body:
                    raise
                return self._convert(body, encoding, strict=False)
        except (msgspec.MsgspecError, ValueError, RecursionError, yaml.YAMLError) as error:
            problem = f"not a valid {self.type.__name__} in {encoding}: {error}"
            if not isinstance(error, msgspec.ValidationError):
                raise StoreCorruptError(problem) from error
            remedy = "give it a default" if "missing required field" in str(error) else "let it take that too"
            raise OutgrownError(f"{problem}; {ADVICE}, {remedy}") from error

    def _convert(self, body: bytes, encoding: str, *, strict: bool = True) -> T:
        builtins = to_builtins(body, encoding)
        return msgspec.convert(builtins, self.type, str_keys=True, strict=strict, dec_hook=self._dec_hook)


def to_builtins(body: bytes, encoding: str) -> Any:
    """Return what bytes hold, whether it fits a type or not."""
    if encoding == "json":
        return msgspec.json.decode(body)
    if encoding == "msgpack":
        return msgspec.msgpack.decode(body, ext_hook=_big_int)
    if encoding == "yaml":
        if b"*" in body and any(isinstance(event, yaml.AliasEvent) for event in yaml.parse(body, Loader=_loader())):
            raise yaml.YAMLError("an alias, with which a few bytes can stand for very many values")
        return yaml.load(body, Loader=_loader())  # noqa: S506  # the C form of the safe loader
    raise StoreCorruptError(f"body has the unknown encoding {encoding!r}")


def _with_fallback(hook: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def both(value: Any) -> Any:
        try:
            return tidy(hook(value))
        except NotImplementedError:
            return plain(value)

    return both


def _with_big_ints(value: Any) -> Any:
    if isinstance(value, int) and not -(2**63) <= value < 2**64:
        return msgspec.msgpack.Ext(_BIG_INT, str(value).encode())
    if isinstance(value, dict):
        return {key: _with_big_ints(inner) for key, inner in value.items()}
    return list(map(_with_big_ints, value)) if isinstance(value, list) else value


def _big_int(code: int, digits: memoryview) -> int:
    if code != _BIG_INT:
        raise ValueError(f"extension {code} of MessagePack is not known")
    return int(bytes(digits))


def _loader() -> Any:
    return getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def _dumper() -> Any:
    return getattr(yaml, "CSafeDumper", yaml.SafeDumper)
