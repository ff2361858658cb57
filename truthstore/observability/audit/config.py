"""Options of the audit trail."""

from __future__ import annotations

import enum
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from truthstore.errors import StoreConfigError, one_of
from truthstore.observability.audit.redaction import SENSITIVE, DataRedactor
from truthstore.observability.context import check_actor

if TYPE_CHECKING:
    import os

    from truthstore.observability.audit.sinks import AuditBackend

__all__ = ["AuditConfig", "AuditLogLevel"]


class AuditLogLevel(enum.StrEnum):
    """Amounts of auditing: writes; failures too; reads too."""

    MINIMAL = "minimal"
    STANDARD = "standard"
    VERBOSE = "verbose"


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditConfig:
    """Options of the audit trail.

    Attributes:
        enabled: False for none.
        level: the amount of auditing.
        backend: the place for events: a sink, ``store`` (the collection ``store.audit`` of the store below), ``memory``, or
            ``json`` (`file_path`). None means ``json`` if there is a `file_path`, else ``store``.
        file_path: a file of JSON lines.
        actor: the actor outside of `acting_as`; by default the user of the operating system.
        mode: ``batch`` writes events together; ``sync`` writes each before the operation returns, so that none is
            missing after a kill.
        batch_size: a batch has at most so many events.
        flush_interval_seconds: no event waits longer.
        on_error: the policy for a sink that fails: ``spool`` or ``queue`` keeps events in a local queue until it works
            again, ``raise`` fails the operation (which is done by then), ``drop`` gives them up. Each is counted.
        spool_path: the file of the local queue; several stores may share it.
        redact_sensitive: True to replace values of sensitive names and patterns before anything is written.
        sensitive_fields: the names, as `DataRedactor` takes them.
        redactor: a redactor to use instead.
        extra_context: added to the metadata of every event; objects in it become dicts of their fields.

    Raises:
        StoreConfigError: an unknown level, mode, backend or policy.
        ValueError: a number that is not positive; an actor or `extra_context` that UTF-8 cannot encode.
        TypeError: an actor that is not a string; `extra_context` holds something that JSON cannot.
    """

    enabled: bool = True
    level: AuditLogLevel | str = AuditLogLevel.STANDARD
    backend: AuditBackend | str | None = None
    file_path: str | os.PathLike[str] | None = None
    actor: str | None = None
    mode: Literal["batch", "sync"] = "batch"
    batch_size: int = 100
    flush_interval_seconds: float = 1.0
    on_error: Literal["raise", "spool", "queue", "drop"] = "spool"
    spool_path: str = ".truthstore/spool/audit.db"
    redact_sensitive: bool = True
    sensitive_fields: Sequence[str] = SENSITIVE
    redactor: DataRedactor | None = None
    extra_context: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        choices = {
            "level": tuple(AuditLogLevel),
            "mode": ("batch", "sync"),
            "on_error": ("queue", "spool", "raise", "drop"),
            **({"backend": ("store", "memory", "json", "file")} if isinstance(self.backend, str) else {}),
        }
        for name, allowed in choices.items():
            if getattr(self, name) not in allowed:
                raise StoreConfigError(one_of(name, getattr(self, name), allowed))
        object.__setattr__(self, "level", AuditLogLevel(self.level))
        if self.backend in {"json", "file"} and self.file_path is None:
            raise StoreConfigError(f"backend={self.backend!r} needs a file_path")
        if self.batch_size < 1 or self.flush_interval_seconds <= 0:
            raise ValueError("batch_size and flush_interval_seconds must be positive")
        if self.actor is not None:
            check_actor(self.actor)
        try:
            context = DataRedactor((), fields_to_redact=()).redact(dict(self.extra_context))  # opens objects only
            msgspec.json.encode(context)
        except (TypeError, ValueError, OverflowError, RecursionError) as error:
            kind = TypeError if isinstance(error, TypeError) else ValueError
            raise kind(f"extra_context cannot be written as JSON: {error}") from error
        object.__setattr__(self, "extra_context", context)

    def make_redactor(self) -> DataRedactor | None:
        """Return the redactor, or None if nothing is redacted."""
        if not self.redact_sensitive:
            return None
        return self.redactor or DataRedactor(fields_to_redact=self.sensitive_fields)
