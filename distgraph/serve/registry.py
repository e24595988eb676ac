"""The registry of assistants, threads, runs and crons. All server processes share its database.

The one rule that makes a thread's runs take turns is in the database: a unique index allows one
running run for each thread.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple, TypeVar

from distgraph.serve.access import Filters
from distgraph.serve.conditions import Condition, contains, permits
from distgraph.serve.database import Database, Transaction
from distgraph.serve.encoding import as_json, from_json
from distgraph.serve.records import ACTIVE, Assistant, Cron, Page, Run, RunStatus, Thread, now

__all__ = ("Finished", "Registry", "ThreadNotFound", "sortable")

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

_IS_ACTIVE = "status IN ('pending', 'running')"

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
        each.name: _written(each.name, getattr(record, each.name))
        for each in dataclasses.fields(record)
    }


def _written(name: str, value: Any) -> Any:
    """Return a value as its column has it."""
    if name in _JSON:
        return None if value is None else as_json(value).decode()
    return int(value) if isinstance(value, bool) else value


def _record(cls: type[T], row: Mapping[str, Any]) -> T:
    values: dict[str, Any] = {}
    for each in dataclasses.fields(cls):
        value = row[each.name] if each.name in row else getattr(cls, each.name, None)
        if each.name in _JSON:
            value = from_json(value)
        elif each.name in _BOOLEAN:
            value = bool(value)
        values[each.name] = value
    return cls(**values)


def _insert(transaction: Transaction, table: str, record: Any, **more: Any) -> None:
    columns = {**_columns(record), **more}
    names = ", ".join(f'"{name}"' for name in columns)
    marks = ", ".join("?" for _ in columns)
    transaction.execute(f"INSERT INTO {table} ({names}) VALUES ({marks})", list(columns.values()))


def _update(
    transaction: Transaction, table: str, key: str, id: str, changes: Mapping[str, Any]
) -> int:
    values = [_written(name, value) for name, value in changes.items()]
    assigned = ", ".join(f'"{name}" = ?' for name in changes)
    return transaction.execute(f"UPDATE {table} SET {assigned} WHERE {key} = ?", [*values, id])


def _where(conditions: Sequence[Condition]) -> Condition:
    if not conditions:
        return "", []
    parameters = [p for _, given in conditions for p in given]
    return " WHERE " + " AND ".join(sql for sql, _ in conditions), parameters


def _one_of(column: str, values: Sequence[str]) -> Condition:
    return f"{column} IN ({', '.join('?' for _ in values)})", list(values)


class ThreadNotFound(Exception):
    """There is no thread of that id."""


class Finished(NamedTuple):
    """What the note of a run's end found."""

    first: bool
    """Whether the run was active: the first of several that note its end does so."""
    more: bool
    """Whether another run of the thread is active."""


