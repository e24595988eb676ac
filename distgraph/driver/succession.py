"""What a caller does about its runs when their superstep driver dies. Pure.

The broker has the journals, and chooses the next driver. The caller knows what it sent to the
driver that died: runs that may not have begun, graphs, and requests to end a run.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Collection, Iterable, Sequence
from enum import Enum
from typing import Any, Literal, NamedTuple, Protocol

from distgraph.contract.failure import ShippedError
from distgraph.contract.spec import GraphSpec
from distgraph.contract.stream import END_MODE, KeepRun, StreamEvent
from distgraph.errors import DriverLost

__all__ = (
    "EndRequest",
    "GivenRuns",
    "Leaving",
    "SentRun",
    "Succession",
    "begins_again",
    "leaving",
    "loss_at_once",
)

REQUESTS = 1024
"""Runs whose request to end is remembered."""


class _Inbox(Protocol):
    @property
    def is_used(self) -> bool:
        """Whether anything of the run has come."""


class SentRun(NamedTuple):
    """A saved run that was sent to the driver, and of which nothing has come yet."""

    spec: GraphSpec
    blob: Any
    """The program of its graph, pickled."""
    begin: KeepRun
    inbox: _Inbox


class EndRequest(NamedTuple):
    """A request to the driver to end a run."""

    run_id: str
    method: Literal["cancel", "drain"]
    given: tuple[str, ...]


class Succession(NamedTuple):
    """What the caller does once the broker has answered who goes on with the runs."""

    graphs: list[SentRun]
    """Runs that the next driver begins from the start: it needs their graphs."""
    requests: list[EndRequest]
    """What the next driver is asked again."""
    ended: list[str]
    """Runs that end with the driver's death."""


class GivenRuns:
    """What a caller knows of the runs that it gave to its driver.

    Args:
        graphs: How many graphs the driver keeps at the least after it was given them.
    """

    def __init__(self, graphs: int) -> None:
        self._graphs = graphs
        self._registered: OrderedDict[str, None] = OrderedDict()
        self._requests: OrderedDict[str, EndRequest] = OrderedDict()
        self._sent: dict[str, SentRun] = {}

    # --- graphs ---------------------------------------------------------------------------------

    @property
    def has_graphs(self) -> bool:
        """Whether the driver was given a graph."""
        return bool(self._registered)

    def knows(self, digest: str) -> bool:
        """Return whether the driver still has the graph."""
        return digest in self._registered

    def registered(self, digest: str) -> None:
        """Note that a run of the graph was sent, and the graph before where it was not known."""
        self._registered[digest] = None
        self._registered.move_to_end(digest)
        if len(self._registered) > self._graphs:
            self._registered.popitem(last=False)

    # --- runs -----------------------------------------------------------------------------------

    def sent(self, run_id: str, run: SentRun) -> None:
        """Note a saved run that was sent."""
        self._sent[run_id] = run

    def asked(self, request: EndRequest) -> None:
        """Note that the driver was asked to end a run."""
        self._requests[request.run_id] = request
        while len(self._requests) > REQUESTS:
            self._requests.popitem(last=False)

    def forget(self, run_id: str) -> None:
        """Forget a run that its reader has left."""
        self._sent.pop(run_id, None)
        self._requests.pop(run_id, None)

    def forget_begun(self) -> None:
        """Forget what was sent of runs that are known to have begun."""
        for run_id, run in list(self._sent.items()):
            if run.inbox.is_used:
                self._sent.pop(run_id, None)

    def unbegun(self) -> dict[str, KeepRun]:
        """Return what begins each run that may not have begun."""
        self.forget_begun()
        return {run_id: run.begin for run_id, run in self._sent.items()}

    # --- another driver -------------------------------------------------------------------------

    def succeed(
        self,
        readers: Iterable[str],
        *,
        has_driver: bool,
        taken: Collection[str] = (),
        begun: Collection[str] = (),
    ) -> Succession:
        """Return what follows the death of the driver.

        Args:
            readers: Ids of the runs that were read here.
            has_driver: Whether another driver follows. It knows no graph.
            taken: Runs that it goes on with.
            begun: Runs that it begins from the start.
        """
        ended = [run_id for run_id in readers if run_id not in taken and run_id not in begun]
        if not has_driver:
            return Succession([], [], ended)
        self._registered.clear()
        graphs = [self._sent[run_id] for run_id in begun if run_id in self._sent]
        return Succession(graphs, list(self._requests.values()), ended)


class Leaving(Enum):
    """How a caller leaves a session that it cannot give runs to."""

    HIDE = "it may serve others: nobody reaches objects of this process any more"
    KEEP = "its broker keeps streams of started runs, which can still be read"
    END = "its actors are ended"


def leaving(*, is_detached: bool, failure: BaseException | None, has_launched: bool) -> Leaving:
    """Return how a session is left.

    Args:
        is_detached: Whether it outlives this process.
        failure: How it was lost; None where this process has left the cluster.
        has_launched: Whether a run was started in it that no reader owns.
    """
    if is_detached or failure is None:
        return Leaving.HIDE
    return Leaving.KEEP if has_launched and isinstance(failure, DriverLost) else Leaving.END


_LOSSES = ("DriverLost", "BrokerLost")


def loss_at_once(events: Sequence[StreamEvent]) -> str:
    """Return the name of the loss that is all that was read of a run, "" if there is none."""
    if len(events) != 1 or events[0].seq != 1 or events[0].mode != END_MODE:
        return ""
    error = events[0].payload.get("error")
    name = error.type_name.rpartition(".")[2] if isinstance(error, ShippedError) else ""
    return name if name in _LOSSES else ""


def begins_again(loss: str, *, has_driver: bool, is_saved: bool, broker_lives: bool) -> bool:
    """Return whether a run of which nothing has come begins again, in another session.

    It does if its session had died before the run was sent: a driver answers the start of a run,
    and a broker gives signs of life.

    Args:
        loss: What was lost: "DriverLost" or "BrokerLost"; "" where nothing was.
        has_driver: Whether the driver has answered. Then only the broker can have died before.
        is_saved: Whether the run has a saver. What its driver has saved might be saved twice.
        broker_lives: Whether the broker has given a sign of life since the run was sent.
    """
    if loss == "DriverLost":
        return not has_driver
    return loss == "BrokerLost" and not broker_lives and not (has_driver and is_saved)
