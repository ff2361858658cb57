"""Work at the end of this process, also in children of multiprocessing, which end by `os._exit` and skip `atexit`.

A child of multiprocessing forgets the finalizers of its parent, tells those that asked for it (`register_after_fork`),
works, and runs its own finalizers. So a finalizer is registered where a child begins, and where work is registered.
"""

from __future__ import annotations

import atexit
import itertools
import logging
import os
import sys
import weakref
from collections.abc import Callable
from typing import Any, Final

__all__ = ["at_exit"]

log: Final = logging.getLogger("truthstore.runtime")
FIRST: Final = 100
"""A higher priority than that of the finalizers of multiprocessing itself."""

_methods: Final[dict[int, tuple[weakref.ref[object], Callable[[Any], object]]]] = {}
_numbers: Final = itertools.count()


def at_exit(method: Callable[[], object]) -> None:
    """Call a bound method at the end of this process, if its object still lives; the youngest first.

    It may be called more than once, and in a forked child too. What it raises is logged.
    """
    number = next(_numbers)

    # Bound here, for the interpreter may have taken the module apart. For that reason there is no `WeakMethod` either.
    def forget(_: object, pop: Callable[..., object] = _methods.pop) -> None:
        pop(number, None)

    bound: Any = method
    _methods[number] = (weakref.ref(bound.__self__, forget), bound.__func__)
    _watch()


def _run() -> None:
    for number in sorted(list(_methods), reverse=True):  # noqa: C414  # a copy: other threads may add to it
        reference, function = _methods.get(number, (None, None))
        owner = None if reference is None else reference()
        if owner is None or function is None:
            continue
        try:
            function(owner)
        except Exception as error:  # noqa: BLE001  # the others have their turn
            log.warning("%s failed at exit: %s", function.__qualname__, error)


class _Watch:
    """The registration with multiprocessing, once for each process."""

    pid = 0

    def __call__(self) -> None:
        if "multiprocessing.util" not in sys.modules or self.pid == os.getpid():
            return
        from multiprocessing.util import register_after_fork

        self.pid = os.getpid()
        register_after_fork(self, _Watch.finalize)
        self.finalize()

    def finalize(self) -> None:
        from multiprocessing.util import Finalize

        finalizer: Any = Finalize(None, _run, exitpriority=FIRST)
        del finalizer  # multiprocessing keeps it


_watch: Final = _Watch()
atexit.register(_run)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_watch)
