"""One run of very many events, with the memory of each process while it goes on."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, field
from typing import Any

from distgraph.graph import START, StateGraph
from tests.support.cluster import pids_of_actors
from tests.support.graphs import Items

LOOKS = 10
"""How often the memory is measured."""


def resident(pid: int) -> int:
    """Return the MiB of a process that are in memory."""
    with open(f"/proc/{pid}/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") >> 20


@dataclass
class Result:
    """What was seen of a run."""

    expected: int = 0
    wrong: list[str] = field(default_factory=list)
    memory: dict[str, list[int]] = field(default_factory=dict)
    """MiB of each process."""
    seconds: float = 0.0


def run(count: int) -> Result:
    """Run a node that writes the numbers from 0, and check each."""

    def write(state: Any, writer: Any) -> Any:
        writer(os.getpid())
        for number in range(count):
            writer(number)
        return {"items": [count]}

    builder = StateGraph(Items).add_node("write", write).add_edge(START, "write")
    stream = builder.compile(backend="ray").stream({"items": []}, stream_mode="custom")
    pids = {"caller": os.getpid(), "worker": next(stream)}
    for name, actor in (("broker", "StreamBroker"), ("driver", "Driver"), ("mirror", "Mirror")):
        for pid in pids_of_actors(actor):
            pids[name] = pid
    result, begin = Result(memory={name: [] for name in pids}), time.monotonic()
    every = max(1, count // LOOKS)
    for number in stream:
        if number != result.expected:
            result.wrong.append(f"{number} in place of {result.expected}")
        result.expected = number + 1
        if result.expected % every == 0:
            for name, pid in pids.items():
                result.memory[name].append(resident(pid))
    result.seconds = time.monotonic() - begin
    return result


def report(count: int) -> bool:
    """Run, and print figures. Return whether each event came once and in order."""
    result = run(count)
    print(f"{result.expected} events in {result.seconds:.0f} s", end="")
    print(f", {result.expected / result.seconds:.0f} per second")
    for name, values in result.memory.items():
        print(f"{name}: {' '.join(map(str, values))} MiB")
    print(f"lost, repeated or out of order: {len(result.wrong)}", *result.wrong[:10], sep="\n  ")
    return not result.wrong and result.expected == count
