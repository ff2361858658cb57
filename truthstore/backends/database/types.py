"""Column types: strings that sort by code point, times to the microsecond, on each database.

How values are converted to what these columns keep stands in `truthstore.storage.sql.dialect`.
"""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING, Any, Final

from sqlalchemy import BigInteger, Boolean, DateTime, Double, Integer, LargeBinary, Text, TypeDecorator
from sqlalchemy.dialects import mysql, postgresql

if TYPE_CHECKING:
    from sqlalchemy import Dialect
    from sqlalchemy.types import TypeEngine

__all__ = ["BODY", "COUNTER", "FIELD_TYPES", "LONG", "MOMENT", "NUMBER", "WORDS", "Exact"]


class Exact(TypeDecorator[str]):
    """A string compared by code point, exactly: "a", "A" and "a " are three.

    Args:
        length: at most so many characters; None for any length.
    """

    impl = Text
    cache_ok = True

    def __init__(self, length: int | None = None) -> None:
        super().__init__(length)
        self.length = length

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """Return the database's string type with its collation by code point."""
        if dialect.name == "sqlite":
            return Text()
        if dialect.name == "postgresql":
            return postgresql.VARCHAR(self.length, collation="C")
        # A URL that says mysql may lead to MariaDB, which has no collation of MySQL's name.
        collation = "utf8mb4_nopad_bin" if getattr(dialect, "is_mariadb", False) else "utf8mb4_0900_bin"
        if self.length:
            return mysql.VARCHAR(self.length, charset="utf8mb4", collation=collation)
        return mysql.TEXT(charset="utf8mb4", collation=collation)


WORDS: Final = (
    Text()
    .with_variant(postgresql.TSVECTOR(), "postgresql")
    .with_variant(mysql.LONGTEXT(charset="ascii", collation="ascii_bin"), "mysql")
)
LONG: Final = Text().with_variant(mysql.LONGTEXT(charset="utf8mb4", collation="utf8mb4_bin"), "mysql")
# The database's most precise time, so that other tools read it; SQLite has none, and gets ISO text.
MOMENT: Final = (
    DateTime()
    .with_variant(postgresql.TIMESTAMP(timezone=True, precision=6), "postgresql")
    .with_variant(mysql.DATETIME(fsp=6), "mysql")
    .with_variant(Text(), "sqlite")
)
BODY: Final = LargeBinary().with_variant(mysql.LONGBLOB(), "mysql")
NUMBER: Final = BigInteger()
COUNTER: Final = BigInteger().with_variant(Integer(), "sqlite")

FIELD_TYPES: Final[dict[type, TypeEngine[Any]]] = {
    str: Exact(),
    int: BigInteger(),
    bool: Boolean(),
    float: Double(),
    datetime: MOMENT,
}
