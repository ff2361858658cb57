"""Databases that the store does not know: PostgreSQL under another name, and a SQLite that is blind to case.

Nothing of the store's special ways applies to them, so that what is left to standard SQL is tested on real databases with many
processes.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy.dialects import registry
from sqlalchemy.dialects.postgresql.psycopg import PGDialect_psycopg
from sqlalchemy.dialects.sqlite.base import SQLiteTypeCompiler
from sqlalchemy.dialects.sqlite.pysqlite import SQLiteDialect_pysqlite

__all__ = ["BlindSQLite", "StrangePostgreSQL", "strange"]


class BlindTypes(SQLiteTypeCompiler):
    """Strings that are compared without regard to case, as many databases do."""

    def visit_VARCHAR(self, type_: Any, **kw: Any) -> str:
        return super().visit_VARCHAR(type_, **kw) + " COLLATE NOCASE"

    def visit_TEXT(self, type_: Any, **kw: Any) -> str:
        return super().visit_TEXT(type_, **kw) + " COLLATE NOCASE"


class BlindSQLite(SQLiteDialect_pysqlite):
    """SQLite as a database of another kind: ``blind:///path``."""

    name = "blind"
    type_compiler_cls = BlindTypes
    supports_statement_cache = True


class StrangePostgreSQL(PGDialect_psycopg):
    """PostgreSQL as a database of another kind: ``strange://…``."""

    name = "strange"
    supports_statement_cache = True


def strange(url: str) -> str:
    """The URL of a PostgreSQL server under its strange name."""
    return url.replace("postgresql://", "strange://")


registry.register("blind", __name__, "BlindSQLite")
registry.register("strange", __name__, "StrangePostgreSQL")
