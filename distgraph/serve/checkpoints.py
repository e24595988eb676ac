"""What clients do with checkpoints beside running graphs: delete those of a thread or a run, or all
but the newest; copy a thread."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from distgraph.persistence import sync_or_async
from distgraph.serve.errors import RequestError

__all__ = ("Checkpoints",)


_KEY = " WHERE thread_id = ? AND checkpoint_ns = ? AND checkpoint_id = ?"


_WITH_TABLES = ("FileSaver", "AsyncSqliteSaver", "AsyncPostgresSaver")
"""Savers whose tables this module knows."""


class Checkpoints:
    """The saver of all threads.

    Args:
        saver: A LangGraph checkpoint saver.
    """

    def __init__(self, saver: Any) -> None:
        self.saver = saver

    async def delete_thread(self, thread_id: str) -> None:
        """Delete all checkpoints of a thread."""
        await self._call("delete_thread", thread_id)

    async def delete_run(self, thread_id: str, run_id: str) -> None:
        """Delete the checkpoints that a run has saved.

        The thread's other checkpoints are kept, in every namespace.
        """
        kept: list[Any] = []
        dropped: list[Any] = []
        for found in await self._all(thread_id):
            is_of_run = (found.metadata or {}).get("run_id") == run_id
            (dropped if is_of_run else kept).append(found)
        await self._drop(thread_id, dropped, kept)

    def check_keeps_latest(self) -> None:
        """Check that single checkpoints can be deleted while a run begins.

        Raises:
            RequestError: 422: the saver can only delete all of a thread.
        """
        if self._name not in _WITH_TABLES and not self._prunes:
            raise RequestError(
                422,
                f"ttl.strategy must be delete, got 'keep_latest': the saver {self._name} of "
                "checkpointer.path cannot delete single checkpoints; it needs a method prune or "
                "aprune",
            )

    @property
    def _name(self) -> str:
        return type(self.saver).__name__

    @property
    def _prunes(self) -> bool:
        return sync_or_async.has_own(self.saver, "prune") or sync_or_async.has_own(
            self.saver, "aprune"
        )

    async def keep_latest(self, thread_id: str) -> None:
        """Delete all checkpoints of a thread but the newest of each namespace.

        Its ancestors stay as far as a channel that saves only what was added (``DeltaChannel``)
        needs them.
        """
        if self._name not in _WITH_TABLES and self._prunes:
            await self._call("prune", [thread_id])
            return
        found = await self._all(thread_id)
        by_key = {_key(saved.config): saved for saved in found}
        newest = {_key(saved.config)[0]: saved for saved in found}
        needed: set[tuple[str, str]] = set()
        for saved in newest.values():
            left = set((saved.metadata or {}).get("counters_since_delta_snapshot") or ())
            while saved is not None:
                needed.add(_key(saved.config))
                values = saved.checkpoint["channel_values"]
                left -= {n for n in left if type(values.get(n)).__name__ == "_DeltaSnapshot"}
                parent = saved.parent_config if left else None
                saved = None if parent is None else by_key.get(_key(parent))
        kept = [saved for key, saved in by_key.items() if key in needed]
        dropped = [saved for key, saved in by_key.items() if key not in needed]
        await self._drop(thread_id, dropped, kept)

    async def _drop(self, thread_id: str, dropped: list[Any], kept: list[Any]) -> None:
        """Delete some of a thread's checkpoints; ``kept`` are the others."""
        name = self._name
        keys = [(thread_id, *_key(found.config)) for found in dropped]
        if not keys:
            return
        if name == "FileSaver":
            await asyncio.to_thread(self._delete, keys)
        elif name == "AsyncSqliteSaver":
            async with self.saver.lock:
                for table in ("writes", "checkpoints"):
                    await self.saver.conn.executemany(f"DELETE FROM {table}{_KEY}", keys)
                await self.saver.conn.commit()
        elif name == "AsyncPostgresSaver":
            async with self.saver.conn.connection() as connection, connection.cursor() as cursor:
                for table in ("checkpoint_writes", "checkpoints"):
                    sql = f"DELETE FROM {table}{_KEY}".replace("?", "%s")
                    await cursor.executemany(sql, keys)
        else:  # by its public methods, which delete whole threads only
            await self.delete_thread(thread_id)
            await self._put(thread_id, kept)

    def _delete(self, keys: list[tuple[str, str, str]]) -> None:
        with self.saver.cursor() as cursor:
            for table in ("writes", "checkpoints"):
                cursor.executemany(f"DELETE FROM {table}{_KEY}", keys)

    async def copy_thread(self, thread_id: str, target: str) -> None:
        """Save all checkpoints of a thread, with their ids, for another thread."""
        await self._put(target, await self._all(thread_id))

    async def _all(self, thread_id: str) -> list[Any]:
        """Return all checkpoints of a thread, oldest first."""

        found: list[Any] = await self._call("list", {"configurable": {"thread_id": thread_id}})
        return found[::-1]

    async def _put(self, thread_id: str, found: list[Any]) -> None:
        for saved in found:
            configurable = saved.config["configurable"]
            ns = configurable.get("checkpoint_ns", "")
            parent = saved.parent_config or {"configurable": {}}
            config = {
                "configurable": {
                    "thread_id": thread_id,
                    "checkpoint_ns": ns,
                    **(
                        {"checkpoint_id": parent["configurable"]["checkpoint_id"]}
                        if "checkpoint_id" in parent["configurable"]
                        else {}
                    ),
                }
            }
            checkpoint = saved.checkpoint
            metadata = saved.metadata
            if isinstance(metadata, dict) and "thread_id" in metadata:
                metadata = {**metadata, "thread_id": thread_id}
            new = await self._call(
                "put", config, checkpoint, metadata, checkpoint.get("channel_versions", {})
            )
            writes: dict[str, list[tuple[str, Any]]] = {}
            for task_id, channel, value in saved.pending_writes or ():
                writes.setdefault(task_id, []).append((channel, value))
            for task_id, pairs in writes.items():
                await self._call("put_writes", new, pairs, task_id)

    async def _call(self, method: str, *arguments: Any) -> Any:
        call: Callable[..., Any] = sync_or_async.call
        return await asyncio.to_thread(call, self.saver, method, arguments)


def _key(config: Any) -> tuple[str, str]:
    """Return the namespace and the id of a checkpoint."""
    configurable = config["configurable"]
    return configurable.get("checkpoint_ns", ""), configurable["checkpoint_id"]
