"""Crons, in the registry's database."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from distgraph.serve.conditions import Condition, Filters, contains, permits
from distgraph.serve.database import Database, Transaction
from distgraph.serve.records import Cron, Page
from distgraph.serve.registry.tables import insert, lock, one, page_of, record_of, update

__all__ = ("Crons",)


class Crons:
    """The crons of the registry.

    Args:
        database: Where they are kept.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, cron: Cron) -> None:
        """Add a cron."""
        await self._database.run(lambda transaction: insert(transaction, "crons", cron))

    async def get(self, cron_id: str, filters: Filters = None) -> Cron | None:
        """Return the cron of that id; None if there is none that the filters permit."""
        return await one(self._database, Cron, "crons", "cron_id", cron_id, filters)

    async def search(
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
            *contains(self._database.dialect, "metadata", metadata),
            *permits(self._database.dialect, "metadata", filters),
        ]
        return await page_of(self._database, Cron, "crons", page, conditions)

    async def change(self, cron_id: str, changes: Mapping[str, Any]) -> None:
        """Set columns of a cron."""
        await self._database.run(
            lambda transaction: update(transaction, "crons", "cron_id", cron_id, changes)
        )

    async def delete(self, cron_id: str) -> None:
        """Delete a cron. Its runs go on."""
        await self._database.run(
            lambda transaction: transaction.execute(
                "DELETE FROM crons WHERE cron_id = ?", [cron_id]
            )
        )

    async def due(self, time: str, following: Callable[[Cron], str | None]) -> list[Cron]:
        """Return the crons whose time has come, each to one of the processes that ask.

        Args:
            time: The time: ISO 8601, UTC.
            following: Returns when the next run of a cron is to start.
        """
        due = "FROM crons WHERE enabled = 1 AND next_run_date <= ?"

        def look(transaction: Transaction) -> bool:
            return bool(transaction.rows(f"SELECT 1 AS one {due} LIMIT 1", [time]))

        def work(transaction: Transaction) -> list[Cron]:
            rows = transaction.rows(f"SELECT * {due}{lock(transaction)}", [time])
            crons = [record_of(Cron, row) for row in rows]
            for cron in crons:
                changes = {"next_run_date": following(cron)}
                update(transaction, "crons", "cron_id", cron.cron_id, changes)
            return crons

        if not await self._database.run(look, write=False):
            return []
        return await self._database.run(work)
