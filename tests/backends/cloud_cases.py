"""The duties of every object storage driver when requests fail."""

from __future__ import annotations

import gc
import gzip
import os
import traceback
from collections.abc import Callable, Iterator
from typing import Any, ClassVar

import pytest

from tests.services.proxy import Answer, Fault, Proxy, proxy
from truthstore.errors import (
    StoreConflictError,
    StoreConnectionError,
    StoreError,
    StoreNotFoundError,
    StoreWriteError,
)
from truthstore.model.record import ABSENT, ANY
from truthstore.storage.objects.blobs import Blobs, InParts, probe_conditional_deletes, probe_conditional_writes


# The vendors' clients leave a connection that broke to the garbage collector.
@pytest.mark.filterwarnings("ignore:Exception ignored in. <socket:pytest.PytestUnraisableExceptionWarning")
class DriverCases:
    """Inherit it, and say how the service answers.

    Attributes:
        put: the method of the request that a put makes.
        busy: how it answers when it is busy.
        expired: how it answers when credentials have expired.
        denied: how it answers without permission.
        delete_requests: how many requests a delete makes at most.
        secret: must never be shown.
    """

    put: ClassVar[str] = "PUT"
    busy: ClassVar[Answer]
    expired: ClassVar[Answer]
    denied: ClassVar[Answer]
    delete_requests: ClassVar[int] = 1
    secret: ClassVar[str] = "open-sesame"

    def open(self, url: str, location: Any, **options: Any) -> Blobs:
        """Opens the driver through a proxy."""
        raise NotImplementedError

    def remove_bucket(self, location: Any) -> None:
        """Removes the bucket of a location."""
        raise NotImplementedError

    def read_by_vendor(self, location: Any, key: str) -> tuple[bytes, str | None]:
        """Read by the vendor's own client; with the content encoding that it sees."""
        raise NotImplementedError

    @pytest.fixture
    def faults(self, server: Any) -> Iterator[Proxy]:
        """A proxy before the server."""
        with proxy(server.port) as one:
            yield one

    @pytest.fixture
    def open_blobs(self, faults: Proxy, location: Any) -> Iterator[Callable[..., Blobs]]:
        """Opens the driver through the proxy."""
        opened: list[Blobs] = []

        def open_blobs(**options: Any) -> Blobs:
            opened.append(self.open(faults.url, location, **{"retries": 1, "timeout": 60.0, **options}))
            return opened[-1]

        yield open_blobs
        for blobs in opened:
            blobs.close()
        gc.collect()

    @pytest.fixture
    def blobs(self, open_blobs: Callable[..., Blobs]) -> Blobs:
        """The driver, which repeats a request once."""
        return open_blobs()

    def test_requests(self, blobs: Blobs, faults: Proxy):
        blobs.put("a", b"1", expect=ABSENT)
        faults.reset()
        for call, most in (
            (lambda: blobs.get("a"), 1),
            (lambda: blobs.put("b", b"2", expect=ABSENT), 1),
            (lambda: blobs.put("b", b"3"), 1),
            (lambda: list(blobs.list("")), 1),
            (lambda: blobs.delete("b"), self.delete_requests),
        ):
            call()
            assert len(faults.requests) <= most, faults.requests
            faults.reset()

    def test_a_busy_service_is_asked_again(self, blobs: Blobs, faults: Proxy):
        faults.fail(self.put, self.busy)
        tag = blobs.put("a", b"1", expect=ABSENT)
        faults.fail("GET", self.busy)
        assert blobs.get("a") == (b"1", tag)
        faults.fail("GET", self.busy)
        assert list(blobs.list("")) == ["a"]
        assert not faults.unused

    def test_a_service_that_stays_busy(self, open_blobs: Callable[..., Blobs], faults: Proxy):
        blobs = open_blobs(retries=0)
        for method, call in self.calls(blobs):
            faults.fail(method, self.busy)
            with pytest.raises(StoreConnectionError, match="busy") as caught:
                call()
            assert caught.value.retryable
            assert not faults.unused

    def calls(self, blobs: Blobs) -> list[tuple[str, Callable[[], object]]]:
        """A call of each kind that fails at its first request."""
        return [
            ("GET", lambda: blobs.get("a")),
            (self.put, lambda: blobs.put("a", b"1", expect=ABSENT)),
            (self.put, lambda: blobs.put("a", b"1", expect=ANY)),
            ("GET", lambda: list(blobs.list(""))),
        ]

    def test_a_put_that_meets_its_own_first_attempt_is_no_conflict(self, blobs: Blobs, faults: Proxy):
        ends: list[Fault] = ["lost", "torn"]
        for fault in ends:
            key = str(fault)
            faults.fail(self.put, fault)
            try:
                blobs.put(key, b"mine" * 1_000, expect=ABSENT)
            except StoreWriteError as error:
                assert error.retryable
                assert not isinstance(error, StoreConflictError)
            assert blobs.get(key)[0] == b"mine" * 1_000

    def test_a_replacement_that_meets_its_own_first_attempt_is_no_conflict(self, blobs: Blobs, faults: Proxy):
        tag = blobs.put("a", b"first")
        faults.fail(self.put, "lost")
        with pytest.raises(StoreError) as caught:
            blobs.put("a", b"second", expect=tag)
        assert not isinstance(caught.value, StoreConflictError)
        assert caught.value.retryable
        assert blobs.get("a")[0] == b"second"

    def test_a_put_without_an_answer(self, open_blobs: Callable[..., Blobs], faults: Proxy):
        blobs = open_blobs(retries=0)
        for fault in ("lost", "refused"):
            faults.fail(self.put, fault)
            with pytest.raises(StoreConnectionError, match="may or may not") as caught:
                blobs.put(fault, b"1", expect=ABSENT)
            assert caught.value.retryable
        assert list(blobs.list("")) == ["lost"]

    def test_an_answer_that_breaks_off_is_asked_for_again(self, blobs: Blobs, faults: Proxy):
        data = os.urandom(500_000)
        tag = blobs.put("a", data)
        for fault in ("torn", "refused"):
            faults.fail("GET", fault)
            assert blobs.get("a") == (data, tag)
        for i in range(20):
            blobs.put(f"k/{i:02}", b"")
        faults.fail("GET", "refused")
        assert len(list(blobs.list("k/"))) == 20

    def test_what_has_expired_or_is_not_allowed(self, blobs: Blobs, faults: Proxy):
        for answer, words in ((self.expired, "expired|valid|wrong|no credentials"), (self.denied, "permission|allow")):
            for method, call in self.calls(blobs):
                faults.fail(method, *[answer] * 3)  # some clients refresh credentials and ask again
                with pytest.raises(StoreConnectionError, match=words) as caught:
                    call()
                assert not caught.value.retryable
                faults.reset()
                shown = "".join(traceback.format_exception(caught.value))
                assert self.secret not in shown
            faults.fail("HEAD" if self.delete_requests > 1 else "DELETE", *[answer] * 3)
            with pytest.raises(StoreConnectionError):
                blobs.delete("a")
            faults.reset()

    def test_a_refusal_after_a_lost_answer_leaves_it_open(self, blobs: Blobs, faults: Proxy):
        faults.fail(self.put, "lost", *[self.denied] * 3)
        with pytest.raises(StoreWriteError, match=r"(permission|allow).*may or may not have happened"):
            blobs.put("a", b"1", expect=ABSENT)
        faults.reset()
        assert blobs.get("a")[0] == b"1"

    def test_a_bucket_that_is_gone_is_not_an_empty_one(self, blobs: Blobs, location: Any):
        tag = blobs.put("a", b"1")
        self.remove_bucket(location)
        for call in (
            lambda: blobs.get("a"),
            lambda: blobs.put("a", b"2"),
            lambda: blobs.put("a", b"2", expect=ABSENT),
            lambda: blobs.put("a", b"2", expect=tag),
            lambda: blobs.delete("a"),
            lambda: blobs.delete("a", expect=tag),
            lambda: list(blobs.list("")),
        ):
            with pytest.raises(StoreConnectionError, match="does not exist") as caught:
                call()
            assert not isinstance(caught.value, StoreNotFoundError)
            assert not caught.value.retryable

    def test_gzip_stays_gzip(self, blobs: Blobs, location: Any):
        data = gzip.compress(b'{"a": 1}')
        blobs.put("a.json.gz", data)
        assert blobs.get("a.json.gz")[0] == data
        assert self.read_by_vendor(location, "a.json.gz") == (data, None)

    def test_conditions_are_honoured(self, blobs: Blobs):
        assert probe_conditional_writes(blobs)
        assert probe_conditional_deletes(blobs)
        assert list(blobs.list("")) == []

    def test_conditions_are_honoured_for_what_is_sent_in_parts(self, blobs: Blobs):
        if not isinstance(blobs, InParts):
            pytest.skip("sends everything in one way")
        tag = blobs.put_in_parts("a", b"1", expect=ABSENT)
        with pytest.raises(StoreConflictError):
            blobs.put_in_parts("a", b"2", expect=ABSENT)
        assert blobs.get("a") == (b"1", tag)
        blobs.put_in_parts("a", b"3", expect=tag)
        with pytest.raises(StoreConflictError):
            blobs.put_in_parts("a", b"4", expect=tag)
        assert blobs.get("a")[0] == b"3"

    def test_a_child_process_makes_its_own_connections(self, blobs: Blobs):
        blobs.put("a", b"1")
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                for _ in range(20):
                    assert blobs.get("a")[0] == b"1"
                code = 0
            finally:
                os._exit(code)
        for _ in range(20):
            assert blobs.get("a")[0] == b"1"
        assert os.waitpid(pid, 0)[1] == 0
