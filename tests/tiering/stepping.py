"""Operations of several processes, one call of a tier at a time, in an order that a test chooses; or cut short."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

from truthstore import BaseStore, WrapperStore

CALLS = ("put_record", "put_records", "get_record", "get_records", "head_record", "delete_record", "scan")


class KilledError(BaseException):
    """The process was killed."""


class Operation:
    """An operation that waits before each of its calls of a tier."""

    def __init__(self, work: Callable[[Operation], Any]) -> None:
        self._go, self._stopped = threading.Semaphore(0), threading.Semaphore(0)
        self._killed = False
        self.ended = False
        self.result: Any = None
        self._thread = threading.Thread(target=self._run, args=(work,), daemon=True)
        self._thread.start()
        self._stopped.acquire()

    def _run(self, work: Callable[[Operation], Any]) -> None:
        try:
            self.wait()
            self.result = work(self)
        except BaseException as error:
            self.result = error
        self.ended = True
        self._stopped.release()

    def wait(self) -> None:
        """In the operation: let the others."""
        self._stopped.release()
        self._go.acquire()
        if self._killed:
            raise KilledError

    def step(self, number: int = 1) -> bool:
        """Make some calls; return False if it ended before."""
        for _ in range(number):
            if self.ended:
                return False
            self._go.release()
            self._stopped.acquire()
        return not self.ended

    def finish(self) -> Any:
        """Make the rest of the calls."""
        for _ in range(1_000):
            if not self.step():
                return self.result
        raise AssertionError("it does not end")

    def kill(self) -> None:
        """Make no call any more."""
        self._killed = True
        while not self.ended:
            self._go.release()
            self._stopped.acquire()


class Stepped(WrapperStore[Any]):
    """A tier each of whose calls is one step of an operation."""

    def __init__(self, base: BaseStore[Any], operation: Operation) -> None:
        super().__init__(base)
        self._operation = operation


def _stepped(name: str) -> Callable[..., Any]:
    def call(self: Any, /, *arguments: Any, **options: Any) -> Any:
        self._operation.wait()
        answer = getattr(self._base, name)(*arguments, **options)
        return iter(list(answer)) if isinstance(answer, Iterator) else answer

    return call


for _name in CALLS:
    setattr(Stepped, _name, _stepped(_name))
