"""What is left to do with the checkpoints of threads whose time to live has passed.

The decision is noted with the change of the thread, in one transaction. So it is carried out by
another process, or later, where the one that took it ends before it has done the work.
"""

from __future__ import annotations

import time as clock
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Literal, NamedTuple

from distgraph.serve.database import Database, Transaction
from distgraph.serve.registry.tables import IS_ACTIVE, lock

__all__ = ("Chore", "Chores", "delete_rows")

_ABANDONED = 600.0
"""Seconds after which a chore that is not done yet is taken again."""


class Chore(NamedTuple):
    """What to do with the checkpoints of one thread."""

    thread_id: str
    work: Literal["delete", "shorten"]
    """Delete all of them, or all but the newest."""


class Chores:
    """The chores of all server processes.

    Args:
        database: Where they are kept.
        on_change: Called with the id of each thread that is deleted.
    """

    def __init__(self, database: Database, on_change: Callable[[str], None]) -> None:
        self._database = database
        self._on_change = on_change

    async def take(
        self, time: datetime, limit: int, *, abandoned: float = _ABANDONED
    ) -> list[Chore]:
        """Delete threads without an active run whose time to live had passed at a time, and take
        the chores that are to be done for them, and for those to be shortened. Each of the
        processes that ask gets others.

        Args:
            time: The time.
            limit: How many at most.
            abandoned: Seconds after which a chore is taken again that somebody took and has not
                done.
        """

        def work(transaction: Transaction) -> list[Chore]:
            taken = clock.time()
            rows = transaction.rows(
                f"SELECT * FROM chores WHERE taken < ? LIMIT ?{lock(transaction)}",
                [taken - abandoned, limit],
            )
            found = [Chore(row["thread_id"], row["work"]) for row in rows]
            for thread_id in _expired(
                transaction, "ttl_strategy = 'delete'", time, limit - len(found)
            ):
                delete_rows(transaction, thread_id)
                found.append(Chore(thread_id, "delete"))
            for thread_id in _expired(transaction, _LEFT, time, limit - len(found)):
                transaction.execute(
                    "UPDATE threads SET shortened_at = updated_at WHERE thread_id = ?", [thread_id]
                )
                found.append(Chore(thread_id, "shorten"))
            for chore in found:
                transaction.execute("DELETE FROM chores WHERE thread_id = ?", [chore.thread_id])
                transaction.execute(
                    "INSERT INTO chores (thread_id, work, taken) VALUES (?, ?, ?)",
                    [chore.thread_id, chore.work, taken],
                )
            return found

        found = await self._database.run(work)
        for chore in found:
            if chore.work == "delete":
                self._on_change(chore.thread_id)
        return found

    async def done(self, chore: Chore) -> None:
        """Note that a chore is done."""
        await self._database.run(
            lambda transaction: transaction.execute(
                "DELETE FROM chores WHERE thread_id = ?", [chore.thread_id]
            )
        )


_LEFT = """ttl_strategy = 'keep_latest'
    AND (shortened_at IS NULL OR shortened_at < updated_at)"""
"""Threads that are to be shortened, and have not been since their last change."""


def _expired(transaction: Transaction, which: str, time: datetime, limit: int) -> list[str]:
    """Return threads without an active run whose time to live had passed at a time."""
    expired: list[str] = []
    for each in transaction.rows("SELECT DISTINCT ttl FROM threads WHERE ttl IS NOT NULL"):
        before = (time - timedelta(minutes=each["ttl"])).isoformat()
        rows = transaction.rows(
            f"""SELECT thread_id FROM threads WHERE ttl = ? AND updated_at < ? AND {which}
            AND NOT EXISTS (SELECT 1 FROM runs WHERE runs.thread_id = threads.thread_id
            AND runs.{IS_ACTIVE}) LIMIT ?{lock(transaction)}""",
            [each["ttl"], before, limit - len(expired)],
        )
        expired += [row["thread_id"] for row in rows]
    return expired


def delete_rows(transaction: Transaction, thread_id: str) -> bool:
    """Delete a thread with its runs and crons; return whether there was one."""
    transaction.execute("DELETE FROM runs WHERE thread_id = ?", [thread_id])
    transaction.execute("DELETE FROM crons WHERE thread_id = ?", [thread_id])
    return transaction.execute("DELETE FROM threads WHERE thread_id = ?", [thread_id]) > 0
