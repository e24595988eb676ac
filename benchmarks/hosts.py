"""The same figures on one machine and on three, and how evenly three machines share tasks.

``python -m benchmarks.hosts`` makes hosts of network namespaces, each with a Ray node of its own:
one host with three CPUs, then three hosts with one CPU each. There, the measured node is on another
host than caller, driver and broker. This needs root and iproute2.
"""

from __future__ import annotations

import argparse
import itertools
import json
import logging
import operator
import statistics
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, TypedDict

import ray

from distgraph.graph import START, StateGraph
from distgraph.types import Send, StreamWriter

STEPS, TOKENS, PACE, FIRSTS, RUNS = 300, 200, 50, 20, 10
"""Supersteps, events, events a second, first events, and runs of each case of tasks."""

CPUS = 3
"""CPUs of the cluster, on one host or on three."""


class State(TypedDict, total=False):
    number: int
    until: int
    items: Annotated[list[Any], operator.add]


class Task(TypedDict):
    seconds: float
    spins: bool
    factors: Mapping[str, float]
    """How many times as long each host takes, by its address."""


def step(state: State) -> dict[str, int]:
    return {"number": state["number"] + 1}


def say(state: State, writer: StreamWriter) -> None:
    begin = time.monotonic()
    for number in range(state["until"]):
        time.sleep(max(0.0, begin + number / PACE - time.monotonic()))
        writer(time.monotonic())  # the hosts have one clock


def looped(resource: str) -> Any:
    """Return a graph of one node that loops."""
    builder = StateGraph(State)
    builder.add_node("step", step, ray_options={"resources": {resource: 1}})
    builder.add_edge(START, "step")
    builder.add_conditional_edges(
        "step", lambda s: "step" if s["number"] < s["until"] else "__end__", ["step", "__end__"]
    )
    return builder.compile(backend="ray")


def streamed(resource: str) -> Any:
    """Return a graph of one node that streams."""
    builder = StateGraph(State)
    builder.add_node("say", say, ray_options={"resources": {resource: 1}})
    return builder.add_edge(START, "say").compile(backend="ray")


def work(task: Task) -> dict[str, list[str]]:
    """Wait, or compute, for some time. Returns the host."""
    host: str = ray.util.get_node_ip_address()  # type: ignore[no-untyped-call]
    until = time.monotonic() + task["seconds"] * task["factors"].get(host, 1.0)
    while time.monotonic() < until:  # not CPU time: the hosts share the cores of one machine
        if not task["spins"]:
            time.sleep(max(0.0, until - time.monotonic()))
    return {"items": [host]}


def spread(tasks: Sequence[Task]) -> Any:
    """Return a graph that runs tasks at the same time."""
    builder = StateGraph(State).add_node("work", work)
    builder.add_conditional_edges(START, lambda s: [Send("work", task) for task in tasks], ["work"])
    return builder.compile(backend="ray")


# --- on the first host ----------------------------------------------------------------------------


def steps(resource: str) -> float:
    """Return the median milliseconds of a superstep."""
    graph, ends = looped(resource), []
    for until in (5, STEPS):
        given = {"number": 0, "until": until}
        ends = [
            time.perf_counter()
            for _ in graph.stream(given, {"recursion_limit": 1000}, stream_mode="updates")
        ]
    return statistics.median(b - a for a, b in itertools.pairwise(ends)) * 1e3


def firsts(resource: str) -> float:
    """Return the median milliseconds from a call of ``stream`` to its first event."""
    graph, found = looped(resource), []
    for _ in range(FIRSTS + 2):
        begin = time.perf_counter()
        for at, _ in enumerate(graph.stream({"number": 0, "until": 1}, stream_mode="updates")):
            if at == 0:
                found.append(time.perf_counter() - begin)
    return statistics.median(found[2:]) * 1e3


def tokens(resource: str) -> float:
    """Return the median milliseconds of an event, from the writer to the reader."""
    graph = streamed(resource)
    ages: list[float] = []
    for until in (5, TOKENS):
        given = {"until": until}
        ages = [time.monotonic() - then for then in graph.stream(given, stream_mode="custom")]
    return statistics.median(ages) * 1e3


def ideal(tasks: Sequence[Task], hosts: Sequence[str]) -> float:
    """Return the seconds that tasks take on hosts that are never idle while a task waits."""
    free = dict.fromkeys(hosts, 0.0)
    for task in tasks:
        host = min(free, key=free.__getitem__)
        free[host] += task["seconds"] * task["factors"].get(host, 1.0)
    return max(free.values())


