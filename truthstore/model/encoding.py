"""Items to bytes and back: JSON, MessagePack and YAML through msgspec.

Values that JSON lacks become strings: NaN and ±Infinity become ``"NaN"``, ``"Infinity"``, ``"-Infinity"`` and come back
as floats where the type says float. Objects that msgspec does not know are turned into the nearest JSON value by
`plain`, which knows NumPy and pandas by what their objects can do and imports neither.
"""

from __future__ import annotations

import enum
import math
import os
import re
from collections.abc import Mapping, Set as AbstractSet
from datetime import date, datetime
from typing import TYPE_CHECKING, Any, Final, Generic, Literal, TypeAlias, TypeVar

import msgspec
import yaml

from truthstore.errors import StoreConfigError, StoreCorruptError, StoreWriteError

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["ENCODINGS", "Codec", "Encoding", "plain", "pretty"]

T = TypeVar("T")

Encoding: TypeAlias = Literal["json", "msgpack", "yaml"]
ENCODINGS: Final[tuple[Encoding, ...]] = ("json", "msgpack", "yaml")

LARGEST_BUFFER: Final = 1 << 20
# In MessagePack a float64 is 0xcb and eight big-endian bytes; exponent bits all set means NaN or infinity (IEEE 754).
_NON_FINITE: Final = re.compile(rb"\xcb[\x7f\xff][\xf0-\xff]")
_NON_FINITE_NAMES: Final = re.compile(rb'"-?(?:NaN|Infinity)"')
# A null that is a value. Written so that the search is for the plain word, several times faster than for a choice.
_holds_null: Final = re.compile(rb"null(?<=[:,\[]null)").search
_REFUSALS: Final = (
    msgspec.MsgspecError,
    NotImplementedError,
    OverflowError,
    RecursionError,
    TypeError,
    ValueError,
)


def plain(value: Any) -> Any:
    """Return the nearest value that JSON can hold, for an object that msgspec does not know.

    NumPy scalars become numbers, arrays lists, pandas timestamps ISO strings, NA and NaT None.

    Raises:
        NotImplementedError: there is no nearest value (msgspec's own convention for hooks).
    """
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, datetime | date):
        text = value.isoformat()
        return None if text == "NaT" else text
    if isinstance(value, str):
        return str(value)
    if isinstance(value, float):
        return finite(float(value))
    if type(value).__name__ in {"NAType", "NaTType"}:
        return None
    if hasattr(value, "tolist") and hasattr(value, "dtype"):
        inner = value.tolist()
        return finite(inner) if isinstance(inner, float) else inner
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, AbstractSet):
        return list(value)
    if hasattr(value, "isoformat"):
        return value.isoformat()
    raise NotImplementedError(f"{type(value).__module__}.{type(value).__qualname__} cannot be stored")


def finite(value: float) -> float | str:
    if math.isfinite(value):
        return value
    return "NaN" if math.isnan(value) else ("Infinity" if value > 0 else "-Infinity")


