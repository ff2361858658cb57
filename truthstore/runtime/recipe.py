"""Objects that another process makes once more, with the arguments that they were made with."""

from __future__ import annotations

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
        if any(getattr(given, "client", None) is not None for given in (*arguments, *options.values())) or options.get(
            "client"
        ):
            raise TypeError(
                f"this {type(self).__name__} stays in its process, for so does the ready client that it was given: "
                "give it what a client is made of"
            )
        return make, (type(self), arguments, options)


def make(kind: Callable[..., Any], arguments: tuple[Any, ...], options: dict[str, Any]) -> Any:
    """Call a class with arguments that were pickled."""
    return kind(*arguments, **options)
