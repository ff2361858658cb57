"""Work at the end of this process, also in children of multiprocessing, which end by `os._exit` and skip `atexit`.

A child of multiprocessing forgets the finalizers of its parent, tells those that asked for it (`register_after_fork`),
works, and runs its own finalizers. So a finalizer is registered where a child begins, and where work is registered.
"""

from __future__ import annotations

import atexit
import os
import sys
from collections.abc import Callable
from typing import Any, Final

from truthstore.runtime.forks import Callbacks

__all__ = ["at_exit"]

FIRST: Final = 100
"""A higher priority than that of the finalizers of multiprocessing itself."""

_methods: Final = Callbacks("at exit")
_last_methods: Final = Callbacks("at exit")


def _run() -> None:
    _methods.run()
    _last_methods.run()


def at_exit(method: Callable[[], object], *, last: bool = False) -> None:
    """Call a bound method at the end of this process, if its object still lives; the youngest first, `last` after others.

    It may be called more than once, and in a forked child too. What it raises is logged.
    """
    (_last_methods if last else _methods)(method)
    _watch()


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
