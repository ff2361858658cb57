"""Another process that has a store open all the time, whatever becomes of the processes that write."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.crash.agreement import contents
from tests.crash.processes import Child
from truthstore.backends.filesystem import FileSystemStore
from truthstore.testing.sample import SAMPLES, Sample

if TYPE_CHECKING:
    from types import TracebackType
    from typing import Self


class Witness:
    """A process with an open store that says what the store holds. Forks of this process do not touch it.

    Args:
        folder: over which the store is.
        gone: ids that may or may not be there.
    """

    def __init__(self, folder: Path, gone: Iterable[str] = ()) -> None:
        asked, self._ask = os.pipe()

        def work(say: Callable[[Any], None]) -> None:
            os.close(self._ask)
            store = FileSystemStore(base_path=folder, collection=SAMPLES)
            while (first := os.read(asked, 1)) not in {b"", b"q"}:
                say(contents(store, gone, first=first[0]))

        self._child = Child(work)
        os.close(asked)

    def contents(self, first: int = 0) -> dict[str, Sample]:
        """What its store holds, by every way of asking."""
        os.write(self._ask, bytes([first % 7]))
        found: dict[str, Sample] | None = self._child.hear()
        assert found is not None, "the other process is gone"
        return found

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            os.write(self._ask, b"q")
        except BrokenPipeError:
            assert kind is not None  # it failed, and that was told
        os.close(self._ask)
        self._child.wait()
