"""Ids to object names that every disk and bucket can hold, and that no two ids share.

All but ``[a-z0-9._-]`` is percent-encoded as UTF-8, upper case too (some disks are blind to case), as are leading and
trailing dots, a leading underscore (the library's own names start with one) and the device names of Windows. Beyond 180
bytes a name is a prefix, ``~`` and the SHA-256 of the id; the document holds the id itself.
"""

from __future__ import annotations

import re
from typing import Final

from truthstore.errors import StoreConfigError

__all__ = ["object_name", "path_of"]

MAX_NAME: Final = 180
_KEPT_PREFIX: Final = 100
_PLAIN: Final = re.compile(r"[a-z0-9-](?:[a-z0-9._-]*[a-z0-9_-])?")
_UNSAFE: Final = re.compile(rb"[^a-z0-9._-]|^[._]|\.$")
_DEVICES: Final = frozenset(
    ["con", "prn", "aux", "nul", *(f"com{n}" for n in range(10)), *(f"lpt{n}" for n in range(10))]
)


def object_name(id: str) -> str:
    """Return the object name of an id, without extension."""
    if len(id) <= MAX_NAME and _PLAIN.fullmatch(id) and id[:4].partition(".")[0] not in _DEVICES:
        return id
    name = _UNSAFE.sub(lambda found: b"%%%02x" % found[0][0], id.encode()).decode("ascii")
    if name.partition(".")[0] in _DEVICES:
        name = f"%{ord(name[0]):02x}{name[1:]}"
    if len(name) > MAX_NAME:
        import hashlib

        name = f"{name[:_KEPT_PREFIX]}~{hashlib.sha256(id.encode()).hexdigest()}"
    return name


def path_of(namespace: str, prefix: str) -> str:
    """Return the folder of a store: namespace and prefix, each part escaped, joined by ``/``.

    Raises:
        StoreConfigError: the namespace is empty, or a part of the prefix is.
    """
    parts = [namespace, *(prefix.strip("/").split("/") if prefix.strip("/") else [])]
    if not all(parts):
        raise StoreConfigError(f"namespace {namespace!r} and prefix {prefix!r}: no part may be empty")
    return "/".join(object_name(part) for part in parts)
