"""An S3 server for the tests: moto, over real connections."""

from __future__ import annotations

import importlib.util
import sys
import urllib.request
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, NamedTuple

from tests.services.process import MissingServerError, free_port, running

__all__ = ["S3Server", "moto"]

SERVER: Final = str(Path(__file__).with_name("moto_server.py"))


class S3Server(NamedTuple):
    """A running server.

    Attributes:
        port: its port on 127.0.0.1.
        access_key_id: a key that it knows.
        secret_access_key: the key's secret.
    """

    port: int
    access_key_id: str = "tester"
    secret_access_key: str = "open-sesame"  # of a test server

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def options(self) -> dict[str, Any]:
        """Options of the S3 store."""
        return {
            "endpoint_url": self.url,
            "region": "us-east-1",
            "access_key_id": self.access_key_id,
            "secret_access_key": self.secret_access_key,
        }

    def client(self) -> Any:
        """A plain client."""
        import boto3

        return boto3.client(
            "s3",
            endpoint_url=self.url,
            region_name="us-east-1",
            aws_access_key_id=self.access_key_id,
            aws_secret_access_key=self.secret_access_key,
        )


@contextmanager
def moto() -> Generator[S3Server]:
    """Starts moto, and stops it at the end."""
    if importlib.util.find_spec("moto") is None or importlib.util.find_spec("flask") is None:
        raise MissingServerError("moto is not installed: pip install 'moto[server]'")
    port = free_port()
    with running([sys.executable, "-W", "ignore", SERVER, "-H", "127.0.0.1", "-p", str(port)], port):
        yield S3Server(port)


def check_signatures(server: S3Server, after: int) -> None:
    """Makes moto check keys and signatures, after so many requests."""
    request = urllib.request.Request(f"{server.url}/moto-api/reset-auth", data=str(after).encode(), method="POST")
    urllib.request.urlopen(request, timeout=10).close()
