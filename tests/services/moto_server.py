"""moto's server, with conditional writes that are atomic.

S3 checks `If-None-Match` or `If-Match` and writes in one step (docs.aws.amazon.com, "Conditional writes"). moto 5.2.5
checks, and then writes, in one of several threads: now and then two creators of one object both succeed. Here one request
that changes an object follows another.
"""

from __future__ import annotations

import threading
from functools import wraps
from typing import Any

from moto.s3.responses import S3Response
from moto.server import main

__all__ = ["main"]

_one_by_one = threading.Lock()


def _in_turn(method: Any) -> Any:
    @wraps(method)
    def waited(*args: Any, **kwargs: Any) -> Any:
        with _one_by_one:
            return method(*args, **kwargs)

    return waited


for _name in ("put_object", "delete_object"):
    setattr(S3Response, _name, _in_turn(getattr(S3Response, _name)))

if __name__ == "__main__":
    main()
