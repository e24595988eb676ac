"""The Ray task that runs one group of attempts, where no lease does."""

from __future__ import annotations

from concurrent.futures import TimeoutError as Late
from contextlib import suppress
from typing import Any

import ray
from ray.exceptions import RayError

from actors.calls import driver_of
from actors.cluster import remote
from actors.lease_frames import WorkerTicket
from actors.worker import process
from distgraph.concurrency.timers import timers
from distgraph.driver.ports import NotTaken
from distgraph.worker.snapshots import Snapshot

_SENT = 1.0
"""Seconds for Ray to send the outcomes of a process, before a damaged one ends."""


def run_attempts(ticket: bytes, name: str, number: int, packed: bytes, *snapshots: bytes) -> Any:
    """Run a packet's attempts one after the other.

    Args:
        ticket: A ``WorkerTicket``.
        name: Of the group of attempts.
        number: Of this task: if the first one did not begin for long, there are others.
        packed: The packet.
        snapshots: Large values of the state.

    Returns:
        The packed outcomes; None if the group is not to run here.

    Raises:
        NotTaken: The process is damaged by a node that has ended.
    """
    worker_ticket = WorkerTicket.read(ticket)
    heartbeat = process().enter(worker_ticket)
    try:
        if process().descriptors.look():
            raise NotTaken("the process is damaged by a node that has ended")
        if not heartbeat.may_run(name, number):
            return None
        outcomes = process().run_batch(packed, [Snapshot(blob) for blob in snapshots])
        if process().descriptors.look() and type(outcomes) is bytes:  # else it owns their objects
            _end_with(worker_ticket.session, outcomes)
        return outcomes
    finally:
        timers().after(_SENT, process().end_if_idle_and_damaged)


def _end_with(session: str, outcomes: bytes) -> None:
    """End this process with its task: behind it, Ray would give the process to another one."""
    task = ray.get_runtime_context().get_task_id()
    with suppress(RayError, Late):  # it is damaged
        driver_of(session).take_outcome.remote(task, outcomes).future().result(_SENT)
        process().end_if_damaged()


run_attempts_task: Any = remote(max_retries=0, num_cpus=1)(run_attempts)
"""``run_attempts`` as a Ray task. The driver, not Ray, decides about another attempt."""
