"""The registry of assistants, threads, runs and crons. All server processes share its database.

The one rule that makes a thread's runs take turns is in the database: a unique index allows one
running run for each thread.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple, get_args

from distgraph.serve.conditions import Condition, Filters, contains, permits
from distgraph.serve.database import Database, Transaction
from distgraph.serve.encoding import as_json, from_json
from distgraph.serve.records import ACTIVE, Page, Run, RunStatus, Thread, ThreadStatus, now
from distgraph.serve.registry.assistants import Assistants
from distgraph.serve.registry.chores import Chore, Chores, delete_rows
from distgraph.serve.registry.crons import Crons
from distgraph.serve.registry.tables import (
    IS_ACTIVE,
    insert,
    lock,
    one,
    one_of,
    page_of,
    record_of,
    set_up,
    sortable,
    touch,
    update,
    where,
)

__all__ = ("Chore", "Counts", "Finished", "Registry", "ThreadNotFound", "sortable")


class ThreadNotFound(Exception):
    """There is no thread of that id."""


class Finished(NamedTuple):
    """What the note of a run's end found."""

    first: bool
    """Whether the run was active: the first of several that note its end does so."""
    more: bool
    """Whether another run of the thread is active."""


class Counts(NamedTuple):
    """How much the registry keeps."""

    runs: Mapping[str, int]
    """By status."""
    threads: Mapping[str, int]
    """By status."""
    crons: Mapping[str, int]
    """By whether they are enabled: "true" and "false"."""
    longest_wait: float
    """Seconds for which the oldest pending run has waited since its time; 0 without one."""


