"""A stand-in for Google Cloud Storage: its JSON API over real connections, as far as the client uses it.

It stands for the API, not for Google's server: generations, preconditions, ordered pages, multipart and resumable
uploads, transcoding of gzip, atomic under concurrency.
"""

from __future__ import annotations

import base64
import email.parser
import gzip
import hashlib
import itertools
import json
import re
import threading
from collections.abc import Generator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple
from urllib.parse import parse_qsl, unquote, urlsplit

import google_crc32c

__all__ = ["GCSServer", "gcs"]

PAGE = 1_000
OBJECT = re.compile(r"(?:/download)?/storage/v1/b/([^/]+)/o/(.+)")
OBJECTS = re.compile(r"/storage/v1/b/([^/]+)/o")
UPLOAD = re.compile(r"(?:/resumable)?/upload/storage/v1/b/([^/]+)/o")
BUCKET = re.compile(r"/storage/v1/b/([^/]+)")


class Refused(Exception):  # noqa: N818  # an answer, not a failure of the server
    """An answer that is an error."""

    def __init__(self, status: int, message: str, reason: str = "error"):
        super().__init__(message)
        self.status = status
        self.reason = reason


class Stored(NamedTuple):
    """One object."""

    data: bytes
    generation: int
    facts: dict[str, Any]

    @property
    def crc32c(self) -> str:
        """Its checksum."""
        return base64.b64encode(google_crc32c.Checksum(self.data).digest()).decode()

    @property
    def md5(self) -> str:
        """Its digest."""
        return base64.b64encode(hashlib.md5(self.data).digest()).decode()