def _without_non_finite(value: Any) -> Any:
    if isinstance(value, float):
        return finite(value)
    if isinstance(value, dict):
        return {key: _without_non_finite(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_without_non_finite(inner) for inner in value]
    return value


def pretty(body: bytes) -> bytes:
    """Return JSON with an indent of two spaces.

    Raises:
        StoreWriteError: it is not valid, which only a `msgspec.Raw` in it can cause.
    """
    try:
        return msgspec.json.format(body, indent=2)
    except msgspec.DecodeError as error:
        raise StoreWriteError(f"holds raw JSON that is not valid: {error}") from error


class Codec(Generic[T]):
    """Encode and decode the items of one type.

    Args:
        type: a msgspec Struct, dataclass or attrs class.
        enc_hook: turns objects that neither msgspec nor `plain` knows into ones that they know.
        dec_hook: the way back, as in `msgspec.json.Decoder`.
        is_canonical: returns True for an item that can surely be read back from the JSON that msgspec makes of it, unless
            that JSON holds a null; faster than reading back.
    """

    __slots__ = (
        "_buffers",
        "_is_canonical",
        "_decode_json",
        "_decode_msgpack",
        "_dec_hook",
        "_decode_lax",
        "_encode_json_into",
        "_encode_msgpack",
        "_hook",
        "type",
    )

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
        self._encode_msgpack = msgspec.msgpack.Encoder(enc_hook=self._hook).encode
        self._decode_json = msgspec.json.Decoder(type, dec_hook=dec_hook).decode
        self._decode_lax = msgspec.json.Decoder(type, dec_hook=dec_hook, strict=False).decode
        self._decode_msgpack = msgspec.msgpack.Decoder(type, dec_hook=dec_hook).decode

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
        """Return the item as bytes.

        Raises:
            StoreWriteError: it holds something that cannot be stored.
        """
        try:
            if encoding == "json":
                return self._encode_json(item)
            if encoding == "msgpack":
                # MessagePack's own timestamps forget the zone: as builtins, times are strings.
                try:
                    builtins = msgspec.to_builtins(
                        item, builtin_types=(bytes, bytearray), str_keys=True, enc_hook=self._hook
                    )
                except TypeError:
                    # Bytes that are a key become Base64, and with them all others, as in JSON.
                    builtins = msgspec.to_builtins(item, str_keys=True, enc_hook=self._hook)
                return self._encode_msgpack(builtins)
            if encoding == "yaml":
                builtins = msgspec.to_builtins(item, str_keys=True, enc_hook=self._hook)
                return yaml.dump(
                    builtins, Dumper=_dumper(), sort_keys=False, allow_unicode=True, encoding="utf-8", width=100
                )
        except RecursionError as error:
            raise StoreWriteError(f"{self.type.__name__}: nested too deeply, or holds itself") from error
        except (NotImplementedError, OverflowError, ValueError, yaml.YAMLError, TypeError) as error:
            raise StoreWriteError(f"{self.type.__name__} cannot be stored: {error}") from error
        raise StoreConfigError(f"unknown encoding {encoding!r}: use one of {', '.join(ENCODINGS)}")

    def encode_checked(self, item: T, encoding: Encoding = "json") -> bytes:
        """Return the item as bytes from which it can be read back.

        Raises:
            StoreWriteError: it holds something that cannot be stored, or that could not be read back.
        """
        if encoding == "json":
            try:
                body = self._encode_json(item)
                if self._is_canonical is not None and self._is_canonical(item) and not _holds_null(body):
                    return body
                decoded = self._decode_json(body)
                # msgspec writes NaN as null; other nulls are read back as None.
                if not _holds_null(body) or decoded == item:
                    return body
            except _REFUSALS:
                body = self.encode(item, encoding)  # says what is wrong, or there is another way
        else:
            body = self.encode(item, encoding)
        if encoding == "json" and self._may_hold_nan(item):
            try:
                builtins = msgspec.to_builtins(item, str_keys=True, enc_hook=self._hook)
                body = self._encode_json(_without_non_finite(builtins))
            except _REFUSALS as error:
                raise StoreWriteError(f"{self.type.__name__} cannot be stored: {error}") from error
        try:
            self.decode(body, encoding)
        except StoreCorruptError as error:
            raise StoreWriteError(f"could not be read back: {error.__cause__}") from error
        return body

    def _may_hold_nan(self, item: T) -> bool:
        """Look for a NaN in the item's MessagePack, at a price that few items have to pay."""
        try:
            return _NON_FINITE.search(self._encode_msgpack(item)) is not None
        except _REFUSALS:
            return True  # an integer that MessagePack cannot hold, for one

    def decode(self, body: bytes, encoding: str = "json") -> T:
        """Return the item that the bytes hold.

        Raises:
            StoreCorruptError: the bytes are damaged, or do not fit the type.
        """
        try:
            if encoding == "json":
                try:
                    return self._decode_json(body)
                except msgspec.ValidationError:
                    if not _NON_FINITE_NAMES.search(body):
                        raise
                    return self._decode_lax(body)
            if encoding == "msgpack":
                try:
                    return self._decode_msgpack(body)
                except msgspec.ValidationError:
                    # Keys are strings, as in JSON, also where other keys are declared.
                    builtins = msgspec.msgpack.decode(body)
                    return msgspec.convert(builtins, self.type, str_keys=True, dec_hook=self._dec_hook)
            if encoding == "yaml":
                builtins = yaml.load(body, Loader=_loader())  # noqa: S506  # the C form of the safe loader
                return msgspec.convert(builtins, self.type, str_keys=True, dec_hook=self._dec_hook)
        except (msgspec.MsgspecError, ValueError, RecursionError, yaml.YAMLError) as error:
            raise StoreCorruptError(f"not a valid {self.type.__name__} in {encoding}: {error}") from error
        raise StoreCorruptError(f"body has the unknown encoding {encoding!r}")


def _with_fallback(hook: Callable[[Any], Any]) -> Callable[[Any], Any]:
    def both(value: Any) -> Any:
        try:
            return hook(value)
        except NotImplementedError:
            return plain(value)

    return both


def _loader() -> Any:
    return getattr(yaml, "CSafeLoader", yaml.SafeLoader)


def _dumper() -> Any:
    return getattr(yaml, "CSafeDumper", yaml.SafeDumper)
