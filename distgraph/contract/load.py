"""What the sessions of a cluster have to do at a moment, for those who operate it."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ("BrokerLoad", "ClusterLoad", "DriverLoad", "SessionLoad")


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
