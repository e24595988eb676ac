"""The tables of the registry, and rows of them as records."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from distgraph.serve.conditions import Condition, Filters, permits
from distgraph.serve.database import Database, Transaction
from distgraph.serve.encoding import as_json, from_json
from distgraph.serve.records import Assistant, Cron, Page, Run, Thread

__all__ = (
    "IS_ACTIVE",
    "insert",
    "lock",
    "one",
    "one_of",
    "page_of",
    "record_of",
    "set_up",
    "sortable",
    "touch",
    "update",
    "where",
    "written",
)

T = TypeVar("T", Assistant, Thread, Run, Cron)

_SCHEMA = (
    """CREATE TABLE IF NOT EXISTS assistants (
        assistant_id TEXT PRIMARY KEY, graph_id TEXT NOT NULL, name TEXT NOT NULL,
        created_at TEXT NOT NULL, updated_at TEXT NOT NULL, config TEXT NOT NULL,
        context TEXT NOT NULL, metadata TEXT NOT NULL, description TEXT,
        version INTEGER NOT NULL)""",
    """CREATE TABLE IF NOT EXISTS assistant_versions (
        assistant_id TEXT NOT NULL, version INTEGER NOT NULL, graph_id TEXT NOT NULL,
        name TEXT NOT NULL, created_at TEXT NOT NULL, updated_at TEXT NOT NULL,
        config TEXT NOT NULL, context TEXT NOT NULL, metadata TEXT NOT NULL, description TEXT,
        PRIMARY KEY (assistant_id, version))""",
    """CREATE TABLE IF NOT EXISTS threads (
        thread_id TEXT PRIMARY KEY, created_at TEXT NOT NULL, updated_at TEXT NOT NULL,
        state_updated_at TEXT NOT NULL, metadata TEXT NOT NULL, config TEXT NOT NULL,
        status TEXT NOT NULL, "values" TEXT, interrupts TEXT, error TEXT,
        next_number BIGINT NOT NULL, temporary INTEGER NOT NULL, version BIGINT NOT NULL,
        ttl DOUBLE PRECISION, ttl_strategy TEXT NOT NULL DEFAULT 'delete', shortened_at TEXT)""",
    """CREATE TABLE IF NOT EXISTS runs (
        run_id TEXT PRIMARY KEY, thread_id TEXT NOT NULL, assistant_id TEXT NOT NULL,
        graph_id TEXT NOT NULL, created_at TEXT NOT NULL, updated_at TEXT NOT NULL,
        status TEXT NOT NULL, metadata TEXT NOT NULL, kwargs TEXT NOT NULL,
        multitask_strategy TEXT NOT NULL, ordinal BIGINT NOT NULL, base BIGINT, last BIGINT,
        owner TEXT, start_at DOUBLE PRECISION NOT NULL, ends TEXT NOT NULL, error TEXT,
        UNIQUE (thread_id, ordinal))""",
    """CREATE UNIQUE INDEX IF NOT EXISTS one_running_run ON runs (thread_id)
        WHERE status = 'running'""",
    "CREATE INDEX IF NOT EXISTS runs_by_status ON runs (status)",
    "CREATE INDEX IF NOT EXISTS threads_by_time ON threads (created_at)",
    """CREATE INDEX IF NOT EXISTS temporary_threads ON threads (updated_at)
        WHERE temporary = 1""",
    """CREATE TABLE IF NOT EXISTS crons (
        cron_id TEXT PRIMARY KEY, assistant_id TEXT NOT NULL, schedule TEXT NOT NULL,
        created_at TEXT NOT NULL, updated_at TEXT NOT NULL, thread_id TEXT, payload TEXT NOT NULL,
        metadata TEXT NOT NULL, timezone TEXT, end_time TEXT, next_run_date TEXT,
        on_run_completed TEXT NOT NULL, enabled INTEGER NOT NULL, user_id TEXT,
        origin TEXT NOT NULL)""",
    "CREATE INDEX IF NOT EXISTS crons_by_next_run ON crons (next_run_date)",
    """CREATE TABLE IF NOT EXISTS chores (
        thread_id TEXT PRIMARY KEY, work TEXT NOT NULL, taken DOUBLE PRECISION NOT NULL)""",
    "CREATE TABLE IF NOT EXISTS servers (owner TEXT PRIMARY KEY, seen DOUBLE PRECISION NOT NULL)",
)

_ADDED = {
    "ttl": "DOUBLE PRECISION",
    "ttl_strategy": "TEXT NOT NULL DEFAULT 'delete'",
    "shortened_at": "TEXT",
}
"""Columns of ``threads`` that older versions did not have."""

_JSON = frozenset(
    {"config", "context", "metadata", "values", "interrupts", "error", "kwargs", "payload",
     "origin"}
)  # fmt: skip

_BOOLEAN = ("temporary", "enabled")

IS_ACTIVE = "status IN ('pending', 'running')"

_SORTED = {
    Assistant: ("assistant_id", "graph_id", "name", "created_at", "updated_at"),
    Thread: ("thread_id", "status", "created_at", "updated_at", "state_updated_at"),
    Run: ("created_at",),
    Cron: (
        "cron_id",
        "assistant_id",
        "thread_id",
        "created_at",
        "updated_at",
        "next_run_date",
        "end_time",
    ),
}


def _columns(record: Any) -> dict[str, Any]:
    return {
        each.name: written(each.name, getattr(record, each.name))
        for each in dataclasses.fields(record)
    }


def written(name: str, value: Any) -> Any:
    """Return a value as its column has it."""
    if name in _JSON:
        return None if value is None else as_json(value).decode()
    return int(value) if isinstance(value, bool) else value


def record_of(cls: type[T], row: Mapping[str, Any]) -> T:
    """Return the record of a row."""
    values: dict[str, Any] = {}
    for each in dataclasses.fields(cls):
        value = row[each.name] if each.name in row else getattr(cls, each.name, None)
        if each.name in _JSON:
            value = from_json(value)
        elif each.name in _BOOLEAN:
            value = bool(value)
        values[each.name] = value
    return cls(**values)


def insert(transaction: Transaction, table: str, record: Any, **more: Any) -> None:
    """Add a record to a table.

    Raises:
        Conflict: A row with its key exists.
    """
    columns = {**_columns(record), **more}
    names = ", ".join(f'"{name}"' for name in columns)
    marks = ", ".join("?" for _ in columns)
    transaction.execute(f"INSERT INTO {table} ({names}) VALUES ({marks})", list(columns.values()))


def update(
    transaction: Transaction, table: str, key: str, id: str, changes: Mapping[str, Any]
) -> int:
    """Set columns of the row with a key, and return whether there is one: 1 or 0."""
    values = [written(name, value) for name, value in changes.items()]
    assigned = ", ".join(f'"{name}" = ?' for name in changes)
    return transaction.execute(f"UPDATE {table} SET {assigned} WHERE {key} = ?", [*values, id])


def where(conditions: Sequence[Condition]) -> Condition:
    """Return the ``WHERE`` of all of some conditions."""
    if not conditions:
        return "", []
    parameters = [p for _, given in conditions for p in given]
    return " WHERE " + " AND ".join(sql for sql, _ in conditions), parameters


def one_of(column: str, values: Sequence[str]) -> Condition:
    """Return the condition that a column has one of several values."""
    return f"{column} IN ({', '.join('?' for _ in values)})", list(values)


def set_up(transaction: Transaction) -> None:
    """Create the tables and columns that are missing."""
    if transaction.dialect == "postgres":  # two processes may start at once
        transaction.rows("SELECT pg_advisory_xact_lock(7264921)")
    for statement in _SCHEMA:
        transaction.execute(statement)
    known = _column_names(transaction, "threads")
    for name, kind in _ADDED.items():
        if name not in known:  # of an older version
            transaction.execute(f"ALTER TABLE threads ADD COLUMN {name} {kind}")


def sortable(cls: type[Any]) -> tuple[str, ...]:
    """Return the fields by which a list may be sorted."""
    return _SORTED[cls]


def _column_names(transaction: Transaction, table: str) -> set[str]:
    sql = (
        "SELECT column_name AS name FROM information_schema.columns WHERE table_name = ?"
        if transaction.dialect == "postgres"
        else "SELECT name FROM pragma_table_info(?)"
    )
    return {row["name"] for row in transaction.rows(sql, [table])}


def lock(transaction: Transaction) -> str:
    """Return what a query ends with whose rows the transaction is going to change."""
    return " FOR UPDATE" if transaction.dialect == "postgres" else ""


def touch(transaction: Transaction, thread_id: str) -> None:
    """Make other processes see that a thread's runs have changed."""
    transaction.execute("UPDATE threads SET version = version + 1 WHERE thread_id = ?", [thread_id])