class Registry:
    """Threads and runs, assistants, crons, chores and server processes.

    Args:
        database: Where they are kept.
    """

    def __init__(self, database: Database) -> None:
        self.database = database
        self.assistants = Assistants(database)
        self.crons = Crons(database)
        self.chores = Chores(database, self._changed)
        self.on_change: Callable[[str], None] = lambda thread_id: None
        """Called with the id of each thread of which this process has changed a run."""

    async def set_up(self) -> None:
        """Create the tables that are missing."""
        await self.database.run(set_up)

    def close(self) -> None:
        self.database.close()

    def _changed(self, thread_id: str) -> None:
        self.on_change(thread_id)

    # --- threads ----------------------------------------------------------------------------------

    async def add_thread(self, thread: Thread) -> None:
        """Raises:
        Conflict: A thread of that id exists.
        """
        await self.database.run(lambda transaction: insert(transaction, "threads", thread))

    async def thread(self, thread_id: str, filters: Filters = None) -> Thread | None:
        """Return the thread of that id; None if there is none that the filters permit."""
        return await one(self.database, Thread, "threads", "thread_id", thread_id, filters)

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
            *([one_of("thread_id", ids)] if ids else []),
            *([("status = ?", [status])] if status else []),
            *contains(dialect, "metadata", metadata),
            *contains(dialect, '"values"', values),
            *permits(dialect, "metadata", filters),
        ]
        return await page_of(self.database, Thread, "threads", page, conditions)

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
                "SELECT metadata FROM threads WHERE thread_id = ?" + lock(transaction), [thread_id]
            )
            columns = {**changes, "updated_at": now()}
            if metadata and rows:
                columns["metadata"] = {**from_json(rows[0]["metadata"]), **metadata}
            if "status" in columns and transaction.rows(
                f"SELECT 1 AS one FROM runs WHERE thread_id = ? AND {IS_ACTIVE} LIMIT 1",
                [thread_id],
            ):
                columns["status"] = "busy"
            update(transaction, "threads", "thread_id", thread_id, columns)

        await self.database.run(work)

    async def delete_thread(self, thread_id: str) -> bool:
        """Delete a thread with its runs and crons; return whether there was one."""
        deleted = await self.database.run(lambda transaction: delete_rows(transaction, thread_id))
        self.on_change(thread_id)
        return deleted

    async def thread_versions(self, thread_ids: Sequence[str]) -> dict[str, int]:
        """Return the versions of threads; a thread that does not exist is left out."""
        if not thread_ids:
            return {}
        sql, parameters = one_of("thread_id", thread_ids)

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
                insert(transaction, "threads", thread)
            threads = transaction.rows(
                "SELECT metadata, next_number FROM threads WHERE thread_id = ?" + lock(transaction),
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
            insert(transaction, "runs", added)
            metadata = {
                **from_json(threads[0]["metadata"]),
                "graph_id": run.graph_id,
                "assistant_id": run.assistant_id,
            }
            changes = {"metadata": metadata, "status": "busy", "updated_at": now()}
            update(transaction, "threads", "thread_id", run.thread_id, changes)
            if thread is None:  # nobody else knows a new one
                touch(transaction, run.thread_id)
            return added

        added = await self.database.run(work)
        self.on_change(run.thread_id)
        return added

    async def run(self, run_id: str, thread_id: str | None = None) -> Run | None:
        """Return the run of that id; None if there is none on that thread."""
        run = await one(self.database, Run, "runs", "run_id", run_id, None)
        return None if run is None or thread_id not in (None, run.thread_id) else run

    async def runs(
        self, thread_id: str, page: Page, status: str | None = None
    ) -> tuple[list[Run], int]:
        """Return a page of the runs of a thread, newest first."""
        conditions: list[Condition] = [("thread_id = ?", [thread_id])]
        if status is not None:
            conditions.append(("status = ?", [status]))
        page = dataclasses.replace(page, sort_by="ordinal", descending=True)
        return await page_of(self.database, Run, "runs", page, conditions)

    async def runs_from(self, thread_id: str, number: int) -> list[Run]:
        """Return the started runs of a thread with events after a number of its log, oldest
        first."""

        def work(transaction: Transaction) -> list[Run]:
            rows = transaction.rows(
                """SELECT * FROM runs WHERE thread_id = ? AND base IS NOT NULL
                   AND (last IS NULL OR base + last > ?) ORDER BY base""",
                [thread_id, number],
            )
            return [record_of(Run, row) for row in rows]

        return await self.database.run(work, write=False)

    async def active_runs(
        self, thread_id: str | None = None, status: str | None = None
    ) -> list[Run]:
        """Return the runs that have not ended, in the order of their creation."""
        statuses = list(ACTIVE) if status in (None, "all") else [str(status)]
        conditions: list[Condition] = [one_of("status", statuses)]
        if thread_id is not None:
            conditions.append(("thread_id = ?", [thread_id]))
        sql, parameters = where(conditions)

        def work(transaction: Transaction) -> list[Run]:
            rows = transaction.rows(f"SELECT * FROM runs{sql} ORDER BY ordinal", parameters)
            return [record_of(Run, row) for row in rows]

        return await self.database.run(work, write=False)

    async def claim(self, thread_id: str, owner: str) -> Run | None:
        """Make the thread's next run the running one, and return it.

        None if another one runs, none waits, or the next one's time has not come.
        """

        def work(transaction: Transaction) -> Run | None:
            threads = transaction.rows(
                "SELECT next_number FROM threads WHERE thread_id = ?" + lock(transaction),
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
                record_of(Run, due[0]),
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
            update(transaction, "runs", "run_id", run.run_id, changes)
            touch(transaction, thread_id)
            return run

        claimed = await self.database.run(work)
        if claimed is not None:
            self.on_change(thread_id)
        return claimed

    async def request_end(self, run_id: str, how: str) -> None:
        """Note how a run is to end: "interrupt" or "rollback"."""
        await self.database.run(
            lambda transaction: update(transaction, "runs", "run_id", run_id, {"ends": how})
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
                "SELECT 1 AS one FROM threads WHERE thread_id = ?" + lock(transaction),
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
            update(transaction, "threads", "thread_id", run.thread_id, changes)
            touch(transaction, run.thread_id)
            return Finished(first=True, more=bool(waiting))

        finished = await self.database.run(work)
        self.on_change(run.thread_id)
        return finished

    async def delete_run(self, run: Run) -> bool:
        """Delete a run; return whether there was one."""

        def work(transaction: Transaction) -> bool:
            deleted = transaction.execute("DELETE FROM runs WHERE run_id = ?", [run.run_id]) > 0
            touch(transaction, run.thread_id)
            return deleted

        deleted = await self.database.run(work)
        self.on_change(run.thread_id)
        return deleted

    # --- server processes -------------------------------------------------------------------------

    async def seen(self, owner: str) -> None:
        """Note that a server process lives."""

        def work(transaction: Transaction) -> None:
            if not update(transaction, "servers", "owner", owner, {"seen": time.time()}):
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
                   ORDER BY ordinal{lock(transaction)}""",
                [owner, time.time() - silence],
            )
            for row in rows:
                update(transaction, "runs", "run_id", row["run_id"], {"owner": owner})
            return [dataclasses.replace(record_of(Run, row), owner=owner) for row in rows]

        return await self.database.run(work)

    # --- numbers ----------------------------------------------------------------------------------

    async def counts(self) -> Counts:
        """Return how much the registry keeps."""

        def work(transaction: Transaction) -> Counts:
            def by(table: str, column: str) -> dict[Any, int]:
                sql = f"SELECT {column} AS key, COUNT(*) AS total FROM {table} GROUP BY {column}"
                return {row["key"]: row["total"] for row in transaction.rows(sql)}

            runs, threads = by("runs", "status"), by("threads", "status")
            crons = by("crons", "enabled")
            time_now, wait = time.time(), 0.0
            for row in transaction.rows(
                """SELECT created_at, start_at FROM runs WHERE status = 'pending'
                   AND start_at <= ? ORDER BY created_at LIMIT 1""",
                [time_now],
            ):
                made = datetime.fromisoformat(row["created_at"]).timestamp()
                wait = max(0.0, time_now - max(made, row["start_at"]))
            return Counts(
                {status: runs.get(status, 0) for status in get_args(RunStatus)},
                {status: threads.get(status, 0) for status in get_args(ThreadStatus)},
                {"true": crons.get(1, 0), "false": crons.get(0, 0)},
                wait,
            )

        return await self.database.run(work, write=False)
