"""Buckets of S3 servers, and their errors, for tests that need a bucket of their own."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from tests.services.proxy import Answer
from tests.services.s3 import S3Server

__all__ = ["DENIED", "EXPIRED", "OwnBucket", "error"]

numbers = itertools.count()


def error(status: int, code: str) -> Answer:
    """An error as S3 sends it."""
    body = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>said the server</Message></Error>"
    return Answer(status, body.encode(), (("Content-Type", "application/xml"),))


EXPIRED = error(400, "ExpiredToken")
DENIED = error(403, "AccessDenied")


class OwnBucket:
    """A bucket for each test, which it may remove."""

    @pytest.fixture
    def location(self, server: S3Server) -> Any:
        name = f"bucket-{next(numbers)}"
        server.client().create_bucket(Bucket=name)
        return {**server.options, "bucket": name, "prefix": "a/"}

    def vendor(self, location: Any) -> Any:
        return S3Server(int(location["endpoint_url"].rpartition(":")[2])).client()

    def remove_bucket(self, location: Any) -> None:
        client = self.vendor(location)
        for name in self.names(location):
            client.delete_object(Bucket=location["bucket"], Key=name)
        client.delete_bucket(Bucket=location["bucket"])

    def names(self, location: Any) -> list[str]:
        return [found["Key"] for found in self.vendor(location).list_objects_v2(Bucket=location["bucket"])["Contents"]]

    def read_object(self, location: Any, name: str) -> tuple[bytes, str | None]:
        answer = self.vendor(location).get_object(Bucket=location["bucket"], Key=name)
        return answer["Body"].read(), answer.get("ContentEncoding")
