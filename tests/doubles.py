"""Stores for tests of several folders."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from truthstore import BaseStore, Collection, Record, WrapperStore

__all__ = ["LateAnswer"]


class LateAnswer(WrapperStore[Any]):
    """Lets other writers come between a write and its answer.

    Args:
        base: the store below.
        meanwhile: called after the next write.
    """

    def __init__(self, base: BaseStore[Any], meanwhile: Callable[[], object]) -> None:
        super().__init__(base)
        self.meanwhile: list[Callable[[], object]] = [meanwhile]

    def put_record(self, record: Record, *, collection: Collection[Any], **options: Any) -> Record:
        stored = super().put_record(record, collection=collection, **options)
        while self.meanwhile:
            self.meanwhile.pop()()
        return stored
