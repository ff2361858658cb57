"""Redaction: sensitive values in texts and in objects, also in texts that an attacker wrote."""

from __future__ import annotations

import copy
import enum
import json
import pickle
import time
from collections import OrderedDict, UserDict
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import attrs
import msgspec
import pytest

from truthstore import StoreConfigError
from truthstore.backends.memory import MemoryStore
from truthstore.observability import AuditConfig, ObservabilityConfig, ObservableStore
from truthstore.observability.audit import AuditEvent, AuditEventType, DataRedactor
from truthstore.testing import SAMPLES, Sample

HIDDEN = "[REDACTED]"

TEXTS = {
    # URLs
    "redis://:hunter2@cache:6379/0 refused": "redis://[REDACTED]@cache:6379/0 refused",
    "https://ghp_16C7e42F292c6912E7710c838347Ae178B4a@github.com/x": "https://[REDACTED]@github.com/x",
    "postgresql://me:hunter2@host/db": "postgresql://[REDACTED]@host/db",
    "postgresql://u:p@ss@h/db": "postgresql://[REDACTED]@h/db",
    "postgresql://u:p/ss@h/db": "postgresql://[REDACTED]@h/db",
    "postgresql://u:p?ss#@h/db": "postgresql://[REDACTED]@h/db",
    "git+https://u:p@host/org/project@v1.0": "git+https://[REDACTED]@host/org/project@v1.0",
    "a://x:1@h b://y:2@i,c://z:3@j": "a://[REDACTED]@h b://[REDACTED]@i,c://[REDACTED]@j",
    # names and values
    '{"password": "correct horse battery"}': '{"password": "[REDACTED]"}',
    "password='a,b;c'": "password='[REDACTED]'",
    '{"password": "a\\"b c", "user": "me"}': '{"password": "[REDACTED]", "user": "me"}',
    "password='it\\'s mine' user=me": "password='[REDACTED]' user=me",
    'password="never closed, a b c': 'password="[REDACTED]',
    "password=it's,user=me": "password=[REDACTED],user=me",
    "{'password': b'hunter2'}": "{'password': b'[REDACTED]'}",
    '"{\\"password\\": \\"a b\\", \\"user\\": \\"me\\"}"': '"{\\"password\\": \\"[REDACTED]\\", \\"user\\": \\"me\\"}"',
    '\\"token\\": \\"a \\\\\\"b\\\\\\" c\\" x': '\\"token\\": \\"[REDACTED]\\" x',
    '{"tokens": ["a b", "c"], "n": 1}': '{"tokens": [REDACTED], "n": 1}',
    "X-Api-Key: abcdef": "X-Api-Key: [REDACTED]",
    "secret-key=abc": "secret-key=[REDACTED]",
    "SecretKey=abc client_secret_v2=def": "SecretKey=[REDACTED] client_secret_v2=[REDACTED]",
    "os.environ['API_KEY'] = 'a b'": "os.environ['API_KEY'] = '[REDACTED]'",
    "params[password]=x&user=me": "params[password]=[REDACTED]&user=me",
    ":password => 'a b'": ":password => '[REDACTED]'",
    "password=hunter2 failed": "password=[REDACTED] failed",
    "AccountName=me;AccountKey=abc==;EndpointSuffix=core": "AccountName=me;AccountKey=[REDACTED];EndpointSuffix=core",
    "PWD=hunter2;UID=sa": "PWD=[REDACTED];UID=sa",
    'password=""': 'password="[REDACTED]"',
    # headers
    "Authorization: Bearer abcdefgh.ijkl": "Authorization: [REDACTED]",
    "Authorization: Basic dXNlcjpwYXNz": "Authorization: [REDACTED]",
    "Authorization: ghp_abcdef123456": "Authorization: [REDACTED]",
    "{'authorization': 'token abcdef'}": "{'authorization': '[REDACTED]'}",
    "token: Bearer abcdefghijk": "token: [REDACTED]",
    # keys and numbers
    "-----BEGIN RSA PRIVATE KEY-----\nMIIEpAIB": HIDDEN,
    "a -----BEGIN RSA PRIVATE KEY-----\nMIIEpAIB\n-----END RSA PRIVATE KEY----- b": "a [REDACTED] b",
    "-----BEGIN PGP PRIVATE KEY BLOCK-----\\nxyz": HIDDEN,
    "AKIAABCDEFGHIJKLMNOP ASIAABCDEFGHIJKLMNOP": "[REDACTED] [REDACTED]",
    "4111 1111 1111 1111, 4111-1111-1111-1111, 371449635398431": "[REDACTED], [REDACTED], [REDACTED]",
    "ssn 123-45-6789.": "ssn [REDACTED].",
}

