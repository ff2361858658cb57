"""The S3 server of the tests keeps what S3 promises of conditional writes; the tests of many writers stand on that."""

from __future__ import annotations

import sys
from typing import Any

import pytest

from tests.services import s3
from tests.services.process import free_port, running
from truthstore.testing.suite.case import at_once

pytest.importorskip("moto.server")

CREATORS = 8
SLOW = f"""
import runpy, sys, time
from moto.s3.responses import S3Response

quick = S3Response._get_checksum  # runs between the check of the condition and the write


def slow(self, *given):
    time.sleep(0.01)
    return quick(self, *given)


S3Response._get_checksum = slow
runpy.run_path({s3.SERVER!r}, run_name="__main__")
"""


@pytest.mark.xdist_group("s3")
def test_of_many_creators_of_one_object_one_succeeds():
    port = free_port()
    with running([sys.executable, "-W", "ignore", "-c", SLOW, "-H", "127.0.0.1", "-p", str(port)], port):
        server = s3.S3Server(port)
        client = server.client()
        client.create_bucket(Bucket="bucket")

        def create(one: int) -> bool:
            try:
                client.put_object(Bucket="bucket", Key="a", Body=b"%d" % one, IfNoneMatch="*")
            except client.exceptions.ClientError as error:
                answer: dict[str, Any] = error.response
                assert answer["Error"]["Code"] == "PreconditionFailed"
                return False
            return True

        assert sorted(map(bool, at_once(create, CREATORS))) == [False] * (CREATORS - 1) + [True]
