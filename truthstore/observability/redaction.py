"""What must not leave: values of sensitive names, and what looks like a secret anywhere."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import msgspec

from truthstore.errors import StoreConfigError
from truthstore.observability.config import SENSITIVE, AuditConfig

if TYPE_CHECKING:
    from truthstore.observability.events import AuditEvent

__all__ = ["DataRedactor", "redactor_of"]

PATTERNS: Final = (
    r"\b[3-6]\d{3}(?P<gap>[ -]?)\d{4}(?P=gap)\d{4}(?P=gap)\d{4}\b",  # numbers of payment cards
    r"\b3[47]\d{2}[ -]?\d{6}[ -]?\d{5}\b",
    r"\b\d{3}-\d{2}-\d{4}\b",  # social security numbers
    r"(?i:bearer)\s+[\w.~+/=-]{8,}",
    r"\bAKIA[0-9A-Z]{16}\b",  # access keys of AWS
    r"(?<=://)[^\s/@:]+:[^\s/@]+(?=@)",  # user and password in a URL
    r"-----BEGIN [A-Z ]*PRIVATE KEY-----",
)

KNOWN: Final = 64


class DataRedactor:
    """Replaces what is sensitive.

    Args:
        patterns: regular expressions; every match in any string is replaced. By default numbers of payment cards and
            social security, access keys, bearer tokens, passwords in URLs.
        replacement: what is put in the place.
        fields_to_redact: names whose values are replaced whole, wherever they occur, whatever their case, and as part
            of a longer name too.

    Raises:
        StoreConfigError: a pattern is not a regular expression.
    """

    def __init__(
        self,
        patterns: Sequence[str] | None = None,
        replacement: str = "[REDACTED]",
        fields_to_redact: Sequence[str] | None = None,
    ) -> None:
        chosen = PATTERNS if patterns is None else patterns
        names = SENSITIVE if fields_to_redact is None else fields_to_redact
        try:
            # One by one first: only then is it plain which of them is wrong.
            for pattern in chosen:
                re.compile(pattern)
            self._pattern = re.compile("|".join(f"(?:{pattern})" for pattern in chosen)) if chosen else None
        except re.error as error:
            raise StoreConfigError(f"not a regular expression: {error.pattern!r}: {error}") from error
        self._names = re.compile("|".join(re.escape(name) for name in names), re.IGNORECASE) if names else None
        # name=value and "name": "value" in messages
        self._assigned = (
            re.compile(rf"((?:{self._names.pattern})\w*[\"']?\s*[=:]\s*[\"']?)([^\s\"',;&]+)", re.IGNORECASE)
            if self._names
            else None
        )
        self._replacement = replacement
        self._actors: dict[str, str] = {}  # a few names act again and again

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_actors": {}}

    def redact(self, data: Any) -> Any:
        """A copy without what is sensitive."""
        if isinstance(data, str):
            return self.redact_text(data)
        if isinstance(data, Mapping):
            return {
                key: self._replacement if self._is_sensitive(key) else self.redact(value) for key, value in data.items()
            }
        if isinstance(data, list | tuple):
            return type(data)(self.redact(value) for value in data)
        return data

    def redact_text(self, text: str) -> str:
        """A string without what is sensitive."""
        if self._pattern is not None:
            text = self._pattern.sub(self._replacement, text)
        if self._assigned is not None and ("=" in text or ":" in text):
            text = self._assigned.sub(lambda found: found[1] + self._replacement, text)
        return text

    def redact_event(self, event: AuditEvent) -> AuditEvent:
        """An event without what is sensitive."""
        changes: dict[str, Any] = {}
        if event.actor is not None:
            actor = self._actors.get(event.actor)
            if actor is None:
                actor = self._learn(event.actor)
            if actor != event.actor:
                changes["actor"] = actor
        for name in ("item", "correlation_id", "error_message"):
            value = getattr(event, name)
            if value is not None and (told := self.redact_text(value)) != value:
                changes[name] = told
        if event.items:
            changes["items"] = tuple(self.redact_text(item) for item in event.items)
        if event.metadata:
            changes["metadata"] = self.redact(event.metadata)
        return msgspec.structs.replace(event, **changes) if changes else event

    def _learn(self, actor: str) -> str:
        if len(self._actors) >= KNOWN:
            self._actors.clear()
        return self._actors.setdefault(actor, self.redact_text(actor))

    def _is_sensitive(self, name: object) -> bool:
        return self._names is not None and isinstance(name, str) and self._names.search(name) is not None


def redactor_of(config: AuditConfig) -> DataRedactor | None:
    """The redactor that a configuration wants, if any."""
    if not config.redact_sensitive:
        return None
    return config.redactor or DataRedactor(fields_to_redact=config.sensitive_fields)
