"""Redaction: values of sensitive names, and what looks like a secret anywhere, are replaced before they leave."""

from __future__ import annotations

import dataclasses
import enum
import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final

import msgspec

from truthstore.errors import StoreConfigError, echoed

if TYPE_CHECKING:
    from truthstore.observability.audit.event import AuditEvent

__all__ = ["SENSITIVE", "DataRedactor"]

SENSITIVE: Final = (
    *("password", "passwd", "passphrase", "pwd", "secret", "token", "credential", "api_key", "access_key"),
    *("account_key", "private_key", "authorization", "cookie", "ssn", "credit_card"),
)

# The author of a text must not be able to make its redaction slow. So a repetition here is bounded, or it never gives
# back what it took (`*+`), or what it repeats cannot be where the next attempt begins.
PATTERNS: Final = (
    # First numbers of payment cards and of
    # social security: they begin with a digit, for which a search is much faster than for the edge of a word.
    (
        "",
        (
            r"\d(?<!\w\d)(?:\d{2}-\d{2}-\d{4}"
            r"|(?<=[3-6])\d{3}(?P<gap>[ -]?)\d{4}(?P=gap)\d{4}(?P=gap)\d{4}|(?<=3)[47]\d{2}[ -]?\d{6}[ -]?\d{5})\b"
        ),
    ),
    # User, password or both in a URL; a password may hold an @, or a / ? # that is no longer part of a port.
    ("://", r"(?<=://)(?:[^\s/?#]+(?=@)|[^\s/?#@:]*:(?!\d{1,5}[/?#])[^\s@]{1,256}(?=@))"),
    ("bearer", r"(?i:bearer)\s{1,8}[\w.~+/=-]{8,}"),
    ("akia", r"\bAKIA[0-9A-Z]{16}\b"),  # access keys of AWS
    ("asia", r"\bASIA[0-9A-Z]{16}\b"),  # those that end soon
    ("absk", r"\bABSK[0-9A-Za-z+/]{60,255}={0,2}"),  # keys of Bedrock
    ("x-amz-security-token=", r"(?i)(?<=x-amz-security-token=)[^\s&\"']++"),
    ("signature=", r"(?i)(?<=signature=)[\w%+/=.~-]{20,2048}+"),  # of signed URLs and headers
    ("sig=", r"(?i)(?<=[?&;]sig=)[^\s&;\"']++"),  # of Azure's
    # Tokens of GitHub, GitLab, Slack, Stripe, Google, Databricks, Hugging Face, npm and PyPI.
    ("gh", r"\bgh[pousr]_[0-9A-Za-z]{36,255}"),
    ("github_pat_", r"\bgithub_pat_\w{22,255}"),
    ("gl", r"\bgl(?:pat|ptt|dt|rt|rtr|cbt|imt|soat|agent|oas|ffct|ft|wt)-[\w-]{20,255}(?:\.[\w-]{2,20}){0,2}"),
    ("xox", r"\bxox[a-z]-[0-9A-Za-z%-]{10,255}"),
    ("xapp-", r"\bxapp-[0-9A-Za-z-]{20,255}"),
    *(("hooks.slack.com", rf"(?<=hooks\.slack\.com/{hook}/)[\w/]++") for hook in ("services", "workflows", "triggers")),
    ("k_", r"\b[prs]k_(?:org_)?(?:live|test)_[0-9A-Za-z]{10,255}"),
    ("whsec_", r"\bwhsec_[0-9A-Za-z+/=]{20,255}"),
    ("aiza", r"\bAIza[\w-]{35}"),
    ("aq.", r"\bAQ\.[\w-]{40,255}"),
    ("ya29.", r"\bya29\.(?:[a-z]\.)?[\w-]{20,2048}"),
    ("1//0", r"\b1//0[\w-]{40,512}"),
    ("gocspx-", r"\bGOCSPX-[\w-]{20,255}"),
    ("dapi", r"\bdapi[0-9a-f]{32}(?:-\d)?"),
    ("dose", r"\bdose[0-9a-f]{32}"),
    ("hf_", r"\bhf_[0-9A-Za-z]{30,255}"),
    ("api_org_", r"\bapi_org_[0-9A-Za-z]{30,255}"),
    ("npm_", r"\bnpm_[0-9A-Za-z]{36}"),
    ("pypi-", r"\bpypi-[\w-]{50,1024}"),
    # Of OpenAI and the many that write theirs alike: names of people's own hold no digit and capital both.
    ("sk-", r"\bsk-(?:(?:[a-z]\w{0,9}-){0,2}[0-9a-f]{32,64}\b|(?=[\w-]{0,200}\d)(?=[\w-]{0,200}[A-Z])[\w-]{20,255})"),
    ("gsk_", r"\bgsk_[0-9A-Za-z]{40,255}"),
    ("xai-", r"\bxai-[0-9A-Za-z]{40,255}"),
    ("pplx-", r"\bpplx-[0-9A-Za-z]{40,255}"),
    ("eyj", r"\beyJ[\w-]{8,512}+(?:\.[\w-]{0,8192}+){2,4}"),  # JSON web tokens, encrypted ones too
    ("cookie:", r"(?i)(?<=cookie:)[^\r\n\"']++"),  # all pairs of the header
    # A private key, or what there is of one.
    (
        "private key",
        r"(?s)-----BEGIN [A-Z0-9 ]{0,40}PRIVATE KEY(?: BLOCK)?-----.*?(?:-----END [^-\n]{0,60}-----|\Z)",
    ),
)
"""Each with the lower-case word without which it need not be searched for."""

