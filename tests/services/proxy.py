"""A proxy before a real server that counts requests, and fails those that it was told to fail."""

from __future__ import annotations

import http.client
import threading
from collections import deque
from collections.abc import Generator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Literal, NamedTuple

__all__ = ["Answer", "Proxy", "proxy"]

HOP_BY_HOP = {"connection", "transfer-encoding", "content-length", "keep-alive"}


class Answer(NamedTuple):
    """An answer in place of the server's."""

    status: int
    body: bytes = b""
    headers: tuple[tuple[str, str], ...] = ()


Fault = Answer | Literal["refused", "lost", "torn"]
"""An answer; a connection that ends before the server was asked, after it answered, or in the middle of its answer."""


class Proxy:
    """What the proxy saw, and what it is going to do.

    Attributes:
        url: its address.
        requests: method and path of every request that came.
        headers: the headers of the last request.
        dropped: method and name of a header that the server does not get.
    """

    def __init__(self, upstream: int) -> None:
        self.upstream = upstream
        self.url = ""
        self.requests: list[str] = []
        self.headers: dict[str, str] = {}
        self.dropped: tuple[str, str] | None = None
        self._faults: deque[tuple[str, Fault]] = deque()
        self._lock = threading.Lock()

    def fail(self, method: str, *faults: Fault) -> None:
        """Fails the next requests with this method, in these ways."""
        self._faults.extend((method, fault) for fault in faults)

    def reset(self) -> None:
        """Forgets requests and faults."""
        self.requests.clear()
        self._faults.clear()

    @property
    def unused(self) -> int:
        """How many faults have not happened yet."""
        return len(self._faults)

    def take(self, method: str, path: str) -> Fault | None:
        """Notes a request, and takes its fault."""
        with self._lock:
            self.requests.append(f"{method} {path}")
            if self._faults and self._faults[0][0] == method:
                return self._faults.popleft()[1]
            return None


class Handler(BaseHTTPRequestHandler):
    """Passes one request after the other on."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1
    proxy: Proxy

    def log_message(self, format: str, *args: Any) -> None:
        """Says nothing."""

    def handle_expect_100(self) -> bool:
        """Asks for the body at once."""
        going_on = super().handle_expect_100()
        self.wfile.flush()
        return going_on

    def handle_one(self) -> None:
        """Passes a request on, or fails it."""
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        fault = self.proxy.take(self.command, self.path)
        if isinstance(fault, Answer):
            self.answer(fault.status, fault.headers, fault.body)
            return
        if fault == "refused":
            self.close_connection = True
            return
        upstream = http.client.HTTPConnection("127.0.0.1", self.proxy.upstream, timeout=30)
        try:
            headers = {
                name: value for name, value in self.headers.items() if name.lower() not in HOP_BY_HOP | {"expect"}
            }
            headers["Content-Length"] = str(len(body))
            self.proxy.headers = dict(headers)
            if self.proxy.dropped is not None and self.command == self.proxy.dropped[0]:
                headers.pop(self.proxy.dropped[1], None)
            upstream.request(self.command, self.path, body, headers)
            response = upstream.getresponse()
            data = response.read()
        finally:
            upstream.close()
        if fault == "lost":
            self.close_connection = True
            return
        length = response.headers.get("Content-Length") if self.command == "HEAD" else None
        kept = tuple((name, value) for name, value in response.headers.items() if name.lower() not in HOP_BY_HOP)
        self.answer(response.status, kept, data, torn=fault == "torn", length=length)

    do_GET = do_POST = do_PUT = do_DELETE = do_HEAD = handle_one  # noqa: N815  # names that the base class looks for

    def answer(
        self,
        status: int,
        headers: tuple[tuple[str, str], ...],
        data: bytes,
        *,
        torn: bool = False,
        length: str | None = None,
    ) -> None:
        """Sends an answer, or half of it."""
        self.send_response_only(status)
        for name, value in headers:
            self.send_header(name, value)
        if status != 204:
            self.send_header("Content-Length", length or str(len(data)))
        self.end_headers()
        self.wfile.write(data[: len(data) // 2] if torn else data)
        self.close_connection = self.close_connection or torn


class Server(ThreadingHTTPServer):
    """Listens to many at once."""

    request_queue_size = 128
    daemon_threads = True


@contextmanager
def proxy(upstream: int) -> Generator[Proxy]:
    """Starts a proxy before the server on a port of 127.0.0.1, and stops it at the end."""
    state = Proxy(upstream)
    server = Server(("127.0.0.1", 0), type("BoundHandler", (Handler,), {"proxy": state}))
    state.url = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield state
    finally:
        server.shutdown()
        server.server_close()
        thread.join(10)
