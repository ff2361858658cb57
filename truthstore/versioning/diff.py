"""Compare two documents. Lists of checks are matched by validator and column, not by position."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, TypeGuard

import msgspec

from truthstore.versioning.base import DiffType, VersionChange

__all__ = ["changed_parts", "differences"]

IDENTITIES: Final = (("validator_name", "column"), ("expectation_type", "column"), ("id",), ("name",))
"""Identity of an entry of a list: the first of these whose first name all entries have."""

_PLAIN_KEY: Final = re.compile(r"\w[\w-]*")


def differences(old: Any, new: Any) -> list[VersionChange]:
    """Return the differences between two documents of builtins, in the order of the old one, then of the new one."""
    return list(_compare(old, new, ""))


def changed_parts(old: bytes, new: bytes) -> list[str]:
    """Return the names of members in which two JSON objects differ; none if either is no JSON object."""
    changed: list[str] = []
    try:
        one, other = _members(old), _members(new)
        for name in dict.fromkeys([*one, *other]):
            before, after = one.get(name), other.get(name)
            # Members that are written in different ways may mean the same.
            if before != after and (before is None or after is None or not _same(_value(before), _value(after))):
                changed.append(name)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return []
    return changed


_members: Final = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_value: Final = msgspec.json.Decoder().decode


def _compare(old: Any, new: Any, path: str) -> Iterator[VersionChange]:
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        for key in dict.fromkeys([*old, *new]):
            yield from _member(old, new, key, _below(path, str(key)))
    elif _is_list(old) and _is_list(new):
        names = _identity([*old, *new])
        one = _keyed(old, names)
        other = _keyed(new, names)
        for key in dict.fromkeys([*one, *other]):
            yield from _member(one, other, key, f"{path}[{key}]")
    elif not _same(old, new):
        yield VersionChange(path, DiffType.MODIFIED, old, new)


def _member(old: Mapping[Any, Any], new: Mapping[Any, Any], key: Any, path: str) -> Iterator[VersionChange]:
    if key not in old:
        yield VersionChange(path, DiffType.ADDED, None, new[key])
    elif key not in new:
        yield VersionChange(path, DiffType.REMOVED, old[key], None)
    else:
        yield from _compare(old[key], new[key], path)


def _below(path: str, key: str) -> str:
    if not _PLAIN_KEY.fullmatch(key):
        return f"{path}[{key!r}]"
    return f"{path}.{key}" if path else key


def _is_list(value: Any) -> TypeGuard[Sequence[Any]]:
    return isinstance(value, list | tuple)


def _identity(entries: Sequence[Any]) -> tuple[str, ...] | None:
    """Choose the identity of entries, or None for their position."""
    for names in IDENTITIES:
        if entries and all(isinstance(entry, Mapping) and entry.get(names[0]) is not None for entry in entries):
            return names
    return None


def _keyed(entries: Sequence[Any], names: tuple[str, ...] | None) -> dict[str, Any]:
    """Map identities to entries; of several alike the second is number 2."""
    if names is None:
        return {str(position): entry for position, entry in enumerate(entries)}
    keyed: dict[str, Any] = {}
    for entry in entries:
        key = first = ", ".join(str(entry[name]) for name in names if entry.get(name) is not None)
        number = 1
        while key in keyed:
            number += 1
            key = f"{first}, {number}"
        keyed[key] = entry
    return keyed


def _same(old: Any, new: Any) -> bool:
    if isinstance(old, bool) is not isinstance(new, bool):
        return False  # True equals 1, and means something else
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        return old.keys() == new.keys() and all(_same(value, new[key]) for key, value in old.items())
    if _is_list(old) and _is_list(new):
        return len(old) == len(new) and all(_same(one, other) for one, other in zip(old, new, strict=True))
    return bool(old == new) or (old != old and new != new)  # noqa: PLR0124  # NaN
