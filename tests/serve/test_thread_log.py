"""The log of a thread: its newest number, while a run of the thread ends."""

from __future__ import annotations

import asyncio
from typing import Any

from distgraph.serve.records import Run, Thread, now
from distgraph.serve.thread_log import ThreadLog


class RunEndsBetween:
    """A registry in which the run ends after the thread was read."""

    async def thread(self, thread_id: str) -> Thread:
        stamp = now()
        return Thread(thread_id, stamp, stamp, stamp, next_number=1)

    async def runs_from(self, thread_id: str, number: int) -> list[Run]:
        stamp = now()
        return [Run("run", thread_id, "a", "g", stamp, stamp, "interrupted", base=1, last=4)]


def test_a_run_that_ends_while_the_newest_number_is_read_counts() -> None:
    """An answer to the run's question is looked for up to this number."""
    registry: Any = RunEndsBetween()
    handles: Any = None
    changes: Any = None
    assert asyncio.run(ThreadLog(registry, handles, changes).last("thread")) == 5