ORDINARY = (
    "run_20240501_120000_f9c713b1",
    "20261120201545",
    "customers-2026-05-04",
    "6f1c7d2e-3f0b-4d3e-9a51-8f0c2b7d9e11",
    "2026-05-04T06:30:00+00:00: 17 of 4,000 rows",
    "https://host:8080/users/me@example.com",
    "https://host/path?mail=me@example.com",
    "s3://bucket/customers: no such key",
    "basic authorization failed: 401",
    "a bearer of news",
    "-----BEGIN CERTIFICATE-----\nMIIE",
    "password = ",
    "task-20260504-nightly-orders-check, risk-model_v2, sk-learn-pipeline-for-all-of-the-orders",
    "a config of the signal=5 and the design=x, gh-pages, glue-job-orders-and-customers-nightly",
    "failed, connection refused, server unavailable",
    "'/data/x.json': [Errno 28] No space left on device",
)


@pytest.mark.parametrize("text", TEXTS)
def test_secrets_in_texts_are_replaced(text):
    redactor = DataRedactor()
    assert redactor.redact_text(text) == TEXTS[text]
    assert redactor.redact_text(TEXTS[text]) == TEXTS[text], "once is enough"


RANDOM = "aB3dE6fH9"
HEX = "0123456789abcdef"
TOKENS = {
    # Put together here, so that nothing that looks for secrets in repositories finds one.
    "GitHub": "ghp_" + 4 * RANDOM,
    "GitHub, fine-grained": "github_pat_" + 3 * RANDOM + "_" + 6 * RANDOM,
    "GitLab": "glpat-" + 3 * RANDOM,
    "GitLab, routable": "glpat-" + 3 * RANDOM + ".01." + RANDOM,
    "GitLab workspace": "glwt-" + 3 * RANDOM,
    "Slack": "xoxb-" + "-".join([RANDOM] * 3),
    "Slack app": "xapp-1-A1-" + "-".join([RANDOM] * 3),
    "Slack cookie": "xoxd-" + 3 * RANDOM + "%2B" + RANDOM,
    "Stripe": "sk_live_" + 3 * RANDOM,
    "Stripe organization": "sk_org_live_" + 3 * RANDOM,
    "Stripe webhook": "whsec_" + 3 * RANDOM,
    "Google key": "AIza" + (4 * RANDOM)[:35],
    "Google access": "ya29." + 4 * RANDOM,
    "Google service account": "ya29.c." + 4 * RANDOM,
    "Google refresh": "1//0" + 5 * RANDOM,
    "Gemini": "AQ." + 5 * RANDOM,
    "Google client": "GOCSPX-" + 3 * RANDOM,
    "Bedrock": "ABSK" + 9 * RANDOM + "=",
    "Databricks": "dapi" + HEX * 2,
    "Databricks OAuth": "dose" + HEX * 2,
    "Hugging Face": "hf_" + 4 * RANDOM,
    "Hugging Face organization": "api_org_" + 4 * RANDOM,
    "npm": "npm_" + 4 * RANDOM,
    "PyPI": "pypi-" + 8 * RANDOM,
    "OpenAI": "sk-proj-" + 2 * RANDOM + "_x-" + 2 * RANDOM,
    "DeepSeek": "sk-" + HEX * 2,
    "OpenRouter": "sk-or-v1-" + HEX * 4,
    "Groq": "gsk_" + 5 * RANDOM,
    "xAI": "xai-" + 5 * RANDOM,
    "Perplexity": "pplx-" + 5 * RANDOM,
    "JSON web token": ".".join(["eyJ" + RANDOM, "eyJ" + 3 * RANDOM, 2 * RANDOM]),
    "encrypted web token": ".".join(["eyJ" + RANDOM, "", RANDOM, 3 * RANDOM, RANDOM]),
}


