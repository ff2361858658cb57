"""The files that tools write: JSON, XML and Parquet, read by what they hold, whatever they are called."""

from __future__ import annotations

import importlib
import json
import os
import warnings
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final
from xml.etree import ElementTree as ET

import msgspec

__all__ = ["ParquetRows", "column_names", "made_by", "opened"]

_BLANKS: Final = b" \t\r\n\xef\xbb\xbf"


class ParquetRows:
    """A Parquet file: the names of its columns, and its rows once they are asked for.

    Reading needs pyarrow or polars.
    """

    def __init__(self, path: str) -> None:
        self.path = path
        try:
            self._engine: Any = importlib.import_module("pyarrow.parquet")
            self.columns = tuple(map(str, self._engine.read_schema(path).names))
        except ImportError:
            try:
                self._engine = importlib.import_module("polars")
            except ImportError as error:
                raise ImportError(f"{path}: reading Parquet needs pyarrow: pip install pyarrow") from error
            with warnings.catch_warnings():  # of columns whose types it does not know
                warnings.simplefilter("ignore")
                self.columns = tuple(self._engine.read_parquet_schema(path))

    def rows(self, columns: Sequence[str] | None = None, **equal: str) -> list[dict[str, Any]]:
        """Return the rows as dicts, of some columns only, where others equal a text. Nanoseconds become integers."""
        wanted = list(columns or self.columns)
        if hasattr(self._engine, "read_schema"):
            filters = [(name, "==", value) for name, value in equal.items()] or None
            return _arrow_rows(self._engine.read_table(self.path, columns=wanted, filters=filters))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            table = self._engine.scan_parquet(self.path)
            for name, value in equal.items():
                table = table.filter(self._engine.col(name).cast(str) == value)
            exact = self._engine.selectors.datetime("ns").to_physical()
            found: list[dict[str, Any]] = table.select(wanted).with_columns(exact).collect().to_dicts()
        return found


def _arrow_rows(table: Any) -> list[dict[str, Any]]:
    pa: Any = importlib.import_module("pyarrow")
    for position, field in enumerate(table.schema):
        if pa.types.is_timestamp(field.type) and field.type.unit == "ns":  # which Python's datetime cannot hold
            table = table.set_column(position, field.name, table.column(position).cast(pa.int64()))
    rows: list[dict[str, Any]] = table.to_pylist()
    return rows


def opened(source: Any, type: Any = Any) -> tuple[Any, datetime | None]:
    """Return what a file holds, and when it was written; anything but a path as it is, and None.

    Args:
        source: a path (a string is one), or what a tool handed out.
        type: what JSON is decoded as, or a dict converted to; unknown keys are left out.

    Raises:
        ValueError: the file is neither JSON, XML nor Parquet, or broken. The error names it.
        OSError: it cannot be read.
    """
    if not isinstance(source, str | os.PathLike):
        return source if type is Any else msgspec.convert(source, type, strict=False, from_attributes=True), None
    path = os.fsdecode(source)
    with open(path, "rb") as file:
        data = file.read()
        written = datetime.fromtimestamp(os.fstat(file.fileno()).st_mtime, UTC)
    if data[:4] == b"PAR1":
        return ParquetRows(path), written
    try:
        if data.lstrip(_BLANKS)[:1] == b"<" or data[:4] in {b"\xff\xfe<\0", b"\xfe\xff\0<"}:
            return ET.fromstring(data), written  # noqa: S314  # expat limits what entities grow to, and fetches none
        return _json(data, type), written
    except msgspec.ValidationError as error:
        raise ValueError(f"{path}: {error}") from error
    except (ValueError, ET.ParseError) as error:
        raise ValueError(f"{path} is neither JSON, XML nor Parquet that can be read: {error}") from error


def _json(data: bytes, type: Any) -> Any:
    try:
        return msgspec.json.decode(data, type=type, strict=False)
    except msgspec.ValidationError:
        raise
    except msgspec.DecodeError:  # some tools write NaN, Infinity, a byte order mark or UTF-16
        found = json.loads(data)
        return found if type is Any else msgspec.convert(found, type, strict=False)


def column_names(thing: Any) -> frozenset[str]:
    """Return the names of the columns of a table, or of the first of a list of rows; of anything else none."""
    if isinstance(thing, list | tuple):
        return frozenset(map(str, thing[0])) if thing and isinstance(thing[0], Mapping) else frozenset()
    if isinstance(thing, Mapping):
        return frozenset()
    if hasattr(thing, "collect_schema"):  # a LazyFrame, which warns of `columns`
        return frozenset(thing.collect_schema().names())
    columns = getattr(thing, "columns", None)
    return frozenset() if columns is None or callable(columns) else frozenset(map(str, columns))


def made_by(thing: Any, *packages: str) -> bool:
    """Return whether a package defines the class of an object, or a class that it extends."""
    return any(kind.__module__.partition(".")[0] in packages for kind in type(thing).__mro__)
