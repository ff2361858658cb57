"""Aliases: the identity that a renamed or moved check has now, by the one that earlier runs recorded."""

from __future__ import annotations

from collections.abc import Mapping

__all__ = ["resolved"]


def resolved(aliases: Mapping[str, str]) -> dict[str, str]:
    """Return for each old identity the one that it has now, over any number of steps.

    Raises:
        ValueError: they lead in a circle.
    """
    found: dict[str, str] = {}
    for old in aliases:
        steps = [old]
        while (new := aliases.get(steps[-1])) is not None:
            if new in steps:
                raise ValueError(f"aliases lead in a circle: {' → '.join([*steps, new])}")
            steps.append(new)
        found[old] = steps[-1]
    return found
