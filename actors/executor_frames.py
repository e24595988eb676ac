"""Messages between driver and executor, in addition to those of leases."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

__all__ = (
    "DROP",
    "ENDED",
    "EXECUTOR",
    "LEAVES",
    "PACKET",
    "TAKEN",
    "ExecutorOpened",
    "PacketHead",
)

EXECUTOR = "executor"
"""Role of the connections of executors."""

PACKET, DROP = 32, 33
"""Driver to executor: packets of attempts to run, each ``PacketHead`` with the number of the parts
that belong to it; values of a run, or of all runs before
the end of the process, to let go of."""

TAKEN, ENDED, LEAVES = 32, 33, 34
"""Executor to driver: packets whose attempts begin now; what came of attempts, each
``(name, how)`` with a part for ``done`` and ``failed``; why the process is to get no more attempts.
How: see ``OutcomesHead``; ``refused``: the process is to get no more attempts, and has not begun
this one; ``taken``: a packet, by its number, as in the frame for that alone."""


class ExecutorOpened(NamedTuple):
    """The process of an executor."""

    identity: str
    programs: Sequence[str] = ()
    """Hashes of the graphs that the process has loaded."""


class PacketHead(NamedTuple):
    """A packet of attempts of one run, each a group of its own. The packet and new large values
    follow."""

    number: int
    names: Sequence[str]
    """Of the attempts, in the packet's order."""
    program: str
    """Hash of the graph's program."""
    thread: bool
    """Whether synchronous nodes run in threads."""
    values: Sequence[int] = ()
    """Numbers of the large values that the packet refers to, by position."""
    new: Sequence[int] = ()
    """Those that follow."""
    by_ray: bool = False
    """Whether the packet holds references, and is to be fetched through Ray."""
