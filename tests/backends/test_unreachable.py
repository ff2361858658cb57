"""A service that is down is told on one screen, whatever client speaks to it."""

from __future__ import annotations

from pathlib import Path
from traceback import format_exception
from typing import Any

import pytest

from truthstore import StoreConnectionError, get_store
from truthstore.testing import SAMPLES, Sample

SCREEN = 60
NOBODY = "http://127.0.0.1:1"
OPTIONS: dict[str, dict[str, Any]] = {
    "s3": {"bucket": "b", "endpoint_url": NOBODY, "region": "eu", "access_key_id": "a", "secret_access_key": "b"},
    "gcs": {"bucket": "b"},
    "azure": {"container": "c", "account_url": f"{NOBODY}/a", "account_key": "eA=="},
}


@pytest.mark.parametrize("backend", OPTIONS)
def test_a_service_that_is_down_is_told_on_one_screen(backend: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    pytest.importorskip({"s3": "boto3", "gcs": "google.cloud.storage", "azure": "azure.storage.blob"}[backend])
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", NOBODY)
    store = get_store(
        backend, collection=SAMPLES, retries=0, timeout=1.0, cache_dir=tmp_path, compression=None, **OPTIONS[backend]
    )
    for call in (store.count, lambda: store.save(Sample("a")), lambda: store.get("a")):
        with pytest.raises(StoreConnectionError, match="did not answer") as caught:
            call()
        assert isinstance(caught.value.__cause__, Exception)
        assert "".join(format_exception(caught.value)).count("\n") < SCREEN
