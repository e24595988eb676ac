"""Many runs on a cluster of several nodes, with a random fault in each."""

from __future__ import annotations

import gc
import math
import os
import random
import threading
import time
from collections import Counter

import actors
from tests.chaos.events import resident
from tests.chaos.faults import Chaos, Figures, Load, graph, run_once
from tests.chaos.nodes import Nodes
from tests.support.cluster import (
    Holdings,
    all_cpus,
    eventually,
    free_cpus,
    pids_of_actors,
    worker_titles,
)

SILENCE = 10
"""Seconds after which a process that is stopped is ended."""

BOUND = 60.0
"""Seconds that a reader may wait for the next chunk, or for the end. The largest one that the page
Guarantees states for any of the faults."""

EVENTS = 20_000
"""Of each node in a superstep."""

LOOKS = 10
"""How often the memory is measured."""

GROWTH = 32
"""MiB that the caller may grow by from the first to the last of these looks."""

_SETTLED = 120.0
"""Seconds for Ray to end idle processes."""


def report(
    chance: random.Random,
    seed: int,
    nodes: int,
    *,
    minutes: float | None,
    events: int | None,
    is_mirrored: bool,
) -> bool:
    """Run until so many minutes are over, and so many events were read; print figures.

    Returns whether no event was lost, repeated or out of order, each run ended as its fault allows,
    no wait was too long, memory is flat, and everything was given back.
    """
    cluster = Nodes(nodes - 1)
    load = Load(EVENTS, 0.0, {"far": 0.5})
    warm = Figures()
    print(f"seed {seed}, {nodes} nodes", flush=True)
    run_once(graph(load), warm, lambda pid: None, load=load)
    before = _at_rest()
    print(f"processes {dict(Counter(worker_titles()))}", flush=True)
    figures = Figures()
    chaos = Chaos(figures, chance, load, is_mirrored=is_mirrored, lose_node=cluster.lose)
    begin, memory, share = time.monotonic(), list[int](), 0

    def done() -> float:
        """Return the share that is done."""
        by_time = math.inf if minutes is None else (time.monotonic() - begin) / (minutes * 60)
        return min(by_time, math.inf if events is None else figures.events / events)

    while done() < 1:
        chaos.run()
        cluster.settle()
        if done() * LOOKS >= share + 1:
            share = int(done() * LOOKS)
            memory.append(resident(os.getpid()))
            actors_now = {
                name: resident(pid)
                for name in ("StreamBroker", "SuperstepDriver", "Mirror")
                for pid in pids_of_actors(name)
                if os.path.exists(f"/proc/{pid}")
            }
            print(
                f"{time.monotonic() - begin:.0f} s: runs {figures.runs}, events {figures.events}, "
                f"faults {figures.faults.total()}, violations {len(figures.violations)}, "
                f"MiB: caller {memory[-1]}, {actors_now}",
                flush=True,
            )
    cluster.settle()
    last = run_once(graph(load), figures, lambda pid: None, load=load, kind="none, at the end")
    after = _at_rest(before)
    seconds = time.monotonic() - begin
    waited = max(figures.waits.values())
    print(f"{figures.events} events in {seconds:.0f} s, {figures.runs} runs, {figures.exact} exact")
    print(f"faults {figures.faults.total()}: {dict(figures.faults)}")
    print(f"ends { ({f'{kind}: {end}': n for (kind, end), n in sorted(chaos.ends.items())}) }")
    print(f"resets {figures.resets}, typed errors {dict(figures.typed_errors)}")
    print(f"longest waits { ({kind: round(s, 1) for kind, s in sorted(figures.waits.items())}) }")
    print(f"longest wait {waited:.1f} s, bound {BOUND:.0f} s")
    print(f"before {before}\nafter  {after}, CPUs free {free_cpus()} of {all_cpus()}")
    print(f"processes {dict(Counter(worker_titles()))}")
    print(f"threads {[thread.name for thread in threading.enumerate()]}")
    print(f"the run at the end: {last}")
    growth = memory[-1] - memory[0] if memory else 0
    print(f"the caller grew by {growth} MiB: {memory}")
    print(f"lost, repeated, out of order, or a wrong end: {len(figures.violations)}")
    for violation in figures.violations[:20]:
        print(" ", violation)
    is_back = after.within(before) and free_cpus() == all_cpus()
    right = not figures.violations and last == "exact"
    cluster.end()
    return right and waited <= BOUND and growth <= GROWTH and is_back


def _at_rest(before: Holdings | None = None) -> Holdings:
    """Return what is held once the session has ended, and Ray has ended idle processes."""
    actors.end_session()
    eventually(lambda: free_cpus() == all_cpus(), "all CPUs are free", _SETTLED)
    gc.collect()
    until, last = time.monotonic() + _SETTLED, Holdings.now()
    while time.monotonic() < until:
        time.sleep(2.0)
        now = Holdings.now()
        if now == last if before is None else now.within(before):
            break
        last = now
    return now