# Between a sensitive name and its value: password= "password": params[password]= password =>
BEHIND: Final = r"[\w-]{0,64}\\{0,8}[\"']?\]?\s{0,8}(?:[=-]>|[:=]{1,2})\s{0,8}"
VALUES: Final = (
    # In quotes: up to the quote that closes it, or to the end.
    r"(?P<double>[bru]{0,2}\")[^\"\\]*+(?:\\.?[^\"\\]*+)*+",
    r"(?P<single>[bru]{0,2}')[^'\\]*+(?:\\.?[^'\\]*+)*+",
    # JSON in JSON: the closing quote has as many backslashes as the opening one.
    r"(?P<escaped>(?P<slashes>\\{1,8})(?P<quote>[\"']))[^\\\"]*+(?:(?!(?P=slashes)(?P=quote))\\++[\"']?[^\\\"]*+)*+",
    # A list or the like, or one word, in which there may be quotes; before a credential, its scheme.
    (
        r"(?:(?:basic|bearer|digest|negotiate|ntlm|token|apikey)\s{1,8})?"
        r"(?:\[[^\]]*+\]?|\{[^}]*+\}?|[^\s\"',;&])(?:[^\s\"',;&]|[\"'](?=\w))*+"
    ),
)
SEPARATORS: Final = re.compile(r"[-_. ]+")


