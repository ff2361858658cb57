"""Column types for databases of which nothing is known: neither how they compare strings nor how exact their times are.

A string lies in two columns: one to be read by people and charts, and one in which the database compares it, as ASCII letters
and digits whose order every collation agrees upon. Times are compared as numbers. Databases that take "" for NULL, blind
to case or to blanks at the end, come to the same answers as all others.
"""

from __future__ import annotations

import base64
import hashlib
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import BigInteger, Boolean, String, TypeDecorator, Unicode

from truthstore.backends.database.types import Real

if TYPE_CHECKING:
    from sqlalchemy import Dialect
    from sqlalchemy.types import TypeEngine

__all__ = ["COMPARED", "HashOf", "Ordered", "Readable"]

# Of UTF-8, five bytes become eight characters, and one stands before them.
LONGEST: Final = 4_096 * 8 // 5 + 8


class Ordered(TypeDecorator[str]):
    """A string as ASCII that sorts by code point: UTF-8 in Base32 with digits and letters in the order of their values."""

    impl = String
    cache_ok = True

    def __init__(self, length: int = LONGEST) -> None:
        super().__init__(length)
        self.length = length

    def process_bind_param(self, value: Any, dialect: Dialect) -> Any:
        """The string as it is compared; never empty, which some databases take for NULL."""
        if value is None:
            return None
        return "0" + base64.b32hexencode(value.encode()).rstrip(b"=").decode().lower()

    def process_result_value(self, value: Any, dialect: Dialect) -> str | None:
        """The string itself."""
        if value is None:
            return None
        letters = str(value)[1:].upper()
        return base64.b32hexdecode(letters + "=" * (-len(letters) % 8)).decode()


class HashOf(TypeDecorator[str]):
    """A hash of a string, short enough for any index; for equality alone."""

    impl = String
    cache_ok = True

    def __init__(self) -> None:
        super().__init__(32)

    def process_bind_param(self, value: Any, dialect: Dialect) -> Any:
        """The hash, in hexadecimal, which no collation mixes up."""
        return None if value is None else hashlib.blake2b(value.encode(), digest_size=16).hexdigest()


class Readable(TypeDecorator[str]):
    """A string for people and charts, cut where it gets long; nothing of ours reads it."""

    impl = Unicode
    cache_ok = True

    def __init__(self, length: int = 400) -> None:
        super().__init__(length)
        self.length = length

    def process_bind_param(self, value: Any, dialect: Dialect) -> Any:
        """The beginning."""
        # Some databases count in UTF-16, where a character outside the first plane is two.
        while value is not None and len(value.encode("utf-16-le")) > 2 * self.length:
            value = value[: min(len(value) - 1, self.length)]
        return value


COMPARED: Final[dict[type, TypeEngine[Any]]] = {
    str: Ordered(),
    int: BigInteger(),
    bool: Boolean(create_constraint=False),
    float: Real(),
    datetime: BigInteger(),
}
