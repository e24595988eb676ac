"""Reducers of users that took long once: from then on they run in a process of their own.

Reducers run on the threads of the driver, because most take microseconds. One that computes for
seconds, or holds the interpreter lock, delays all runs of the session. It is left to end the first
time, for it may change its operands in place; its later calls are made elsewhere.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from types import BuiltinFunctionType
from typing import Any

from distgraph.channels.base import BaseChannel
from distgraph.channels.growing import only_adds
from distgraph.concurrency.forking import free_in_forks
from distgraph.concurrency.interrupting import Interrupted
from distgraph.contract.spec import GraphSpec
from distgraph.contract.stream import Reduced
from distgraph.driver.journal import current_draws, not_the_same
from distgraph.serde.exceptions import capture_error, rebuild_error
from distgraph.serde.pickling import dumps_data, loads

__all__ = (
    "SLOW",
    "STARTS",
    "Elsewhere",
    "GuardedReducer",
    "Startups",
    "distrust",
    "guard",
    "reduce_packed",
)

logger = logging.getLogger("distgraph")

SLOW = 1.0
"""Seconds of one call after which later calls are made elsewhere."""

STARTS = 60.0
"""Seconds of the start of a process that do not count as time of its reducer."""

Elsewhere = Callable[[str, Callable[..., Any], bytes], bytes]
"""Calls a reducer in another process, and waits: (label, reducer, pickled operands). Returns what
``reduce_packed`` returned there."""


class GuardedReducer:
    """A reducer that is called elsewhere once it took long.

    Args:
        function: The reducer.
        label: Names the reducer in messages.
        elsewhere: Calls it in another process.
        clock: Returns seconds.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        label: str,
        elsewhere: Elsewhere,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.__name__ = getattr(function, "__name__", type(function).__name__)
        self.is_away = False
        """Whether calls are made elsewhere."""
        self._function = function
        self._label = label
        self._elsewhere = elsewhere
        self._clock = clock
        self._can_travel = True

    def __call__(self, *operands: Any) -> Any:
        draws = current_draws()
        away = self.is_away
        if draws is not None and draws.repeats:  # as the earlier driver did
            away = isinstance(draws.next, Reduced)
        if away and self._can_travel:
            try:
                packed = dumps_data(operands)
            except Exception:  # they hold what stays in this process
                self._can_travel = False
            else:
                call = self._call if draws is None else draws.of(self._call)
                return self._result(call(packed))
        begin = self._clock()
        result = self._function(*operands)
        seconds = self._clock() - begin
        if seconds >= SLOW and not self.is_away:
            self.is_away = True
            logger.warning(
                "%s took %.1f s: it runs in a process of its own from now on", self._label, seconds
            )
        return result

    def _call(self, packed: bytes) -> Reduced:
        try:
            return Reduced(self._elsewhere(self._label, self._function, packed))
        except Interrupted as error:
            error.args = (self._label,)
            raise

    @staticmethod
    def _result(reduced: Reduced) -> Any:
        if not isinstance(reduced, Reduced):
            raise not_the_same()
        fine, value = loads(reduced.packed)
        if not fine:
            raise rebuild_error(value)
        return value


class Startups:
    """How long threads have waited for processes to start: that is no time of reducers.

    Thread-safe.

    Args:
        clock: Returns seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = free_in_forks(threading.Lock())
        self._waited: defaultdict[int, float] = defaultdict(float)
        self._starting: dict[int, tuple[int, float]] = {}

    def asked(self, call: int, thread: int) -> None:
        """Note that a thread has asked for a process for a call of a reducer."""
        with self._lock:
            self._starting[call] = thread, self._clock()

    def began(self, call: int) -> None:
        """Note that the reducer has begun, or that nobody waits for it any more."""
        with self._lock:
            thread, since = self._starting.pop(call, (0, None))
            if since is not None:
                self._waited[thread] += self._counted(since)

    def waited(self, thread: int) -> float:
        """Return for how many seconds a thread has waited; at most ``STARTS`` count a call."""
        with self._lock:
            open_calls = [s for by, s in self._starting.values() if by == thread]
            return self._waited.get(thread, 0.0) + sum(map(self._counted, open_calls))

    def _counted(self, since: float) -> float:
        return min(self._clock() - since, STARTS)


def reduce_packed(function: Callable[..., Any], packed: bytes) -> bytes:
    """Call a reducer, in another process. Return its result or its exception, pickled."""
    try:
        return dumps_data((True, function(*loads(packed))))
    except BaseException as error:
        return dumps_data((False, capture_error(error)))


def guard(spec: GraphSpec, elsewhere: Elsewhere) -> None:
    """Guard the users' reducers of a graph and its subgraphs, of channels that nothing uses yet.

    ``add_messages`` and the like stay as they are: by them a sender knows that a list only grows.
    """
    for key, channel in spec.channels.items():
        name = _attribute(channel)
        function = getattr(channel, name, None)
        if function is None or isinstance(function, (BuiltinFunctionType, GuardedReducer)):
            continue
        if only_adds(channel):
            continue
        label = f"the reducer of key {key!r} of graph {spec.name!r}"
        setattr(channel, name, GuardedReducer(function, label, elsewhere))
    for node in spec.nodes.values():
        if node.subgraph is not None:
            guard(node.subgraph, elsewhere)


def prepare(spec: GraphSpec) -> None:
    """Import what the reducers of a graph and its subgraphs would import with their first call."""
    for channel in spec.channels.values():
        load = getattr(getattr(channel, _attribute(channel), None), "load", None)
        if load is not None:
            load()
    for node in spec.nodes.values():
        if node.subgraph is not None:
            prepare(node.subgraph)


def distrust(spec: GraphSpec) -> None:
    """Let all guarded reducers of a graph be called elsewhere: one held up an earlier driver."""
    for channel in spec.channels.values():
        function = getattr(channel, _attribute(channel), None)
        if isinstance(function, GuardedReducer):
            function.is_away = True
    for node in spec.nodes.values():
        if node.subgraph is not None:
            distrust(node.subgraph)


def _attribute(channel: BaseChannel) -> str:
    return "operator" if hasattr(channel, "operator") else "reducer"
