"""Node attempts as Ray tasks of their own."""

from __future__ import annotations

from typing import Any

from actors.cluster import remote
from actors.lease_frames import WorkerTicket
from actors.worker import process
from distgraph.concurrency.timers import timers
from distgraph.driver.ports import NotTaken

_SENT = 1.0
"""Seconds for Ray to send the outcomes of a process, before a damaged one ends."""


def run_attempts(ticket: bytes, packed: bytes, *snapshots: bytes) -> Any:
    """Run a packet's attempts one after the other.

    Raises:
        NotTaken: The process is damaged by a node that has ended.
    """
    process().enter(WorkerTicket.read(ticket))
    try:
        if process().descriptors.look():
            raise NotTaken("the process is damaged by a node that has ended")
        return process().run_batch(packed, snapshots)
    finally:
        timers().after(_SENT, process().end_if_idle_and_damaged)


run_attempts_task: Any = remote(max_retries=0, num_cpus=1)(run_attempts)
"""``run_attempts`` as a Ray task. The driver, not Ray, decides about another attempt."""
