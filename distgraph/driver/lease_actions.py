"""What the rules of worker leases (``distgraph.driver.leases``) ask their host to do."""

from __future__ import annotations

from collections.abc import Hashable
from typing import Generic, NamedTuple, TypeVar

__all__ = (
    "Action",
    "AskOthers",
    "Drop",
    "End",
    "Fail",
    "Give",
    "Interrupt",
    "Late",
    "Look",
    "Request",
    "Withdraw",
)

J = TypeVar("J")


class Request(NamedTuple):
    """Ask the cluster for a lease. ``opened``, ``failed`` or ``lost`` reports what came of it."""

    number: int
    needs: Hashable


class Late(NamedTuple):
    """Report a request that was not granted for ``leases.OVERDUE`` seconds. It is repeated."""

    number: int


class Withdraw(NamedTuple):
    """Take a request back. Where it was granted meanwhile, ``opened`` ends the lease."""

    number: int


class Give(NamedTuple, Generic[J]):
    """Send a group to a lease."""

    number: int
    job: J


class End(NamedTuple):
    """Request the end of a lease."""

    number: int


class Interrupt(NamedTuple, Generic[J]):
    """Interrupt the group that a lease serves, and kill its process if that does not help."""

    number: int
    job: J


class AskOthers(NamedTuple):
    """Ask the other drivers of the cluster for a lease each: ``give_back``."""


class Look(NamedTuple):
    """Ask the cluster whether anybody waits for resources. ``looked`` reports the answer."""


class Drop(NamedTuple, Generic[J]):
    """Report a group that was never sent as cancelled."""

    job: J


class Fail(NamedTuple, Generic[J]):
    """Report a group as failed: the lease that it waited for cannot be had, or it died with it."""

    job: J


Action = (
    Request | Late | Withdraw | Give[J] | End | Interrupt[J] | AskOthers | Look | Drop[J] | Fail[J]
)
