"""The same names as the package."""

from truthstore.observability import *  # noqa: F403  # one list of public names
from truthstore.observability import __all__ as __all__  # noqa: PLC0414  # for type checkers
