"""Which of a process's superstep drivers a new run is given to. Pure."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable, Sequence

from distgraph._internal.settings import setting
from distgraph.capacity import has_pool
from distgraph.contract.spec import GraphSpec

__all__ = ("Choice", "drivers_from_environment", "ties")

REMEMBERED = 10_000
"""Ties that are remembered; of more, those that were not used for longest are forgotten."""


def drivers_from_environment() -> int:
    """Return the number of drivers that the environment asks for; 1 by default.

    Raises:
        ValueError: The setting is no whole number from 1.
    """
    return setting("DISTGRAPH_DRIVERS", 1)


def ties(run_id: str, thread_id: object, graph: GraphSpec, digest: str) -> list[Hashable]:
    """Return what ties a run to the driver of earlier runs, the strongest tie first.

    A broker refuses a started run whose id it has. Workers of a pool would be needed at each driver
    that runs a graph with one. Runs of a thread follow each other at one driver, and share the
    processes of nodes with ``affinity``.

    Args:
        run_id: Id of the run.
        thread_id: Its thread; None without one.
        graph: Its graph.
        digest: Hash of the graph's program.
    """
    found: list[Hashable] = [("run", run_id)]
    if has_pool(graph):
        found.append(("graph", digest))
    if thread_id is not None:
        found.append(("thread", str(thread_id)))
    return found


class Choice:
    """Gives each run to one driver: to that of earlier runs that it has a tie with, else to the one
    with the fewest live runs, and of several to the one with the lowest number."""

    def __init__(self, remembered: int = REMEMBERED) -> None:
        self._remembered = remembered
        self._known: OrderedDict[Hashable, int] = OrderedDict()

    def choose(self, live: Sequence[int], ties: Sequence[Hashable] = ()) -> int:
        """Return the number of the run's driver, from 0.

        Args:
            live: The numbers of live runs, one of each driver.
            ties: What ties the run to earlier runs, the strongest first.
        """
        number = next((self._known[tie] for tie in ties if tie in self._known), None)
        if number is None:
            number = min(range(len(live)), key=live.__getitem__)
        for tie in ties:
            self._known.setdefault(tie, number)
            self._known.move_to_end(tie)
        while len(self._known) > self._remembered:
            self._known.popitem(last=False)
        return number