class Registry:
    """Assistants, threads and runs.

    Args:
        database: Where they are kept.
    """

    def __init__(self, database: Database) -> None:
        self.database = database
        self.on_change: Callable[[str], None] = lambda thread_id: None
        """Called with the id of each thread of which this process has changed a run."""

    async def set_up(self) -> None:
        """Create the tables that are missing."""

        def work(transaction: Transaction) -> None:
            if transaction.dialect == "postgres":  # two processes may start at once
                transaction.rows("SELECT pg_advisory_xact_lock(7264921)")
            for statement in _SCHEMA:
                transaction.execute(statement)
            known = _column_names(transaction, "threads")
            for name, kind in _ADDED.items():
                if name not in known:  # of an older version
                    transaction.execute(f"ALTER TABLE threads ADD COLUMN {name} {kind}")

        await self.database.run(work)

    def close(self) -> None:
        self.database.close()

    # --- assistants -------------------------------------------------------------------------------

    async def add_assistant(self, assistant: Assistant) -> None:
        """Raises:
        Conflict: An assistant of that id exists.
        """

        def work(transaction: Transaction) -> None:
            _insert(transaction, "assistants", assistant)
            _insert(transaction, "assistant_versions", assistant)

        await self.database.run(work)

    async def assistant(self, assistant_id: str, filters: Filters = None) -> Assistant | None:
        """Return the assistant of that id; None if there is none that the filters permit."""
        return await self._one(Assistant, "assistants", "assistant_id", assistant_id, filters)

    async def assistants(
        self,
        page: Page,
        *,
        graph_id: str | None = None,
        name: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        filters: Filters = None,
    ) -> tuple[list[Assistant], int]:
        """Return a page of the assistants, and how many there are in all."""
        dialect = self.database.dialect
        conditions = [
            *([("graph_id = ?", [graph_id])] if graph_id else []),
            *([("lower(name) LIKE ?", [f"%{name.lower()}%"])] if name else []),
            *contains(dialect, "metadata", metadata),
            *permits(dialect, "metadata", filters),
        ]
        return await self._page(Assistant, "assistants", page, conditions)

    async def change_assistant(self, assistant_id: str, changes: Mapping[str, Any]) -> Assistant:
        """Make a new version of an assistant, and return it."""

        def work(transaction: Transaction) -> Assistant:
            versions = transaction.rows(
                "SELECT MAX(version) AS version FROM assistant_versions WHERE assistant_id = ?",
                [assistant_id],
            )
            version = versions[0]["version"] + 1
            _update(
                transaction,
                "assistants",
                "assistant_id",
                assistant_id,
                {**changes, "version": version, "updated_at": now()},
            )
            row = transaction.rows(
                "SELECT * FROM assistants WHERE assistant_id = ?", [assistant_id]
            )
            assistant = _record(Assistant, row[0])
            _insert(transaction, "assistant_versions", assistant)
            return assistant

        return await self.database.run(work)

    async def assistant_versions(
        self, assistant_id: str, page: Page, metadata: Mapping[str, Any] | None
    ) -> tuple[list[Assistant], int]:
        """Return a page of the versions of an assistant, newest first."""
        conditions = [
            ("assistant_id = ?", [assistant_id]),
            *contains(self.database.dialect, "metadata", metadata),
        ]
        page = dataclasses.replace(page, sort_by="version", descending=True)
        return await self._page(Assistant, "assistant_versions", page, conditions)

    async def set_assistant_version(self, assistant_id: str, version: int) -> Assistant | None:
        """Make a version the current one, and return it; None if there is no such version."""

        def work(transaction: Transaction) -> Assistant | None:
            rows = transaction.rows(
                "SELECT * FROM assistant_versions WHERE assistant_id = ? AND version = ?",
                [assistant_id, version],
            )
            if not rows:
                return None
            assistant = _record(Assistant, rows[0])
            transaction.execute("DELETE FROM assistants WHERE assistant_id = ?", [assistant_id])
            _insert(transaction, "assistants", assistant)
            return assistant

        return await self.database.run(work)

    async def delete_assistant(self, assistant_id: str) -> bool:
        """Delete an assistant with its versions; return whether there was one."""

        def work(transaction: Transaction) -> bool:
            transaction.execute(
                "DELETE FROM assistant_versions WHERE assistant_id = ?", [assistant_id]
            )
            return (
                transaction.execute("DELETE FROM assistants WHERE assistant_id = ?", [assistant_id])
                > 0
            )

        return await self.database.run(work)

    # --- threads ----------------------------------------------------------------------------------

    async def add_thread(self, thread: Thread) -> None:
        """Raises:
        Conflict: A thread of that id exists.
        """
        await self.database.run(lambda transaction: _insert(transaction, "threads", thread))

    async def thread(self, thread_id: str, filters: Filters = None) -> Thread | None:
        """Return the thread of that id; None if there is none that the filters permit."""
        return await self._one(Thread, "threads", "thread_id", thread_id, filters)

    async def threads(
        self,
        page: Page,
        *,
        ids: Sequence[str] | None = None,
        status: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        values: Mapping[str, Any] | None = None,
        filters: Filters = None,
    ) -> tuple[list[Thread], int]:
        """Return a page of the threads, and how many there are in all."""
        dialect = self.database.dialect
        conditions: list[Condition] = [
            ("temporary = 0", []),
            *([_one_of("thread_id", ids)] if ids else []),
            *([("status = ?", [status])] if status else []),
            *contains(dialect, "metadata", metadata),
            *contains(dialect, '"values"', values),
            *permits(dialect, "metadata", filters),
        ]
        return await self._page(Thread, "threads", page, conditions)

    async def change_thread(
        self,
        thread_id: str,
        changes: Mapping[str, Any],
        *,
        metadata: Mapping[str, Any] | None = None,
    ) -> None:
        """Set columns of a thread. A thread with an active run stays busy.

        Args:
            metadata: What is merged into its metadata.
        """

        def work(transaction: Transaction) -> None:
            rows = transaction.rows(
                "SELECT metadata FROM threads WHERE thread_id = ?" + _lock(transaction), [thread_id]
            )
            columns = {**changes, "updated_at": now()}
            if metadata and rows:
                columns["metadata"] = {**from_json(rows[0]["metadata"]), **metadata}
            if "status" in columns and transaction.rows(
                f"SELECT 1 AS one FROM runs WHERE thread_id = ? AND {_IS_ACTIVE} LIMIT 1",
                [thread_id],
            ):
                columns["status"] = "busy"
            _update(transaction, "threads", "thread_id", thread_id, columns)

        await self.database.run(work)

    async def delete_thread(self, thread_id: str) -> bool:
        """Delete a thread with its runs and crons; return whether there was one."""
        deleted = await self.database.run(
            lambda transaction: _delete_thread(transaction, thread_id)
        )
        self.on_change(thread_id)
        return deleted

    async def delete_expired_threads(self, time: datetime, limit: int) -> list[str]:
        """Delete threads without an active run whose time to live had passed at a time.

        Returns:
            Their ids, ``limit`` of them at most.
        """

        def work(transaction: Transaction) -> list[str]:
            expired = _expired(transaction, "ttl_strategy = 'delete'", time, limit)
            for thread_id in expired:
                _delete_thread(transaction, thread_id)
            return expired

        deleted = await self.database.run(work)
        for thread_id in deleted:
            self.on_change(thread_id)
        return deleted

    async def take_threads_to_shorten(self, time: datetime, limit: int) -> list[str]:
        """Return threads without an active run whose checkpoints are to be deleted but the newest,
        because their time to live had passed at a time. One of the processes that ask gets each.

        Returns:
            Their ids, ``limit`` of them at most.
        """
        left = """ttl_strategy = 'keep_latest'
            AND (shortened_at IS NULL OR shortened_at < updated_at)"""

        def work(transaction: Transaction) -> list[str]:
            expired = _expired(transaction, left, time, limit)
            for thread_id in expired:
                transaction.execute(
                    "UPDATE threads SET shortened_at = updated_at WHERE thread_id = ?", [thread_id]
                )
            return expired

        return await self.database.run(work)

    async def thread_versions(self, thread_ids: Sequence[str]) -> dict[str, int]:
        """Return the versions of threads; a thread that does not exist is left out."""
        if not thread_ids:
            return {}
        sql, parameters = _one_of("thread_id", thread_ids)

        def work(transaction: Transaction) -> dict[str, int]:
            rows = transaction.rows(
                f"SELECT thread_id, version FROM threads WHERE {sql}", parameters
            )
            return {row["thread_id"]: row["version"] for row in rows}

        return await self.database.run(work, write=False)

    async def forgotten_threads(self, before: str) -> list[str]:
        """Return the temporary threads without an active run that were last changed before a
        time."""

        def work(transaction: Transaction) -> list[str]:
            rows = transaction.rows(
                """SELECT thread_id FROM threads WHERE temporary = 1 AND updated_at < ?
                   AND NOT EXISTS (SELECT 1 FROM runs WHERE runs.thread_id = threads.thread_id
                                   AND runs.status IN ('pending', 'running'))""",
                [before],
            )
            return [row["thread_id"] for row in rows]

        return await self.database.run(work, write=False)

    # --- runs -------------------------------------------------------------------------------------

    async def add_run(
        self,
        run: Run,
        *,
        only_if_idle: bool = False,
        thread: Thread | None = None,
        claim: bool = False,
    ) -> Run | None:
        """Add a run as the last of its thread; None if it is to be the only active one, and is not.

        The thread's metadata gets ``graph_id`` and ``assistant_id``, its status is "busy".

        Args:
            run: The run.
            only_if_idle: Whether it is to be the only active run of its thread.
            thread: The thread, where it is made for the run.
            claim: Whether the run is claimed by its owner, if it is its turn; see ``claim``.

        Raises:
            ThreadNotFound: The thread was deleted.
        """

        def work(transaction: Transaction) -> Run | None:
            if thread is not None:
                _insert(transaction, "threads", thread)
            threads = transaction.rows(
                "SELECT metadata, next_number FROM threads WHERE thread_id = ?"
                + _lock(transaction),
                [run.thread_id],
            )
            if not threads:  # a run without a thread would never get its turn
                raise ThreadNotFound(run.thread_id)
            rows = transaction.rows(
                """SELECT MAX(ordinal) AS ordinal,
                   SUM(CASE WHEN status IN ('pending', 'running') THEN 1 ELSE 0 END) AS active
                   FROM runs WHERE thread_id = ?""",
                [run.thread_id],
            )
            if only_if_idle and rows[0]["active"]:
                return None
            added = dataclasses.replace(run, ordinal=(rows[0]["ordinal"] or 0) + 1)
            if claim and not rows[0]["active"] and run.start_at <= time.time():
                added = dataclasses.replace(added, status="running", base=threads[0]["next_number"])
            _insert(transaction, "runs", added)
            metadata = {
                **from_json(threads[0]["metadata"]),
                "graph_id": run.graph_id,
                "assistant_id": run.assistant_id,
            }
            changes = {"metadata": metadata, "status": "busy", "updated_at": now()}
            _update(transaction, "threads", "thread_id", run.thread_id, changes)
            if thread is None:  # nobody else knows a new one
                _touch(transaction, run.thread_id)
            return added

        added = await self.database.run(work)
        self.on_change(run.thread_id)
        return added

    async def run(self, run_id: str, thread_id: str | None = None) -> Run | None:
        """Return the run of that id; None if there is none on that thread."""
        run = await self._one(Run, "runs", "run_id", run_id, None)
        return None if run is None or thread_id not in (None, run.thread_id) else run

    async def runs(
        self, thread_id: str, page: Page, status: str | None = None
    ) -> tuple[list[Run], int]:
        """Return a page of the runs of a thread, newest first."""
        conditions: list[Condition] = [("thread_id = ?", [thread_id])]
        if status is not None:
            conditions.append(("status = ?", [status]))
        page = dataclasses.replace(page, sort_by="ordinal", descending=True)
        return await self._page(Run, "runs", page, conditions)

    async def runs_from(self, thread_id: str, number: int) -> list[Run]:
        """Return the started runs of a thread with events after a number of its log, oldest
        first."""

        def work(transaction: Transaction) -> list[Run]:
            rows = transaction.rows(
                """SELECT * FROM runs WHERE thread_id = ? AND base IS NOT NULL
                   AND (last IS NULL OR base + last > ?) ORDER BY base""",
                [thread_id, number],
            )
            return [_record(Run, row) for row in rows]

        return await self.database.run(work, write=False)

    async def active_runs(
        self, thread_id: str | None = None, status: str | None = None
    ) -> list[Run]:
        """Return the runs that have not ended, in the order of their creation."""
        statuses = list(ACTIVE) if status in (None, "all") else [str(status)]
        conditions: list[Condition] = [_one_of("status", statuses)]
        if thread_id is not None:
            conditions.append(("thread_id = ?", [thread_id]))
        where, parameters = _where(conditions)

        def work(transaction: Transaction) -> list[Run]:
            rows = transaction.rows(f"SELECT * FROM runs{where} ORDER BY ordinal", parameters)
            return [_record(Run, row) for row in rows]

        return await self.database.run(work, write=False)

    async def claim(self, thread_id: str, owner: str) -> Run | None:
        """Make the thread's next run the running one, and return it.

        None if another one runs, none waits, or the next one's time has not come.
        """

        def work(transaction: Transaction) -> Run | None:
            threads = transaction.rows(
                "SELECT next_number FROM threads WHERE thread_id = ?" + _lock(transaction),
                [thread_id],
            )
            rows = transaction.rows(
                """SELECT * FROM runs WHERE thread_id = ?
                   AND status IN ('pending', 'running') ORDER BY ordinal""",
                [thread_id],
            )
            if not threads or any(row["status"] == "running" for row in rows):
                return None
            due = [row for row in rows if row["start_at"] <= time.time()]
            if not due:
                return None
            run = dataclasses.replace(
                _record(Run, due[0]),
                status="running",
                base=threads[0]["next_number"],
                owner=owner,
                updated_at=now(),
            )
            changes = {
                "status": "running",
                "base": run.base,
                "owner": owner,
                "updated_at": run.updated_at,
            }
            _update(transaction, "runs", "run_id", run.run_id, changes)
            _touch(transaction, thread_id)
            return run

        claimed = await self.database.run(work)
        if claimed is not None:
            self.on_change(thread_id)
        return claimed

    async def request_end(self, run_id: str, how: str) -> None:
        """Note how a run is to end: "interrupt" or "rollback"."""
        await self.database.run(
            lambda transaction: _update(transaction, "runs", "run_id", run_id, {"ends": how})
        )

    async def finish(
        self,
        run: Run,
        status: RunStatus,
        *,
        last: int,
        thread: Mapping[str, Any],
        error: Mapping[str, Any] | None = None,
        delete: bool = False,
        if_unclaimed: bool = False,
    ) -> Finished:
        """Note the end of a run, and what it left of its thread; ``delete`` it where asked.

        ``if_unclaimed``: a run that was claimed meanwhile is left as it is.
        """
        active = "run_id = ? AND status IN ('pending', 'running')"
        if if_unclaimed:
            active += " AND base IS NULL"

        def work(transaction: Transaction) -> Finished:
            transaction.rows(
                "SELECT 1 AS one FROM threads WHERE thread_id = ?" + _lock(transaction),
                [run.thread_id],
            )
            if delete:
                changed = transaction.execute(f"DELETE FROM runs WHERE {active}", [run.run_id])
            else:
                changed = transaction.execute(
                    f"""UPDATE runs SET status = ?, last = ?, error = ?, updated_at = ?
                   WHERE {active}""",
                    [
                        status,
                        last,
                        None if error is None else as_json(error).decode(),
                        now(),
                        run.run_id,
                    ],
                )
            waiting = transaction.rows(
                """SELECT 1 AS one FROM runs WHERE thread_id = ?
                   AND status IN ('pending', 'running') LIMIT 1""",
                [run.thread_id],
            )
            if not changed:
                return Finished(first=False, more=bool(waiting))
            changes = {**thread, "updated_at": now()}
            if waiting:
                changes["status"] = "busy"
            if run.base is not None:
                changes["next_number"] = run.base + last + 1
            _update(transaction, "threads", "thread_id", run.thread_id, changes)
            _touch(transaction, run.thread_id)
            return Finished(first=True, more=bool(waiting))

        finished = await self.database.run(work)
        self.on_change(run.thread_id)
        return finished

    async def delete_run(self, run: Run) -> bool:
        """Delete a run; return whether there was one."""

        def work(transaction: Transaction) -> bool:
            deleted = transaction.execute("DELETE FROM runs WHERE run_id = ?", [run.run_id]) > 0
            _touch(transaction, run.thread_id)
            return deleted

        deleted = await self.database.run(work)
        self.on_change(run.thread_id)
        return deleted

    # --- crons ------------------------------------------------------------------------------------

    async def add_cron(self, cron: Cron) -> None:
        """Add a cron."""
        await self.database.run(lambda transaction: _insert(transaction, "crons", cron))

    async def cron(self, cron_id: str, filters: Filters = None) -> Cron | None:
        """Return the cron of that id; None if there is none that the filters permit."""
        return await self._one(Cron, "crons", "cron_id", cron_id, filters)

    async def crons(
        self,
        page: Page,
        *,
        assistant_id: str | None = None,
        thread_id: str | None = None,
        user_id: str | None = None,
        enabled: bool | None = None,
        metadata: Mapping[str, Any] | None = None,
        filters: Filters = None,
    ) -> tuple[list[Cron], int]:
        """Return a page of the crons, and how many there are in all."""
        equal = {"assistant_id": assistant_id, "thread_id": thread_id, "user_id": user_id}
        conditions: list[Condition] = [
            *((f"{column} = ?", [value]) for column, value in equal.items() if value is not None),
            *([] if enabled is None else [("enabled = ?", [int(enabled)])]),
            *contains(self.database.dialect, "metadata", metadata),
            *permits(self.database.dialect, "metadata", filters),
        ]
        return await self._page(Cron, "crons", page, conditions)

    async def change_cron(self, cron_id: str, changes: Mapping[str, Any]) -> None:
        """Set columns of a cron."""
        await self.database.run(
            lambda transaction: _update(transaction, "crons", "cron_id", cron_id, changes)
        )

    async def delete_cron(self, cron_id: str) -> None:
        """Delete a cron. Its runs go on."""
        await self.database.run(
            lambda transaction: transaction.execute(
                "DELETE FROM crons WHERE cron_id = ?", [cron_id]
            )
        )

    async def due_crons(self, time: str, following: Callable[[Cron], str | None]) -> list[Cron]:
        """Return the crons whose time has come, each to one of the processes that ask.

        Args:
            time: The time: ISO 8601, UTC.
            following: Returns when the next run of a cron is to start.
        """
        due = "FROM crons WHERE enabled = 1 AND next_run_date <= ?"

        def look(transaction: Transaction) -> bool:
            return bool(transaction.rows(f"SELECT 1 AS one {due} LIMIT 1", [time]))

        def work(transaction: Transaction) -> list[Cron]:
            rows = transaction.rows(f"SELECT * {due}{_lock(transaction)}", [time])
            crons = [_record(Cron, row) for row in rows]
            for cron in crons:
                changes = {"next_run_date": following(cron)}
                _update(transaction, "crons", "cron_id", cron.cron_id, changes)
            return crons

        if not await self.database.run(look, write=False):
            return []
        return await self.database.run(work)

    # --- server processes -------------------------------------------------------------------------

    async def seen(self, owner: str) -> None:
        """Note that a server process lives."""

        def work(transaction: Transaction) -> None:
            if not _update(transaction, "servers", "owner", owner, {"seen": time.time()}):
                transaction.execute(
                    "INSERT INTO servers (owner, seen) VALUES (?, ?)", [owner, time.time()]
                )

        await self.database.run(work)

    async def adopt(self, owner: str, silence: float) -> list[Run]:
        """Take over the active runs of server processes that have been silent, and return them."""

        def work(transaction: Transaction) -> list[Run]:
            rows = transaction.rows(
                f"""SELECT * FROM runs WHERE status IN ('pending', 'running')
                   AND (owner IS NULL OR owner <> ? AND
                        owner NOT IN (SELECT owner FROM servers WHERE seen > ?))
                   ORDER BY ordinal{_lock(transaction)}""",
                [owner, time.time() - silence],
            )
            for row in rows:
                _update(transaction, "runs", "run_id", row["run_id"], {"owner": owner})
            return [dataclasses.replace(_record(Run, row), owner=owner) for row in rows]

        return await self.database.run(work)

    # --- common -----------------------------------------------------------------------------------

    async def _one(self, cls: type[T], table: str, key: str, id: str, filters: Filters) -> T | None:
        conditions = [
            (f"{key} = ?", [id]),
            *permits(self.database.dialect, "metadata", filters),
        ]
        where, parameters = _where(conditions)

        def work(transaction: Transaction) -> T | None:
            rows = transaction.rows(f"SELECT * FROM {table}{where}", parameters)
            return _record(cls, rows[0]) if rows else None

        return await self.database.run(work, write=False)

    async def _page(
        self, cls: type[T], table: str, page: Page, conditions: Sequence[Condition]
    ) -> tuple[list[T], int]:
        where: str
        given: list[Any]
        where, given = _where(conditions)
        order = "DESC" if page.descending else "ASC"

        def work(transaction: Transaction) -> tuple[list[T], int]:
            total = transaction.rows(f"SELECT COUNT(*) AS total FROM {table}{where}", given)
            rows = transaction.rows(
                f'SELECT * FROM {table}{where} ORDER BY "{page.sort_by}" {order} LIMIT ? OFFSET ?',
                [*given, page.limit, page.offset],
            )
            return [_record(cls, row) for row in rows], total[0]["total"]

        return await self.database.run(work, write=False)


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


