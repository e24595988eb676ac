"""The checkpoints of a server of one process: an SQLite file, for threads and coroutines."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any

from langgraph.checkpoint.sqlite import SqliteSaver

__all__ = ("FileSaver", "open_file")


def open_file(path: Path, serde: Any = None) -> FileSaver:
    """Open a file of checkpoints, and make its tables.

    Args:
        path: The file.
        serde: The serializer of values; None for the saver's own.
    """
    connection = sqlite3.connect(path, 30.0, check_same_thread=False)
    connection.execute("PRAGMA journal_mode=WAL")
    connection.execute("PRAGMA synchronous=NORMAL")
    saver = FileSaver(connection, serde=serde)
    saver.setup()
    return saver


class FileSaver(SqliteSaver):
    """``SqliteSaver`` with async methods.

    Each run saves on a thread of its own. With ``AsyncSqliteSaver``, every save would ask the event
    loop, and the loop the thread of the connection, several times.
    """

    for_threads = True
    """Whether threads call the synchronous methods though there are others."""

    def close(self) -> None:
        """Close the file, once the thread that reads or writes it has finished."""
        with self.lock:  # SQLite does not survive a connection that is closed while it is used
            self.conn.close()

    async def aget_tuple(self, config: Any) -> Any:
        return await asyncio.to_thread(self.get_tuple, config)

    async def alist(
        self, config: Any, *, filter: Any = None, before: Any = None, limit: int | None = None
    ) -> AsyncIterator[Any]:
        def found() -> list[Any]:
            return list(self.list(config, filter=filter, before=before, limit=limit))

        for each in await asyncio.to_thread(found):
            yield each

    async def aput(self, config: Any, checkpoint: Any, metadata: Any, new_versions: Any) -> Any:
        return await asyncio.to_thread(self.put, config, checkpoint, metadata, new_versions)

    async def aput_writes(
        self, config: Any, writes: Sequence[tuple[str, Any]], task_id: str, task_path: str = ""
    ) -> None:
        await asyncio.to_thread(self.put_writes, config, writes, task_id, task_path)

    async def adelete_thread(self, thread_id: str) -> None:
        await asyncio.to_thread(self.delete_thread, thread_id)