class DataRedactor:
    """Replaces sensitive values.

    Objects are taken apart: a dataclass, a named tuple, a class of msgspec or attrs becomes a dict of its fields.

    Args:
        patterns: regular expressions, applied one after the other; every match in any string is replaced. By default
            numbers of payment cards and social security, access keys, private keys, bearer tokens and other
            credentials of headers, users and passwords in URLs.
        replacement: the text in its place, taken literally.
        fields_to_redact: names whose values are replaced whole, wherever they occur: in dicts, in objects, and in texts
            as ``name=value`` or ``"name": "value"``. Case makes no difference, nor do ``-`` and ``_``, and a name may be
            part of a longer one.

    Raises:
        StoreConfigError: a pattern is not a regular expression.
        TypeError: patterns or names are one string.
    """

    def __init__(
        self,
        patterns: Sequence[str] | None = None,
        replacement: str = "[REDACTED]",
        fields_to_redact: Sequence[str] | None = None,
    ) -> None:
        for option, several in (("patterns", patterns), ("fields_to_redact", fields_to_redact)):
            if isinstance(several, str):
                raise TypeError(f"{option} holds several strings, not {echoed(several)}")
        self._replacement = replacement
        self._template = replacement.replace("\\", r"\\")
        names = SENSITIVE if fields_to_redact is None else fields_to_redact
        given = PATTERNS if patterns is None else [("", pattern) for pattern in patterns]
        try:
            # Each by itself: groups are numbered, and flags stand, at the beginning of each.
            self._patterns = [(needs, re.compile(pattern)) for needs, pattern in given]
        except re.error as error:
            raise StoreConfigError(f"not a regular expression: {error.pattern!r}: {error}") from error
        self._names: re.Pattern[str] | None = None
        if names:
            either = "|".join("[-_. ]?".join(map(re.escape, SEPARATORS.split(name))) for name in names)
            self._names = re.compile(either, re.IGNORECASE)
            self._assigned = re.compile(
                f"(?P<name>(?:{either}){BEHIND})(?:{'|'.join(VALUES)})", re.IGNORECASE | re.DOTALL
            )
            # A search that minds case is several times as fast, and in most texts there is no such name.
            self._hints = re.compile(either.casefold())

    def redact(self, data: Any) -> Any:
        """Return a copy without sensitive values."""
        data = opened(data)
        if isinstance(data, str):
            return self.redact_text(data)
        if isinstance(data, Mapping):
            return self._redact_pairs(data)
        if type(data) in {list, tuple}:
            return type(data)(map(self.redact, data))
        if isinstance(data, bytes | bytearray | memoryview | msgspec.Raw):
            text = bytes(data).decode(errors="replace")
            return data if (redacted := self.redact_text(text)) == text else redacted
        return data

    def _redact_pairs(self, data: Mapping[Any, Any]) -> dict[Any, Any]:
        found: dict[Any, Any] = {}
        for key, value in data.items():
            name, is_sensitive = opened(key), False
            if isinstance(name, str):
                is_sensitive = self._names is not None and self._names.search(name) is not None
                name = self.redact_text(name)
            while name in found:
                name = f"{name}_"  # two names that are alike once they are redacted
            found[name] = self._replacement if is_sensitive else self.redact(value)
        return found

    def redact_text(self, text: str) -> str:
        """Return a string without sensitive values."""
        folded = text.casefold()
        for needs, expression in self._patterns:
            if needs in folded:
                text = expression.sub(self._template, text)
        if self._names is not None and ("=" in text or ":" in text) and self._hints.search(folded):
            text = self._assigned.sub(self._hidden, text)
        return text

    def _hidden(self, found: re.Match[str]) -> str:
        """Replace the value behind a name."""
        kept = found["name"] + (found["double"] or found["single"] or found["escaped"] or "")
        # A value that a pattern replaced already is not replaced by half.
        is_replaced = found.string.startswith(self._replacement, found.start() + len(kept))
        return found[0] if is_replaced else kept + self._replacement

    def redact_event(self, event: AuditEvent) -> AuditEvent:
        """Return an event without sensitive values."""
        changes: dict[str, Any] = {}
        for name in ("actor", "correlation_id", "item", "error_message"):
            value = getattr(event, name)
            if value is not None:
                changes[name] = self.redact_text(value)
        if event.items:
            changes["items"] = tuple(map(self.redact_text, event.items))
        if event.metadata:
            changes["metadata"] = self.redact(event.metadata)
        return msgspec.structs.replace(event, **changes)


def opened(value: Any) -> Any:
    """Return the contents of an object under their names, one level deep; anything else as it is.

    Dataclasses, named tuples, classes of msgspec and attrs become dicts, enumerations their values, sets lists.
    """
    if isinstance(value, enum.Enum):
        return opened(value.value)
    if isinstance(value, set | frozenset):
        return list(value)
    if value is None or isinstance(value, type | str | int | float | list | Mapping):
        return value
    if dataclasses.is_dataclass(value):
        names = [field.name for field in dataclasses.fields(value)]
    elif attributes := getattr(value, "__attrs_attrs__", None):
        names = [attribute.name for attribute in attributes]
    else:
        names = getattr(value, "__struct_fields__", None) or getattr(value, "_fields", None) or []
    # An attribute that was never set is left out, as msgspec does.
    contents = {name: getattr(value, name, msgspec.UNSET) for name in names}
    return {name: one for name, one in contents.items() if one is not msgspec.UNSET} if names else value