@pytest.mark.parametrize("token", TOKENS.values(), ids=TOKENS)
def test_tokens_of_services_are_replaced_wherever_they_stand(token):
    redactor = DataRedactor()
    for text in (
        token,
        f"cannot log in with {token}: 401",
        f"https://host/x?t={token}&u=me",
        f"['{token}']",
        f"a\n{token}\nb",
    ):
        assert redactor.redact_text(text) == text.replace(token, HIDDEN)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("GET /x?se=2026&sig=a%2Fb%3D&sp=r failed", f"GET /x?se=2026&sig={HIDDEN}&sp=r failed"),
        (f"?X-Amz-Signature={'0a' * 32}&X-Amz-Date=1", f"?X-Amz-Signature={HIDDEN}&X-Amz-Date=1"),
        (f"?X-Goog-Signature={'0a' * 256}&X-Goog-Date=1", f"?X-Goog-Signature={HIDDEN}&X-Goog-Date=1"),
        (f"?Expires=1&Signature={RANDOM * 3}%2B&Key-Pair-Id=K", f"?Expires=1&Signature={HIDDEN}&Key-Pair-Id=K"),
        ("https://hooks.slack.com/services/T0/B0/abc", f"https://hooks.slack.com/services/{HIDDEN}"),
        ("https://hooks.slack.com/triggers/T0/1/abc", f"https://hooks.slack.com/triggers/{HIDDEN}"),
        ("Cookie: session=abc; csrf=def\nHost: x", f"Cookie:{HIDDEN}\nHost: x"),
        ('{"Set-Cookie": "session=abc; Path=/"}', f'{{"Set-Cookie": "{HIDDEN}"}}'),
    ],
)
def test_what_signs_a_request_is_replaced(text, shown):
    assert DataRedactor().redact_text(text) == shown


@pytest.mark.parametrize("text", ORDINARY)
def test_what_is_no_secret_stays(text):
    assert DataRedactor().redact_text(text) == text


def test_each_pattern_is_a_pattern_of_its_own():
    assert DataRedactor(patterns=[r"(cust)-\d+", r"(\d)\1{3}"]).redact_text("cust-1 7777 7778") == (
        "[REDACTED] [REDACTED] 7778"
    )
    assert DataRedactor(patterns=["foo", "(?i)bar"]).redact_text("foo FOO Bar") == "[REDACTED] FOO [REDACTED]"
    assert DataRedactor(patterns=["(?P<kept>a)b", "(?P<kept>c)d"]).redact_text("ab cd") == "[REDACTED] [REDACTED]"
    with pytest.raises(StoreConfigError, match="regular expression"):
        DataRedactor(patterns=["a", "("])
    for option in ("patterns", "fields_to_redact"):
        one: Any = {option: "password"}
        with pytest.raises(TypeError, match=option):
            DataRedactor(**one)


def test_the_replacement_is_taken_as_it_is():
    for replacement in (r"\1", r"\g<name>", "<a removed value>", "", "[R]"):
        redactor = DataRedactor(replacement=replacement)
        assert (
            redactor.redact_text("4111111111111111 token: Bearer abcdefghijk") == f"{replacement} token: {replacement}"
        )
        assert redactor.redact({"password": "x"}) == {"password": replacement}
    assert DataRedactor(replacement="hunter23").redact_text("password=hunter2") == "password=hunter23"


def test_names_are_alike_with_dashes_and_underscores():
    redactor = DataRedactor(fields_to_redact=["user_id", "e-mail", "Straße"])
    for name in ("user_id", "User-ID", "x.userId", "USER_ID_2", "E_MAIL", "email", "straße"):
        assert redactor.redact({name: 1}) == {name: HIDDEN}, name
        assert redactor.redact_text(f"{name}=abc") == f"{name}={HIDDEN}", name
    assert redactor.redact({"user": 1, "id": 2, "password": 3}) == {"user": 1, "id": 2, "password": 3}


@dataclass
class Connection:
    user: str
    password: str
    options: dict[str, Any] = field(default_factory=dict)


class Struct(msgspec.Struct, rename="camel"):
    api_key: str
    is_set: int | msgspec.UnsetType = msgspec.UNSET


@attrs.define
class Attrs:
    secret: str
    note: str


class Pair(NamedTuple):
    job: str
    token: str


class Account(NamedTuple):
    name: str
    pwd: str


class Kind(enum.Enum):
    URL = "redis://:hunter2@cache"
    PLAIN = 3


OBJECTS: list[tuple[Any, Any]] = [
    (Connection("me", "x"), {"user": "me", "password": HIDDEN, "options": {}}),
    (
        Connection("me", "x", {"deep": [Account("a", "b")]}),
        {
            "user": "me",
            "password": HIDDEN,
            "options": {"deep": [{"name": "a", "pwd": HIDDEN}]},
        },
    ),
    (Struct("x"), {"api_key": HIDDEN}),
    (Struct("x", 1), {"api_key": HIDDEN, "is_set": 1}),
    (Attrs("x", "password=y"), {"secret": HIDDEN, "note": f"password={HIDDEN}"}),
    (Pair("nightly", "x"), {"job": "nightly", "token": HIDDEN}),
    ((1, "a", None, 1.5, True), (1, "a", None, 1.5, True)),
    ({"Bearer abcdefghijk"}, [HIDDEN]),
    (frozenset({1}), [1]),
    (Kind.URL, f"redis://{HIDDEN}@cache"),
    ({Kind.URL: Kind.PLAIN}, {f"redis://{HIDDEN}@cache": 3}),
    (OrderedDict(password=1), {"password": HIDDEN}),
    (UserDict(a=b"password=x"), {"a": f"password={HIDDEN}"}),
    ([b"ok", bytearray(b"token=x")], [b"ok", f"token={HIDDEN}"]),
    ({"redis://:a@h": 1, "redis://:b@h": 2}, {f"redis://{HIDDEN}@h": 1, f"redis://{HIDDEN}@h_": 2}),
    ({1: "password=x"}, {1: f"password={HIDDEN}"}),
]