class Buckets:
    """What is stored."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.buckets: dict[str, dict[str, Stored]] = {}
        self.uploads: dict[str, tuple[str, dict[str, Any], dict[str, str], bytearray]] = {}
        self.numbers = itertools.count(1_700_000_000_000_001)

    def objects(self, bucket: str) -> dict[str, Stored]:
        """The objects of a bucket."""
        if bucket not in self.buckets:
            raise Refused(404, "The specified bucket does not exist.", "notFound")
        return self.buckets[bucket]

    def find(self, bucket: str, name: str, query: dict[str, str]) -> Stored:
        """One object, if preconditions hold."""
        found = self.objects(bucket).get(name)
        if found is None:
            raise Refused(404, f"No such object: {bucket}/{name}", "notFound")
        self.check(found, query)
        if "generation" in query and int(query["generation"]) != found.generation:
            raise Refused(404, f"No such object: {bucket}/{name}", "notFound")
        return found

    def check(self, found: Stored | None, query: dict[str, str]) -> None:
        """Whether a precondition holds."""
        wanted = query.get("ifGenerationMatch")
        if wanted is not None and int(wanted) != (found.generation if found else 0):
            raise Refused(412, "At least one of the pre-conditions you specified did not hold.", "conditionNotMet")

    def store(self, bucket: str, facts: dict[str, Any], query: dict[str, str], data: bytes) -> dict[str, Any]:
        """Writes one object."""
        with self.lock:
            objects = self.objects(bucket)
            name = facts.get("name") or query["name"]
            self.check(objects.get(name), query)
            stored = Stored(data, next(self.numbers), facts)
            for checksum in ("crc32c", "md5Hash"):
                computed = stored.crc32c if checksum == "crc32c" else stored.md5
                if facts.get(checksum, computed) != computed:
                    raise Refused(400, f"Provided {checksum} does not match")
            objects[name] = stored
        return resource(bucket, name, stored)

    def remove(self, bucket: str, name: str, query: dict[str, str]) -> None:
        """Removes one object."""
        with self.lock:
            self.find(bucket, name, query)
            del self.buckets[bucket][name]

    def page(self, bucket: str, query: dict[str, str]) -> dict[str, Any]:
        """One page of names."""
        with self.lock:
            objects = self.objects(bucket)
            start = query.get("pageToken") or query.get("startOffset") or ""
            names = sorted(n for n in objects if n.startswith(query.get("prefix", "")) and n >= start)
        size = min(int(query.get("maxResults", PAGE)), PAGE)
        answer: dict[str, Any] = {"kind": "storage#objects", "items": [{"name": name} for name in names[:size]]}
        if len(names) > size:
            answer["nextPageToken"] = names[size]
        return answer


def resource(bucket: str, name: str, stored: Stored) -> dict[str, Any]:
    """What the API says about an object."""
    return {
        "kind": "storage#object",
        **{key: value for key, value in stored.facts.items() if key not in {"crc32c", "md5Hash"}},
        "name": name,
        "bucket": bucket,
        "generation": str(stored.generation),
        "metageneration": "1",
        "size": str(len(stored.data)),
        "etag": f"E{stored.generation}",
        "crc32c": stored.crc32c,
        "md5Hash": stored.md5,
    }


class Handler(BaseHTTPRequestHandler):
    """Answers one request after the other."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1
    buckets: Buckets

    def log_message(self, format: str, *args: Any) -> None:
        """Says nothing."""

    def handle_one(self) -> None:
        """Answers a request."""
        parts = urlsplit(self.path)
        query = dict(parse_qsl(parts.query, keep_blank_values=True))
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        try:
            self.route(parts.path, query, body)
        except Refused as error:
            content = {"code": error.status, "message": str(error), "errors": [{"reason": error.reason}]}
            if query.get("alt") == "media":
                self.answer(error.status, str(error).encode(), {"Content-Type": "text/html"})
            else:
                self.answer(error.status, {"error": content})

    do_GET = do_POST = do_PUT = do_DELETE = handle_one  # noqa: N815  # names that the base class looks for

    def route(self, path: str, query: dict[str, str], body: bytes) -> None:
        """Finds who answers."""
        if found := UPLOAD.fullmatch(path):
            self.upload(found[1], query, body)
        elif found := OBJECT.fullmatch(path):
            bucket, name = found[1], unquote(found[2])
            if self.command == "DELETE":
                self.buckets.remove(bucket, name, query)
                self.answer(204)
            elif query.get("alt") == "media":
                self.download(self.buckets.find(bucket, name, query))
            else:
                self.answer(200, resource(bucket, name, self.buckets.find(bucket, name, query)))
        elif found := OBJECTS.fullmatch(path):
            self.answer(200, self.buckets.page(found[1], query))
        elif path == "/storage/v1/b" and self.command == "POST":
            name = json.loads(body)["name"]
            self.buckets.buckets.setdefault(name, {})
            self.answer(200, {"kind": "storage#bucket", "name": name})
        elif found := BUCKET.fullmatch(path):
            self.buckets.objects(found[1])
            if self.command == "DELETE":
                del self.buckets.buckets[found[1]]
            self.answer(204 if self.command == "DELETE" else 200, {"kind": "storage#bucket", "name": found[1]})
        else:
            raise Refused(501, f"{self.command} {path} is not known here")

    def upload(self, bucket: str, query: dict[str, str], body: bytes) -> None:
        """Takes a multipart upload, or a part of a resumable one."""
        kind = query.get("uploadType")
        if kind == "multipart":
            header = f"Content-Type: {self.headers['Content-Type']}\r\n\r\n".encode()
            message = email.parser.BytesParser().parsebytes(header + body)
            parts: Any = message.get_payload()
            described = json.loads(parts[0].get_payload(decode=True))
            described.setdefault("contentType", parts[1].get_content_type())
            self.answer(200, self.buckets.store(bucket, described, query, body_of(body)))
            return
        if "upload_id" not in query:
            self.buckets.objects(bucket)
            number = str(next(self.buckets.numbers))
            described = {"contentType": self.headers.get("x-upload-content-type"), **json.loads(body or b"{}")}
            self.buckets.uploads[number] = (bucket, described, query, bytearray())
            place = f"http://{self.headers['Host']}{urlsplit(self.path).path}?uploadType=resumable&upload_id={number}"
            self.answer(200, headers={"Location": place})
            return
        bucket, described, first, received = self.buckets.uploads[query["upload_id"]]
        received += body
        total = self.headers["Content-Range"].rpartition("/")[2]
        if total != "*" and len(received) == int(total):
            self.answer(200, self.buckets.store(bucket, described, first, bytes(received)))
        else:
            self.answer(308, headers={"Range": f"bytes=0-{len(received) - 1}"})

    def download(self, stored: Stored) -> None:
        """Sends an object; one with content encoding gzip is undone for whoever does not accept that."""
        data, headers = stored.data, {"Content-Type": stored.facts.get("contentType") or "application/octet-stream"}
        encoded = stored.facts.get("contentEncoding") == "gzip"
        if encoded and "gzip" in self.headers.get("Accept-Encoding", ""):
            headers["Content-Encoding"] = "gzip"
        elif encoded:
            data = gzip.decompress(data)
        headers["X-Goog-Generation"] = str(stored.generation)
        headers["X-Goog-Hash"] = f"crc32c={stored.crc32c},md5={stored.md5}"
        status = 200
        if found := re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", "")):
            start, end = int(found[1]), min(int(found[2] or len(data)), len(data) - 1)
            headers["Content-Range"] = f"bytes {start}-{end}/{len(data)}"
            data, status = data[start : end + 1], 206
        self.answer(status, data, headers)

    def answer(self, status: int, content: Any = b"", headers: dict[str, str] | None = None) -> None:
        """Sends an answer."""
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        if not isinstance(content, bytes):
            self.send_header("Content-Type", "application/json")
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        if status == 204:
            data = b""
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)


def body_of(body: bytes) -> bytes:
    """The bytes of the second part as they were sent: the parser of mail mends line breaks."""
    boundary = body[2 : body.index(b"\r\n")]
    start = body.index(b"\r\n\r\n", body.index(b"--" + boundary, 4)) + 4
    return body[start : body.rindex(b"\r\n--" + boundary)]


class GCSServer(NamedTuple):
    """A running server.

    Attributes:
        port: its port on 127.0.0.1.
        buckets: what it stores.
    """

    port: int
    buckets: Buckets

    @property
    def url(self) -> str:
        """Its address, for ``STORAGE_EMULATOR_HOST``."""
        return f"http://127.0.0.1:{self.port}"


class Server(ThreadingHTTPServer):
    """Listens to many at once."""

    request_queue_size = 128
    daemon_threads = True


@contextmanager
def gcs(*buckets: str) -> Generator[GCSServer]:
    """Starts it with these buckets, and stops it at the end."""
    stored = Buckets()
    stored.buckets.update({name: {} for name in buckets})
    server = Server(("127.0.0.1", 0), type("BoundHandler", (Handler,), {"buckets": stored}))
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield GCSServer(server.server_address[1], stored)
    finally:
        server.shutdown()
        server.server_close()
        thread.join(10)
