"""Node attempts as Ray tasks of their own."""

from __future__ import annotations

from typing import Any

from actors.cluster import remote
from actors.lease_frames import WorkerTicket
from actors.worker import process


def run_attempts(ticket: bytes, packed: bytes, *snapshots: bytes) -> Any:
    """Run a packet's attempts one after the other."""
    process().enter(WorkerTicket.read(ticket))
    process().end_if_damaged()
    return process().run_batch(packed, snapshots)


run_attempts_task: Any = remote(max_retries=0, num_cpus=1)(run_attempts)
"""``run_attempts`` as a Ray task. The driver, not Ray, decides about another attempt."""
