"""What the sessions of a cluster have to do at a moment, for those who operate it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

__all__ = (
    "BrokerLoad",
    "ClusterLoad",
    "DriverLoad",
    "SessionLoad",
    "WorkersLoad",
    "workers_load",
)


class WorkersLoad(NamedTuple):
    """Leased workers that do the same. Each holds the resources that its node asks for."""

    host: str
    """Their machine. "" while they are requested."""
    phase: str
    """``busy``; ``idle``; or ``requested``: Ray has not started them yet."""
    node: str
    """The node that they run, or have run last, or for which they are requested."""
    workers: int


def workers_load(leases: Iterable[Mapping[str, Any]]) -> tuple[WorkersLoad, ...]:
    """Return what leases do, by machine. Those of pools are left out.

    Args:
        leases: As the statistics of a driver have them.
    """
    found = Counter(
        (lease["host"] or "", lease["phase"], lease["node"])
        for lease in leases
        if not lease["pool"]
    )
    return tuple(WorkersLoad(*key, number) for key, number in sorted(found.items()))


class DriverLoad(NamedTuple):
    """What a superstep driver has to do."""

    host: str
    pid: int
    runs: int
    """Runs that go on."""
    queued: int
    """Attempts that the driver has not handed to Ray yet."""
    sent: int
    """Attempts that wait for a worker or run on one."""
    executors: int
    """Processes of async nodes, threads and threads with ``affinity``."""
    pool_workers: int
    """Processes of pools."""
    silent: tuple[str, ...]
    """Processes that give no sign of life, in words."""
    workers: tuple[WorkersLoad, ...]
    """Leased workers, by machine."""


class BrokerLoad(NamedTuple):
    """What a stream broker holds."""

    host: str
    pid: int
    streams: int
    """Runs whose events are held."""
    readers: int
    paused: int
    """Runs whose writers wait because readers are behind."""
    buffered: int
    """Bytes of events that are held."""
    unread: int
    """The part of them that readers have not consumed."""
    events: int
    """Events that have come in since the broker started."""


class SessionLoad(NamedTuple):
    """One session: a driver and a broker. None for one that is gone or does not answer."""

    session: str
    driver: DriverLoad | None
    broker: BrokerLoad | None


class ClusterLoad(NamedTuple):
    """A cluster and its sessions."""

    machines: int
    total: dict[str, float]
    """Resources of all machines, by Ray's names."""
    free: dict[str, float]
    """Resources that no task or actor reserves."""
    sessions: tuple[SessionLoad, ...]
