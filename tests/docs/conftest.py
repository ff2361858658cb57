"""What documentation takes for granted: buckets by the names that it uses, and nothing of the user who runs the tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.services.process import started
from tests.services.s3 import S3Server, moto

BUCKETS = ("company-validation-results", "my-bucket", "my-validation-results", "validation-results")


@pytest.fixture(scope="module")
def s3() -> Iterator[S3Server]:
    for server in started(moto()):
        for name in BUCKETS:
            server.client().create_bucket(Bucket=name)
        yield server


@pytest.fixture
def nothing_of_the_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty folder, an empty cache, and no credentials of this machine."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("HOME", str(tmp_path))


@pytest.fixture
def amazon(s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """Boto's own variables lead to the test server, so that snippets run without a change."""
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", s3.url)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", s3.access_key_id)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", s3.secret_access_key)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
