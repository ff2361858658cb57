"""Objects that another process makes once more, with the arguments that they were made with."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any, Self

__all__ = ["Recipe", "make"]


class Recipe:
    """Pickle as class and arguments, and none of the connections, locks and threads that came of them."""

    _made_with: tuple[tuple[Any, ...], dict[str, Any]]

    def __new__(cls, *arguments: Any, **options: Any) -> Self:
        """Note what the object is made with."""
        made = super().__new__(cls)
        made._made_with = (arguments, options)
        return made

    def __reduce__(self) -> tuple[Any, ...]:
        arguments, options = self._made_with
        bound = _bound({"arguments": arguments, **options})
        if bound is not None:
            raise TypeError(
                f"this {type(self).__name__} stays in its process, for so does the ready {bound} that it was given: "
                "give it what that is made of"
            )
        return make, (type(self), arguments, options)


def _bound(given: Any) -> str | None:
    """Return what keeps something in its process; None of what says so itself, or is unknown to `pickle` alone."""
    if isinstance(given, Recipe):
        return None
    if dataclasses.is_dataclass(given) and not isinstance(given, type):
        given = {field.name: getattr(given, field.name) for field in dataclasses.fields(given)}
    if isinstance(given, dict):
        if given.get("client") is not None:
            return "client"
        given = tuple(given.values())
    if isinstance(given, list | tuple):
        return next((found for part in given if (found := _bound(part)) is not None), None)
    import pickle  # of no use to most processes

    try:
        pickle.dumps(given)
    except TypeError:
        return type(given).__name__
    except (AttributeError, pickle.PicklingError):
        pass  # cloudpickle knows functions and classes of a script or a notebook
    return None


def make(kind: Callable[..., Any], arguments: tuple[Any, ...], options: dict[str, Any]) -> Any:
    """Call a class with arguments that were pickled."""
    return kind(*arguments, **options)