@pytest.mark.parametrize(("data", "told"), OBJECTS, ids=lambda one: type(one).__name__)
def test_objects_are_taken_apart(data, told):
    redactor = DataRedactor()
    for _ in range(2):
        assert redactor.redact(data) == told
        assert redactor.redact({"a": [data]}) == {"a": [told]}


def observed(**options: Any) -> ObservableStore[Sample]:
    audit = AuditConfig(backend="memory", actor="me", **options)
    return ObservableStore(MemoryStore(collection=SAMPLES), ObservabilityConfig(audit=audit))


@pytest.mark.parametrize("redact", [True, False])
def test_objects_of_the_context_cost_an_event_nothing(redact):
    context = {"db": Connection("me", "swordfish"), "pair": Pair("nightly", "x"), "kind": Kind.PLAIN, "set": {1}}
    store = observed(extra_context=context, redact_sensitive=redact)
    store.save(Sample("a"))
    (event,) = store.audit.query(operation="save")
    assert (event.actor, event.item) == ("me", "a")
    secret, token = (HIDDEN, HIDDEN) if redact else ("swordfish", "x")
    assert event.metadata == {
        "db": {"user": "me", "password": secret, "options": {}},
        "pair": {"job": "nightly", "token": token},
        "kind": 3,
        "set": [1],
    }
    assert store.audit.stats["altered"] == 0
    assert isinstance(context["db"], Connection)
    store.close()


def test_a_context_that_cannot_be_told_is_refused():
    endless: list[Any] = []
    endless.append(endless)
    for wrong in ({"a": endless}, {"a": object()}, {"a": Connection("a", "\udce9")}, "text", 5):
        context: Any = wrong
        with pytest.raises((TypeError, ValueError), match="extra_context"):
            AuditConfig(extra_context=context)


def test_an_event_tells_no_secret():
    told = DataRedactor().redact_event(
        AuditEvent(
            event_type=AuditEventType.SAVE,
            item="redis://:hunter2@cache",
            items=("password='hunter2 x'",),
            actor="token=hunter2",
            correlation_id="secret-key=hunter2",
            error_message='{"password": "x hunter2"}',
            metadata={"note": "X-Api-Key: hunter2", "db": Connection("me", "hunter2"), "redis://:hunter2@h": 1},
        )
    )
    assert "hunter2" not in json.dumps(told.to_dict())


def test_what_a_redactor_remembers_stays_in_its_process():
    redactor = DataRedactor()
    for number in range(1_000):
        redactor.redact({f"key {number} password=hunter2": 1})
        redactor.redact_event(AuditEvent(event_type=AuditEventType.SAVE, correlation_id=f"{number} token=hunter2"))
    assert sum(len(known) for known in vars(redactor).values() if isinstance(known, dict)) < 200
    assert b"hunter2" not in pickle.dumps(redactor)
    assert copy.deepcopy(redactor).redact_text("password=x") == f"password={HIDDEN}"


ENDLESS = {
    "names": "token" * 8_000,
    "names with dashes": "token-" * 8_000,
    "spaces": "token" + " " * 40_000 + "=",
    "backslashes": 'token=\\"' + "\\" * 40_000,
    "quotes": 'token="' * 6_000,
    "escaped quotes": 'token="' + '\\"' * 20_000,
    "brackets": "token=[" * 6_000,
    "URLs": "://a:b/" * 6_000,
    "one URL": "://" + "a:" * 20_000,
    "keys": "-----BEGIN PRIVATE KEY-----" + "-----END " * 5_000,
    "half keys": "-----BEGIN " * 4_000 + "private key",
    "bearers": "bearer " * 6_000,
    "headers": "authorization: basic " * 2_000,
    "digits": "4111 " * 8_000,
}


@pytest.mark.parametrize("kind", ENDLESS)
def test_no_text_makes_it_slow(kind):
    redactor = DataRedactor()
    start = time.process_time()
    redactor.redact_text(f"a=b: {ENDLESS[kind]} c")
    # A few milliseconds; with a square of the length it would be a hundred times as much.
    assert time.process_time() - start < 1