def balanced(tasks: Sequence[Task], hosts: Sequence[str]) -> dict[str, Any]:
    """Return what tasks took beside the ideal, and how many ran on each host."""
    graph = spread(tasks)
    while len(set(graph.invoke({"items": []})["items"])) < len(hosts):
        pass
    seconds, placed = [], []
    for _ in range(RUNS):
        begin = time.perf_counter()
        where = Counter(graph.invoke({"items": []})["items"])
        seconds.append(time.perf_counter() - begin)
        placed.append([where[host] for host in hosts])
    best = ideal(tasks, hosts)
    parts = sorted(best / one for one in seconds)
    return {"ideal": best, "least": parts[0], "median": statistics.median(parts), "placed": placed}


JOB = """
import time, ray
@ray.remote(num_cpus=1)
def hold():
    time.sleep(0.3)
ray.init(log_to_driver=False)
ray.get([hold.remote() for _ in range({cpus})])  # each machine has a process for this job
time.sleep(1)
print("ready", flush=True)
input()
begin = time.monotonic()
ray.get([hold.remote() for _ in range({cpus})])
print(time.monotonic() - begin - 0.3, flush=True)
"""


def other_job(resource: str) -> float:
    """Return the seconds that another job waits for all CPUs, right behind the end of a run."""
    graph = looped(resource)
    job = subprocess.Popen(
        [sys.executable, "-c", JOB.format(cpus=CPUS)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert job.stdin is not None
    assert job.stdout is not None
    assert job.stdout.readline().strip() == "ready"
    spread_out = spread([Task(seconds=0.1, spins=False, factors={})] * 2 * CPUS)
    spread_out.invoke({"items": []})
    graph.invoke({"number": 0, "until": 1})
    job.stdin.write("\n")
    job.stdin.flush()
    return float(job.stdout.readline())


def measure(resource: str) -> None:
    """Measure on this cluster, and print the figures as JSON."""
    ray.init(log_to_driver=False, logging_level=logging.ERROR)
    found: dict[str, Any] = {
        "step": steps(resource),
        "first": firsts(resource),
        "token": tokens(resource),
        "job": other_job(resource),
    }
    nodes: list[dict[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call]
    hosts = sorted(node["NodeManagerAddress"] for node in nodes)
    if len(hosts) > 1:
        alike: Mapping[str, float] = {}
        unlike = dict(zip(hosts, (1.0, 2.0, 4.0), strict=True))
        mixed = [0.1, 0.3, 0.05, 0.2, 0.1, 0.4, 0.05, 0.1] * 3
        found["balance"] = {
            "12 of 0.2 s that wait": balanced(
                [Task(seconds=0.2, spins=False, factors=alike)] * 12, hosts
            ),
            "12 of 0.5 s that compute": balanced(
                [Task(seconds=0.5, spins=True, factors=alike)] * 12, hosts
            ),
            "28 of 0.1 s, hosts 1, 2 and 4 times as slow": balanced(
                [Task(seconds=0.1, spins=False, factors=unlike)] * 28, hosts
            ),
            "24 of 0.05 to 0.4 s that wait": balanced(
                [Task(seconds=seconds, spins=False, factors=alike) for seconds in mixed], hosts
            ),
        }
    print(json.dumps(found), flush=True)
    ray.shutdown()


# --- the command ----------------------------------------------------------------------------------


def measured(cpus: Sequence[float], resource: str) -> dict[str, Any]:
    """Make hosts with so many CPUs, and return the figures that are measured there."""
    from tests.support.hosts import Hosts

    with Hosts(len(cpus)) as hosts:
        hosts.start_ray(cpus)
        program = hosts.start_program("benchmarks.hosts", "--on", resource)
        out, _ = program.communicate()
        assert program.returncode == 0, out
        found: dict[str, Any] = json.loads(out.splitlines()[-1])
        return found


SHOWN: Mapping[str, tuple[str, Callable[[float], str]]] = {
    "step": ("a superstep", "{:.2f} ms".format),
    "first": ("first event, warm", "{:.2f} ms".format),
    "token": ("an event, from the writer to the reader", "{:.2f} ms".format),
    "job": ("another job gets all CPUs, behind a run", "{:.2f} s".format),
}


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.hosts", description=__doc__)
    parser.add_argument("--on", metavar="RESOURCE", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.on:
        measure(given.on)
        return
    one, three = measured([CPUS], "host1"), measured([1] * CPUS, "host2")
    print("| | one host | three hosts | ratio |")
    print("|---|---|---|---|")
    for key, (name, shown) in SHOWN.items():
        print(f"| {name} | {shown(one[key])} | {shown(three[key])} | {three[key] / one[key]:.2f} |")
    print()
    print("| tasks on three hosts | ideal | of the ideal, median | least | tasks on each host |")
    print("|---|---|---|---|---|")
    for name, found in three["balance"].items():
        placed = Counter("/".join(map(str, one)) for one in found["placed"])
        shares = ", ".join(f"{where} ({count} times)" for where, count in placed.most_common())
        print(
            f"| {name} | {found['ideal']:.2f} s | {found['median']:.0%} | {found['least']:.0%} "
            f"| {shares} |"
        )


if __name__ == "__main__":
    main()