async def one(
    database: Database, cls: type[T], table: str, key: str, id: str, filters: Filters
) -> T | None:
    """Return the record with a key; None if there is none that the filters permit."""
    sql, parameters = where([(f"{key} = ?", [id]), *permits(database.dialect, "metadata", filters)])

    def work(transaction: Transaction) -> T | None:
        rows = transaction.rows(f"SELECT * FROM {table}{sql}", parameters)
        return record_of(cls, rows[0]) if rows else None

    return await database.run(work, write=False)


async def page_of(
    database: Database, cls: type[T], table: str, page: Page, conditions: Sequence[Condition]
) -> tuple[list[T], int]:
    """Return a page of the records that meet some conditions, and how many there are in all."""
    sql: str
    given: list[Any]
    sql, given = where(conditions)
    order = "DESC" if page.descending else "ASC"

    def work(transaction: Transaction) -> tuple[list[T], int]:
        total = transaction.rows(f"SELECT COUNT(*) AS total FROM {table}{sql}", given)
        rows = transaction.rows(
            f'SELECT * FROM {table}{sql} ORDER BY "{page.sort_by}" {order} LIMIT ? OFFSET ?',
            [*given, page.limit, page.offset],
        )
        return [record_of(cls, row) for row in rows], total[0]["total"]

    return await database.run(work, write=False)
