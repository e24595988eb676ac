"""Assistants and their versions, in the registry's database."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from distgraph.serve.conditions import Filters, contains, permits
from distgraph.serve.database import Database, Transaction
from distgraph.serve.records import Assistant, Page, now
from distgraph.serve.registry.tables import insert, one, page_of, record_of, update

__all__ = ("Assistants",)


class Assistants:
    """The assistants of the registry.

    Args:
        database: Where they are kept.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    async def add(self, assistant: Assistant) -> None:
        """Raises:
        Conflict: An assistant of that id exists.
        """

        def work(transaction: Transaction) -> None:
            insert(transaction, "assistants", assistant)
            insert(transaction, "assistant_versions", assistant)

        await self._database.run(work)

    async def get(self, assistant_id: str, filters: Filters = None) -> Assistant | None:
        """Return the assistant of that id; None if there is none that the filters permit."""
        return await one(
            self._database, Assistant, "assistants", "assistant_id", assistant_id, filters
        )

    async def search(
        self,
        page: Page,
        *,
        graph_id: str | None = None,
        name: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        filters: Filters = None,
    ) -> tuple[list[Assistant], int]:
        """Return a page of the assistants, and how many there are in all."""
        dialect = self._database.dialect
        conditions = [
            *([("graph_id = ?", [graph_id])] if graph_id else []),
            *([("lower(name) LIKE ?", [f"%{name.lower()}%"])] if name else []),
            *contains(dialect, "metadata", metadata),
            *permits(dialect, "metadata", filters),
        ]
        return await page_of(self._database, Assistant, "assistants", page, conditions)

    async def change(self, assistant_id: str, changes: Mapping[str, Any]) -> Assistant:
        """Make a new version of an assistant, and return it."""

        def work(transaction: Transaction) -> Assistant:
            versions = transaction.rows(
                "SELECT MAX(version) AS version FROM assistant_versions WHERE assistant_id = ?",
                [assistant_id],
            )
            version = versions[0]["version"] + 1
            update(
                transaction,
                "assistants",
                "assistant_id",
                assistant_id,
                {**changes, "version": version, "updated_at": now()},
            )
            row = transaction.rows(
                "SELECT * FROM assistants WHERE assistant_id = ?", [assistant_id]
            )
            assistant = record_of(Assistant, row[0])
            insert(transaction, "assistant_versions", assistant)
            return assistant

        return await self._database.run(work)

    async def versions(
        self, assistant_id: str, page: Page, metadata: Mapping[str, Any] | None
    ) -> tuple[list[Assistant], int]:
        """Return a page of the versions of an assistant, newest first."""
        conditions = [
            ("assistant_id = ?", [assistant_id]),
            *contains(self._database.dialect, "metadata", metadata),
        ]
        page = dataclasses.replace(page, sort_by="version", descending=True)
        return await page_of(self._database, Assistant, "assistant_versions", page, conditions)

    async def set_version(self, assistant_id: str, version: int) -> Assistant | None:
        """Make a version the current one, and return it; None if there is no such version."""

        def work(transaction: Transaction) -> Assistant | None:
            rows = transaction.rows(
                "SELECT * FROM assistant_versions WHERE assistant_id = ? AND version = ?",
                [assistant_id, version],
            )
            if not rows:
                return None
            assistant = record_of(Assistant, rows[0])
            transaction.execute("DELETE FROM assistants WHERE assistant_id = ?", [assistant_id])
            insert(transaction, "assistants", assistant)
            return assistant

        return await self._database.run(work)

    async def delete(self, assistant_id: str) -> bool:
        """Delete an assistant with its versions; return whether there was one."""

        def work(transaction: Transaction) -> bool:
            transaction.execute(
                "DELETE FROM assistant_versions WHERE assistant_id = ?", [assistant_id]
            )
            return (
                transaction.execute("DELETE FROM assistants WHERE assistant_id = ?", [assistant_id])
                > 0
            )

        return await self._database.run(work)
