"""Runs on a local Ray under faults: every stream is exact, or ends with one typed error."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from distgraph.errors import RunError
from distgraph.graph import START, StateGraph
from distgraph.types import AttemptReset
from tests.support.cluster import pids_of_actors
from tests.support.graphs import Items

STEPS, EVENTS = 3, 40
"""Supersteps of a run, and events of each of its nodes."""

BOUND = 120.0
"""Seconds for a run to end, whatever happens to it. A silent driver or broker has 60 of them."""


def emits(name: str, step: int) -> Any:
    """Return a node that streams its events slowly enough to be hit."""

    def node(state: Any, writer: Any) -> Any:
        for i in range(EVENTS):
            writer((os.getpid(), name, step, i))
            time.sleep(0.01)
        return {"items": [f"{name}{step}"]}

    async def anode(state: Any, writer: Any) -> Any:
        import asyncio

        for i in range(EVENTS):
            writer((os.getpid(), name, step, i))
            await asyncio.sleep(0.01)
        return {"items": [f"{name}{step}"]}

    return anode if name == "async" else node


def graph() -> Any:
    """Return a graph of some supersteps, each with a sync and an async node."""
    builder = StateGraph(Items)
    previous: Any = START
    for step in range(STEPS):
        names = [f"sync{step}", f"async{step}"]
        builder.add_node(names[0], emits("sync", step))
        builder.add_node(names[1], emits("async", step))
        for name in names:
            builder.add_edge(previous, name)
        previous = names
    return builder.compile(backend="ray")


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


class Check:
    """Checks the events of one run as they come."""

    def __init__(self) -> None:
        self.next: Counter[tuple[str, int]] = Counter()
        self.step = -1
        self.wrong: list[str] = []
        self.updates: list[str] = []

    def take(self, mode: str, payload: Any) -> None:
        """Check one chunk."""
        if mode == "reset":
            assert isinstance(payload, AttemptReset)
            name, step = payload.node.rstrip("0123456789"), payload.step - 1
            if payload.events != self.next[name, step]:
                self.wrong.append(f"{payload} after {self.next[name, step]} events")
            self.next[name, step] = 0
        elif mode == "custom":
            _, name, step, number = payload
            if number != self.next[name, step]:
                self.wrong.append(f"{name}{step}: {number} in place of {self.next[name, step]}")
            if step < self.step:
                self.wrong.append(f"an event of step {step} behind one of step {self.step}")
            self.step = max(self.step, step)
            self.next[name, step] += 1
        else:
            (node,) = payload
            name, step = node.rstrip("0123456789"), int(node[-1])
            if self.next[name, step] != EVENTS:
                self.wrong.append(f"the update of {node} after {self.next[name, step]} events")
            self.updates.append(node)


def run_once(compiled: Any, figures: Figures, hit: Any) -> None:
    """Run the graph once. ``hit`` is called with the process of an event that has arrived."""
    check, begin = Check(), time.monotonic()
    figures.runs += 1
    config = {"on_lost_attempt": "reset", "max_attempts": 5}
    try:
        for mode, payload in compiled.stream(
            {"items": []}, config, stream_mode=["custom", "updates"]
        ):
            figures.events += mode == "custom"
            figures.resets += mode == "reset"
            check.take(mode, payload)
            if mode == "custom":
                hit(payload[0])
    except RunError as error:
        figures.typed_errors[type(error).__name__] += 1
    else:
        if sorted(check.updates) == sorted(
            f"{n}{s}" for s in range(STEPS) for n in ("sync", "async")
        ):
            figures.exact += 1
        else:
            check.wrong.append(f"updates: {check.updates}")
    figures.longest = max(figures.longest, time.monotonic() - begin)
    figures.violations += check.wrong


def fault(kind: str, pid: int, figures: Figures) -> None:
    """Do a fault to the process of a node, or to an actor of the session."""
    figures.faults[kind] += 1
    with contextlib.suppress(OSError):
        if kind == "kill worker":
            os.kill(pid, signal.SIGKILL)
        elif kind == "pause worker":
            os.kill(pid, signal.SIGSTOP)
            threading.Timer(1.0, _go_on, [pid]).start()
        else:
            actor = {"kill broker": "StreamBroker", "kill driver": "SuperstepDriver"}[kind]
            for found in pids_of_actors(actor):
                os.kill(found, signal.SIGKILL)


def _go_on(pid: int) -> None:
    with contextlib.suppress(OSError):
        os.kill(pid, signal.SIGCONT)


KINDS = ("kill worker", "kill worker", "pause worker", "kill broker", "kill driver")


def hitter(figures: Figures, chance: random.Random, kinds: tuple[str, ...], rate: float) -> Any:
    """Return a function that does a fault with some chance for each event, once a run."""
    done = False

    def hit(pid: int) -> None:
        nonlocal done
        if not done and chance.random() < rate:
            done = True
            fault(chance.choice(kinds), pid, figures)

    return hit
