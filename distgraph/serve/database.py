"""The registry's database: SQLite in a file, or PostgreSQL. Plain SQL, ``?`` for parameters."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal, Protocol, TypeVar

from distgraph.concurrency.threads import DaemonExecutor
from distgraph.errors import MissingExtraError

__all__ = ("Conflict", "Database", "Postgres", "Sqlite", "Transaction", "open_database")

T = TypeVar("T")
Row = dict[str, Any]

_BUSY = 30.0
"""Seconds that a write waits for another process which is writing to the file."""

_CONNECTIONS = 8
"""Connections to PostgreSQL of one process."""


class Conflict(Exception):
    """A row with that key exists already."""


class Transaction(Protocol):
    """Statements that take effect together."""

    dialect: Literal["sqlite", "postgres"]

    def rows(self, sql: str, parameters: Sequence[Any] = ()) -> list[Row]:
        """Return the rows of a query, by column name."""

    def execute(self, sql: str, parameters: Sequence[Any] = ()) -> int:
        """Carry out a statement; return the number of rows that it changed.

        Raises:
            Conflict: A row with that key exists already.
        """


class Database(Protocol):
    """Carries out transactions, without blocking the event loop."""

    dialect: Literal["sqlite", "postgres"]

    async def run(self, work: Callable[[Transaction], T], *, write: bool = True) -> T:
        """Call ``work`` in a thread, with a transaction that is committed when it returns."""

    def close(self) -> None:
        """Close the connections."""


class _SqliteTransaction:
    dialect: Literal["sqlite", "postgres"] = "sqlite"

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection

    def rows(self, sql: str, parameters: Sequence[Any] = ()) -> list[Row]:
        return [dict(row) for row in self._connection.execute(sql, parameters).fetchall()]

    def execute(self, sql: str, parameters: Sequence[Any] = ()) -> int:
        try:
            return self._connection.execute(sql, parameters).rowcount
        except sqlite3.IntegrityError as error:
            raise Conflict(str(error)) from error


class Sqlite:
    """A database in a file, which processes of one machine may share."""

    dialect: Literal["sqlite", "postgres"] = "sqlite"

    def __init__(self, path: str) -> None:
        self._executor = DaemonExecutor(1, thread_name_prefix="distgraph-registry")
        self._connection = self._executor.submit(self._open, path).result()

    @staticmethod
    def _open(path: str) -> sqlite3.Connection:
        connection = sqlite3.connect(path, _BUSY, isolation_level=None)
        connection.row_factory = sqlite3.Row
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=NORMAL")
        return connection

    async def run(self, work: Callable[[Transaction], T], *, write: bool = True) -> T:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._executor, self._carry_out, work, write)

    def _carry_out(self, work: Callable[[Transaction], T], write: bool) -> T:
        connection = self._connection
        connection.execute("BEGIN IMMEDIATE" if write else "BEGIN")
        try:
            result = work(_SqliteTransaction(connection))
        except BaseException:
            connection.execute("ROLLBACK")
            raise
        connection.execute("COMMIT")
        return result

    def close(self) -> None:
        with suppress(RuntimeError):
            self._executor.submit(self._connection.close).result()
        self._executor.shutdown()


class _PostgresTransaction:
    dialect: Literal["sqlite", "postgres"] = "postgres"

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    def rows(self, sql: str, parameters: Sequence[Any] = ()) -> list[Row]:
        rows: list[Row] = self._connection.execute(
            sql.replace("?", "%s"), tuple(parameters)
        ).fetchall()
        return rows

    def execute(self, sql: str, parameters: Sequence[Any] = ()) -> int:
        from psycopg.errors import UniqueViolation

        try:
            count: int = self._connection.execute(
                sql.replace("?", "%s"), tuple(parameters)
            ).rowcount
        except UniqueViolation as error:
            raise Conflict(str(error)) from error
        return count


class Postgres:
    """A database of a server, which processes of all machines share."""

    dialect: Literal["sqlite", "postgres"] = "postgres"

    def __init__(self, uri: str) -> None:
        try:
            import psycopg
            from psycopg.rows import dict_row
            from psycopg_pool import ConnectionPool
        except ImportError as error:
            raise MissingExtraError(
                "a database in PostgreSQL needs psycopg: pip install 'distgraph[postgres]'"
            ) from error
        psycopg.connect(uri, connect_timeout=10).close()  # a pool would report only a timeout
        self._executor = DaemonExecutor(_CONNECTIONS, thread_name_prefix="distgraph-registry")
        self._pool: Any = ConnectionPool(
            uri,
            kwargs={"row_factory": dict_row, "prepare_threshold": 0},
            min_size=0,
            max_size=_CONNECTIONS,
            open=True,
            name="distgraph-registry",
            check=ConnectionPool.check_connection,
        )

    async def run(self, work: Callable[[Transaction], T], *, write: bool = True) -> T:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._executor, self._carry_out, work)

    def _carry_out(self, work: Callable[[Transaction], T]) -> T:
        with self._pool.connection() as connection, connection.transaction():
            return work(_PostgresTransaction(connection))

    def close(self) -> None:
        self._executor.shutdown()
        self._pool.close(1.0)


def open_database(where: str | Path) -> Database:
    """Open a database: a ``postgres://`` URI, or the path of an SQLite file.

    Raises:
        MissingExtraError: psycopg is not installed.
    """
    name = str(where)
    if name.startswith(("postgres://", "postgresql://")):
        return Postgres(name)
    path = name.removeprefix("sqlite:///")
    if path != ":memory:":
        Path(path).parent.mkdir(parents=True, exist_ok=True)
    return Sqlite(path)
