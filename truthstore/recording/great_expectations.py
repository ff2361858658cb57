"""An action that stores the results of a checkpoint of Great Expectations: the one module that imports a tool to extend it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from great_expectations.checkpoint.actions import ValidationAction

from truthstore.factory import open_store
from truthstore.interop import from_great_expectations_checkpoint
from truthstore.recording.run import keep, surviving

if TYPE_CHECKING:
    from great_expectations.checkpoint.actions import ActionContext
    from great_expectations.checkpoint.checkpoint import CheckpointResult

__all__ = ["StoreResultsAction"]


class StoreResultsAction(ValidationAction):  # type: ignore[misc]  # untyped
    """Store each validation of a checkpoint.

    Attributes:
        name: of the action.
        store: where: a URL or the path of a YAML file, see `truthstore.open_store`. It is kept with the checkpoint, so
            secrets belong into the environment, to which the file refers.
        tags: for queries.
        on_error: see `truthstore.recording.record`.
    """

    type: Literal["truthstore"] = "truthstore"  # pyright: ignore[reportIncompatibleVariableOverride]  # as its own do
    store: str
    tags: dict[str, str] = {}  # noqa: RUF012  # pydantic copies it
    on_error: Literal["queue", "raise"] = "queue"

    def run(self, checkpoint_result: CheckpointResult, action_context: ActionContext | None = None) -> dict[str, Any]:
        """Store the results, and return their ids."""
        ids: list[str] = []
        with surviving(self.on_error, f"recording by the action {self.name}"), open_store(self.store) as store:
            results = from_great_expectations_checkpoint(checkpoint_result, tags=self.tags)
            keep(store, *results, on_error=self.on_error)
            ids = [result.run_id for result in results]
        return {"run_ids": ids}
