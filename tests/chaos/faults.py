"""Runs on Ray under faults: every stream is exact, or ends with one error that the fault allows."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import tempfile
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from langgraph.checkpoint.memory import InMemorySaver

from distgraph.errors import NodeTimeoutError, RunError
from distgraph.graph import START, StateGraph
from distgraph.types import AttemptReset
from tests.support.cluster import pids_of_actors
from tests.support.graphs import Items

STEPS, EVENTS = 3, 40
"""Supersteps of a run, and events of each of its nodes."""

BOUND = 120.0
"""Seconds for a run to end, whatever happens to it. A silent driver or broker has 60 of them."""

LIMIT = 5.0
"""Seconds that a node has which then holds the interpreter lock."""


class Kind(NamedTuple):
    """A kind of fault."""

    name: str
    node: str = ""
    """The node behind whose event it happens: ``sync``, ``async``, "" for either."""
    loses: str = ""
    """The actor that is lost by it."""
    ends: tuple[str, ...] = ()
    """How the run always ends, where it cannot go on."""
    is_own: bool = False
    """Whether the node does it itself."""


KINDS = {
    kind.name: kind
    for kind in (
        Kind("kill worker", "sync"),
        Kind("kill executor", "async"),
        Kind("pause worker", "sync"),
        Kind("pause executor", "async"),
        Kind("pause driver"),
        Kind("pause broker"),
        Kind("stop worker", "sync"),
        Kind("stop executor", "async"),
        Kind("kill driver", loses="driver"),
        Kind("stop driver", loses="driver"),
        Kind("kill broker", loses="broker"),
        Kind("stop broker", loses="broker"),
        Kind("lose node"),
        Kind("close sockets", is_own=True),
        Kind("raise", ends=("HarmError",), is_own=True),
        Kind("hold lock", ends=("NodeTimeoutError",), is_own=True),
        Kind("slow reader"),
        Kind("leave", ends=("left",)),
        Kind("interrupt", ends=("left",)),
    )
}
"""``pause``: stopped for a second. ``stop``: for ever. ``lose node``: a machine of the cluster, and
another one joins. ``hold lock``: a node keeps the interpreter lock behind its limit of time.
``interrupt``: Ctrl-C."""

NONE = Kind("none")

_ACTORS = {"driver": "SuperstepDriver", "broker": "StreamBroker"}


class HarmError(Exception):
    """What a node raises."""


class Load(NamedTuple):
    """What a run does.

    Attributes:
        events: Of each node in a superstep.
        pause: Seconds between two of them.
        place: Resources that sync nodes need.
    """

    events: int = EVENTS
    pause: float = 0.01
    place: dict[str, float] | None = None

    @property
    def total(self) -> int:
        return 2 * STEPS * self.events


SMALL = Load()


def emits(name: str, step: int, load: Load, harm: Callable[[], None] = lambda: None) -> Any:
    """Return a node that streams its events, and does harm behind half of them."""
    events, pause = load.events, load.pause

    def node(state: Any, writer: Any) -> Any:
        for i in range(events):
            if i == events // 2:
                harm()
            writer((os.getpid(), name, step, i))
            if pause:
                time.sleep(pause)
        return {"items": [f"{name}{step}"]}

    async def anode(state: Any, writer: Any) -> Any:
        import asyncio

        for i in range(events):
            writer((os.getpid(), name, step, i))
            if pause or not i % 100:
                await asyncio.sleep(pause)
        return {"items": [f"{name}{step}"]}

    return anode if name == "async" else node


def harm_of(kind: str, once: str) -> Callable[[], None]:
    """Return what a node does to itself, in its first attempt.

    Args:
        kind: Of the fault.
        once: Path of a file that says that it was done.
    """

    def harm() -> None:
        import ctypes
        import socket

        try:
            os.close(os.open(once, os.O_CREAT | os.O_EXCL))
        except FileExistsError:
            return
        if kind == "raise":
            raise HarmError("harm")
        if kind == "hold lock":
            ctypes.PyDLL(None).sleep(600)
        for number in map(int, os.listdir("/proc/self/fd")):
            with contextlib.suppress(OSError):
                found = os.readlink(f"/proc/self/fd/{number}")
                if found.startswith("socket:"):
                    socket.close(number)

    return harm


def graph(
    load: Load = SMALL,
    *,
    harm: Callable[[], None] | None = None,
    limit: bool = False,
    saver: Any = None,
) -> Any:
    """Return a graph of some supersteps, each with a sync and an async node.

    Args:
        load: What each run does.
        harm: What the sync node of the second superstep does.
        limit: Whether its time is limited.
        saver: Of the graph.
    """
    builder = StateGraph(Items)
    previous: Any = START
    place: Any = None if load.place is None else {"resources": load.place}
    for step in range(STEPS):
        names = [f"sync{step}", f"async{step}"]
        given: dict[str, Any] = {"ray_options": place} if place else {}
        own = emits("sync", step, load)
        if step == 1 and harm is not None:
            own = emits("sync", step, load, harm)
            if limit:
                given["timeout"] = LIMIT
        builder.add_node(names[0], own, **given)
        builder.add_node(names[1], emits("async", step, load))
        for name in names:
            builder.add_edge(previous, name)
        previous = names
    return builder.compile(backend="ray", checkpointer=saver)


RESULT = [f"{name}{step}" for step in range(STEPS) for name in ("async", "sync")]


@dataclass
class Figures:
    """What was seen."""

    runs: int = 0
    events: int = 0
    resets: int = 0
    exact: int = 0
    typed_errors: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    violations: list[str] = field(default_factory=list)
    longest: float = 0.0
    waits: dict[str, float] = field(default_factory=lambda: defaultdict(float))
    """The longest time between two chunks, or behind the last one, by the kind of fault."""


class Check:
    """Checks the events of one run as they come."""

    def __init__(self, events: int = EVENTS) -> None:
        self._events = events
        self.next: Counter[tuple[str, int]] = Counter()
        self.step = -1
        self.wrong: list[str] = []
        self.updates: list[str] = []

    def take(self, mode: str, payload: Any) -> None:
        """Check one chunk."""
        if mode == "custom":
            _, name, step, number = payload
            at = name, step
            if number != self.next[at]:
                self.wrong.append(f"{name}{step}: {number} in place of {self.next[at]}")
            if step < self.step:
                self.wrong.append(f"an event of step {step} behind one of step {self.step}")
            self.step = max(self.step, step)
            self.next[at] += 1
        elif mode == "reset":
            assert isinstance(payload, AttemptReset)
            name, step = payload.node.rstrip("0123456789"), payload.step - 1
            if payload.events != self.next[name, step]:
                self.wrong.append(f"{payload} after {self.next[name, step]} events")
            self.next[name, step] = 0
        else:
            (node,) = payload
            name, step = node.rstrip("0123456789"), int(node[-1])
            if self.next[name, step] != self._events:
                self.wrong.append(f"the update of {node} after {self.next[name, step]} events")
            self.updates.append(node)

    @property
    def is_complete(self) -> bool:
        return sorted(self.updates) == sorted(RESULT)


def run_once(
    compiled: Any,
    figures: Figures,
    hit: Callable[[int], object],
    *,
    load: Load = SMALL,
    kind: str = "none",
    hits: Callable[[str, int], object] | None = None,
    config: dict[str, Any] | None = None,
) -> str:
    """Run the graph once. Return how it ended: "exact", "left", or the name of an error.

    Args:
        compiled: The graph.
        figures: What was seen is added to them.
        hit: Called with the process of each event.
        load: What a run of the graph does.
        kind: Of the fault.
        hits: In place of ``hit``: called with the name of the node, too. Returns whether to leave.
        config: Of the run.
    """
    check, begin = Check(load.events), time.monotonic()
    figures.runs += 1
    config = {"on_lost_attempt": "reset", "max_attempts": 5, **(config or {})}
    stream = compiled.stream({"items": []}, config, stream_mode=["custom", "updates"])
    last, longest = begin, 0.0
    try:
        for mode, payload in stream:
            now = time.monotonic()
            if now - last > longest:
                longest = now - last
            last = now
            figures.events += mode == "custom"
            figures.resets += mode == "reset"
            check.take(mode, payload)
            if mode != "custom":
                continue
            if hits is None:
                hit(payload[0])
            elif hits(payload[1], payload[0]):
                break
            last = time.monotonic()  # a reader may take its time
        ended = "exact" if check.is_complete else "left"
    except (RunError, HarmError, NodeTimeoutError) as error:
        ended = type(error).__name__
        figures.typed_errors[ended] += 1
    except KeyboardInterrupt:
        ended = "left"
    longest = max(longest, time.monotonic() - last)
    last = time.monotonic()
    stream.close()
    longest = max(longest, time.monotonic() - last)
    if ended == "exact":
        figures.exact += 1
    elif ended == "left" and hits is None:
        check.wrong.append(f"updates: {check.updates}")
    figures.longest = max(figures.longest, time.monotonic() - begin)
    figures.waits[kind] = max(figures.waits[kind], longest)
    figures.violations += check.wrong
    return ended


def fault(kind: str, pid: int, figures: Figures) -> None:
    """Do a fault to the process of a node, or to an actor of the session."""
    figures.faults[kind] += 1
    what, _, whom = kind.partition(" ")
    number = signal.SIGKILL if what == "kill" else signal.SIGSTOP
    for found in pids_of_actors(_ACTORS[whom]) if whom in _ACTORS else [pid]:
        with contextlib.suppress(OSError):
            os.kill(found, number)
        if what == "pause":
            threading.Timer(1.0, _go_on, [found]).start()


def _go_on(pid: int) -> None:
    with contextlib.suppress(OSError):
        os.kill(pid, signal.SIGCONT)


class Chaos:
    """Runs graphs under faults of all kinds, one a run, at random events.

    Args:
        figures: What is seen is added to them.
        chance: Chooses.
        load: What each run does.
        is_mirrored: Whether the broker has a mirror.
        lose_node: Loses a machine; None where there is only one.
    """

    def __init__(
        self,
        figures: Figures,
        chance: random.Random,
        load: Load,
        *,
        is_mirrored: bool,
        lose_node: Callable[[], object] | None = None,
    ) -> None:
        self.figures = figures
        self._chance = chance
        self._load = load
        self._is_mirrored = is_mirrored
        self._lose_node = lose_node
        self._kinds: list[str] = []
        self._allowed: set[str] = set()
        """Ends of a run that the fault of the one before allows: it may have come late there."""
        self._is_reading = False
        self.ends: Counter[tuple[str, str]] = Counter()
        signal.signal(signal.SIGINT, self._interrupted)

    def _interrupted(self, number: int, frame: object) -> None:
        if self._is_reading:
            self._is_reading = False
            raise KeyboardInterrupt

    def run(self, kind: str | None = None, *, saved: bool | None = None) -> str:
        """Do one run with a fault of a kind, each kind in turn. Return how it ended."""
        if not self._kinds:
            self._kinds = [k for k in KINDS if k != "lose node" or self._lose_node is not None]
            self._chance.shuffle(self._kinds)
        chosen = KINDS.get(kind or self._kinds.pop(), NONE)
        is_saved = self._chance.random() < 0.5 if saved is None else saved
        config = {"configurable": {"thread_id": f"{self._chance.random()}"}} if is_saved else {}
        with tempfile.TemporaryDirectory() as folder:
            harm = harm_of(chosen.name, str(Path(folder) / "done")) if chosen.is_own else None
            compiled = graph(
                self._load,
                harm=harm,
                limit=chosen.name == "hold lock",
                saver=InMemorySaver() if is_saved else None,
            )
            if chosen.is_own:
                self.figures.faults[chosen.name] += 1
            try:
                self._is_reading = True
                ended = run_once(
                    compiled,
                    self.figures,
                    lambda pid: None,
                    load=self._load,
                    kind=chosen.name,
                    hits=self._hits(chosen),
                    config=config,
                )
            finally:
                self._is_reading = False
        self.ends[chosen.name, ended] += 1
        allowed = self._ends(chosen, is_saved)
        if ended not in allowed | self._allowed | {"exact"} or (
            ended == "exact" and chosen.ends and chosen.name != "interrupt"
        ):
            what = f"{chosen.name}, {'saved' if is_saved else 'not saved'}"
            self.figures.violations.append(f"a run ended with {ended} ({what})")
        # a session that died with the last event of a run is noticed in the next one
        self._allowed = allowed - {"left"} if chosen.loses else set()
        return ended

    def _ends(self, kind: Kind, is_saved: bool) -> set[str]:
        if kind.ends:
            return set(kind.ends)
        if kind.loses == "broker" and not self._is_mirrored:
            return {"BrokerLost"}
        return {"DriverLost"} if kind.loses == "driver" and not is_saved else set()

    def _hits(self, kind: Kind) -> Callable[[str, int], object]:
        at = self._chance.randrange(self._load.total * 9 // 10)
        seen, done = 0, kind.is_own or kind is NONE

        def hits(name: str, pid: int) -> bool:
            nonlocal seen, done
            seen += 1
            if done or seen <= at or (kind.node and name != kind.node):
                return False
            done = True
            return self._do(kind.name, pid)

        return hits

    def _do(self, kind: str, pid: int) -> bool:
        if kind in ("leave", "slow reader", "interrupt", "lose node"):
            self.figures.faults[kind] += 1
        if kind == "slow reader":
            time.sleep(2.0)
        elif kind == "interrupt":
            after = self._chance.random() * 0.02
            threading.Timer(after, os.kill, [os.getpid(), signal.SIGINT]).start()
        elif kind == "lose node":
            assert self._lose_node is not None
            self._lose_node()
        elif kind != "leave":
            fault(kind, pid, self.figures)
        return kind == "leave"
