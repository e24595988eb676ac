"""Messages between driver and leased worker."""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from typing import Any, NamedTuple

from distgraph import __version__
from distgraph.errors import UnsupportedClusterError
from distgraph.wire import Frame
from distgraph.wire.frames import Bytes

__all__ = (
    "BYE",
    "CANCEL",
    "GROUP",
    "LEASE",
    "OPENED",
    "OUTCOMES",
    "PROGRAM",
    "RECALLED",
    "WAITS",
    "GroupHead",
    "Opened",
    "OutcomesHead",
    "WorkerTicket",
)

LEASE = "lease"
"""Role of the connections of leases."""

GROUP, BYE, CANCEL, PROGRAM = 16, 17, 18, 19
"""Driver to worker: a group to serve; the end of the lease; a group to interrupt; a graph that
groups which follow belong to."""

OPENED, OUTCOMES, WAITS, RECALLED = 16, 17, 18, 19
"""Worker to driver: who serves the lease; what came of a group; whether its code only waits for
results of calls; which attempts of a group have not begun and are given back, with the outcomes of
those that have ended."""


class WorkerTicket(NamedTuple):
    """What a worker process needs to connect to its driver. It travels through Ray only."""

    address: tuple[str, int, str]
    secret: bytes
    session: str

    @classmethod
    def read(cls, ticket: bytes) -> WorkerTicket:
        """Return a ticket that travelled as plain bytes: Ray reads arguments of a task before the
        task finds out which version of distgraph is there."""
        return cls(*pickle.loads(ticket))


def require_version(version: str, host: str) -> None:
    """Check a worker process on a host.

    Args:
        version: Of distgraph in the driver's process.
        host: Names this machine.

    Raises:
        UnsupportedClusterError: This machine has another version of distgraph.
    """
    if version != __version__:
        raise UnsupportedClusterError(
            f"host {host} has distgraph {__version__}, the run was started with "
            f"{version}: install the same version on every node"
        )


def lease_name(number: int) -> str:
    """Return the name of a lease in heartbeats."""
    return f"lease {number}"


class Opened(NamedTuple):
    """The process that serves a lease."""

    lease: int
    pid: int
    host: str
    node: str
    """Ray's id of the machine."""
    programs: Sequence[str] = ()
    """Hashes of the graphs that the process has loaded."""


class GroupHead(NamedTuple):
    """A group of attempts. The packet and new large values follow as parts of the frame."""

    number: int
    name: str
    """Name of the group, for cancels and time limits."""
    label: str
    """Name of the node, for the title of the process."""
    values: Sequence[int]
    """Numbers of the large values that the packet refers to, by position."""
    new: Sequence[int]
    """Those that follow."""
    attempts: int = 1
    """Attempts of the group."""
    by_ray: bool = False
    """Whether the packet holds references, and is to be fetched through Ray."""


class OutcomesHead(NamedTuple):
    """What came of a group. The packed outcomes follow, or a pickled error."""

    number: int
    how: str
    """``done``: the outcomes follow. ``ray``: they were sent through Ray, as they hold references.
    ``failed``: the error follows. ``dropped``: the group was cancelled."""
    leaves: bool = False
    """Whether the process serves no further group: its files are damaged."""


def head(value: Any) -> bytes:
    """Return the first part of a frame."""
    return pickle.dumps(tuple(value), 5)


def read_head(frame: Frame) -> Any:
    """Read the first part of a frame. Only of processes that have shown the secret."""
    return pickle.loads(frame.parts[0])


def rest(frame: Frame) -> Sequence[Bytes]:
    """Return the other parts of a frame."""
    return frame.parts[1:]