def _expired(transaction: Transaction, which: str, time: datetime, limit: int) -> list[str]:
    """Return threads without an active run whose time to live had passed at a time."""
    expired: list[str] = []
    for each in transaction.rows("SELECT DISTINCT ttl FROM threads WHERE ttl IS NOT NULL"):
        before = (time - timedelta(minutes=each["ttl"])).isoformat()
        rows = transaction.rows(
            f"""SELECT thread_id FROM threads WHERE ttl = ? AND updated_at < ? AND {which}
            AND NOT EXISTS (SELECT 1 FROM runs WHERE runs.thread_id = threads.thread_id
            AND runs.{_IS_ACTIVE}) LIMIT ?{_lock(transaction)}""",
            [each["ttl"], before, limit - len(expired)],
        )
        expired += [row["thread_id"] for row in rows]
    return expired


def _delete_thread(transaction: Transaction, thread_id: str) -> bool:
    transaction.execute("DELETE FROM runs WHERE thread_id = ?", [thread_id])
    transaction.execute("DELETE FROM crons WHERE thread_id = ?", [thread_id])
    return transaction.execute("DELETE FROM threads WHERE thread_id = ?", [thread_id]) > 0


def _lock(transaction: Transaction) -> str:
    return " FOR UPDATE" if transaction.dialect == "postgres" else ""


def _touch(transaction: Transaction, thread_id: str) -> None:
    transaction.execute("UPDATE threads SET version = version + 1 WHERE thread_id = ?", [thread_id])
