"""Runs a graph on a cluster of three hosts and prints each chunk as a line of JSON.

Started by ``test_three_hosts.py`` on the first host. The last line is the result, or the error.
"""

import itertools
import json
import operator
import pathlib
import sys
import time
from contextlib import suppress
from typing import Annotated

import ray
from langgraph.checkpoint.sqlite import SqliteSaver
from typing_extensions import TypedDict

import distgraph
from distgraph.errors import RunError
from distgraph.graph import END, START, StateGraph
from distgraph.types import Send

STEPS, EVENTS = 40, 10

MEETING = 60.0
"""Seconds for which a task of ``spread`` waits for two others."""

WRITING = 0.002
"""Seconds between two events of ``quick``."""


class State(TypedDict, total=False):
    items: Annotated[list, operator.add]
    blob: bytes
    folder: str
    n: int


def say(**line):
    print(json.dumps(line), flush=True)


def plain(mode, chunk):
    if mode == "custom":
        return chunk
    return {node: (update or {}).get("n") for node, update in chunk.items()}


def far(state, writer):
    n = state.get("n", 0)
    for i in range(EVENTS):
        writer([n, i])
        time.sleep(0.01)
    return {"n": n + 1}


def steps(backend, resource="host2", saver=None):
    """Steps that run on one host, one after the other."""
    builder = StateGraph(State)
    builder.add_node("far", far, ray_options={"resources": {resource: 1}})
    builder.add_edge(START, "far")
    builder.add_conditional_edges("far", lambda s: "far" if s["n"] < STEPS else END, ["far", END])
    return builder.compile(backend=backend, checkpointer=saver)


def moves(backend):
    """Steps on the second or third host, whose events say on which one."""

    def node(state, writer):
        n = state.get("n", 0)
        here = ray.util.get_node_ip_address()
        for i in range(EVENTS):
            writer([n, i, here])
            time.sleep(0.01)
        return {"n": n + 1}

    builder = StateGraph(State)
    builder.add_node("node", node, ray_options={"resources": {"far": 1}})
    builder.add_edge(START, "node")
    builder.add_conditional_edges(
        "node", lambda s: "node" if s["n"] < STEPS else END, ["node", END]
    )
    return builder.compile(backend=backend)


def long(backend):
    """One node on the second host, which streams some events and then takes long."""

    def stay(state, writer):
        for i in range(EVENTS):
            writer(i)
        time.sleep(120.0)

    builder = StateGraph(State)
    builder.add_node("stay", stay, ray_options={"resources": {"host2": 1}})
    return builder.add_edge(START, "stay").compile(backend=backend)


def large(backend):
    """10 MB of state that the second host made, and that the third reads."""

    def make(state):
        return {"blob": bytes(10_000_000)}

    def wait(state, writer):
        writer("made")
        time.sleep(3.0)
        return {"n": len(state["blob"])}

    builder = StateGraph(State)
    builder.add_node("make", make, ray_options={"resources": {"host2": 1}})
    builder.add_node("wait", wait, ray_options={"resources": {"host3": 1}})
    builder.add_node("read", lambda s: {"n": s["n"] + len(s["blob"])})
    builder.add_edge(START, "make").add_edge("make", "wait").add_edge("wait", "read")
    return builder.compile(backend=backend)


def place_in(folder):
    """Take the next place in a folder that all hosts see: 0, 1, 2 and so on."""
    for place in itertools.count():
        with suppress(FileExistsError):
            (folder / str(place)).mkdir()
            return place


def spread(backend, seconds):
    """Twelve tasks. Three meet at a time: each waits until two others run.

    Each task returns which meeting it had, and on which node.
    """

    def work(state):
        folder = pathlib.Path(state["folder"])
        meeting, _ = divmod(place_in(folder), 3)
        last = folder / str(3 * meeting + 2)
        until = time.monotonic() + MEETING
        while not last.exists():
            assert time.monotonic() < until, f"only one or two tasks run at meeting {meeting}"
            time.sleep(0.01)
        time.sleep(seconds)
        return {"items": [[meeting, ray.get_runtime_context().get_node_id()]]}

    builder = StateGraph(State).add_node("work", work)
    builder.add_conditional_edges(
        START, lambda s: [Send("work", {"folder": s["folder"]}) for _ in range(12)], ["work"]
    )
    return builder.compile(backend=backend)


def quick(backend):
    """Steps on the second host that take no time, and whose events say when they were written."""

    def now(state, writer):
        n = state.get("n", 0)
        for i in range(EVENTS):
            writer([n, i, time.monotonic()])
            time.sleep(WRITING)
        return {"n": n + 1}

    builder = StateGraph(State)
    builder.add_node("now", now, ray_options={"resources": {"host2": 1}})
    builder.add_edge(START, "now")
    builder.add_conditional_edges("now", lambda s: "now" if s["n"] < STEPS else END, ["now", END])
    return builder.compile(backend=backend)


def timed(graph):
    """Run ``quick``. Return its chunks, the ages of its events, and how long its steps took."""
    chunks, ages, ends = [], [], []
    for mode, chunk in graph.stream(
        {"n": 0}, {"recursion_limit": 1000}, stream_mode=["custom", "updates"]
    ):
        now = time.monotonic()
        if mode == "custom":
            ages.append(now - chunk.pop())
        else:
            ends.append(now)
        chunks.append([mode, chunk])
    steps = [after - before for before, after in itertools.pairwise(ends)]
    return {"chunks": chunks, "ages": ages, "steps": steps}


def launch(database):
    """Start a detached run of steps on the third host, and stay."""
    with SqliteSaver.from_conn_string(database) as saver:
        graph = steps("ray", "host3", saver)
        config = {"recursion_limit": 1000, "configurable": {"thread_id": "1"}}
        modes = ["custom", "updates"]
        run = graph.start(
            {"n": 0}, {**config, "on_lost_attempt": "buffer"}, stream_mode=modes, detached=True
        )
        say(run_id=run.run_id)
        time.sleep(600)


def read(run_id):
    """Read a run that another process has started."""
    run, end, last, longest = distgraph.attach(run_id), None, time.perf_counter(), 0.0
    try:
        for _, (mode, chunk) in run.events():
            now = time.perf_counter()
            longest, last = max(longest, now - last), now
            say(chunk=[mode, plain(mode, chunk)])
    except RunError as error:
        end = type(error).__name__
    say(error=end, longest=longest, since=time.perf_counter() - last)


def main(what, *given):
    ray.init(log_to_driver=False, logging_level="ERROR")
    if what in ("launch", "read"):
        {"launch": launch, "read": read}[what](*given)
        return
    if what == "quick":
        timed(quick("ray"))
        say(warm=True)
        say(**timed(quick("ray")))
        return
    if what == "spread":
        seconds, folder = given
        graph = spread("ray", float(seconds))
        for number in range(10):
            own = pathlib.Path(folder) / f"run {number}"
            own.mkdir()
            begin = time.perf_counter()
            items = graph.invoke({"items": [], "folder": str(own)})["items"]
            say(seconds=time.perf_counter() - begin, items=items)
        return
    builder = {"steps": steps, "moves": moves, "long": long, "large": large}[what]
    config = {"recursion_limit": 1000}
    if what == "moves":
        config["on_lost_attempt"] = "buffer"
    graph = builder("ray")
    begin = last = time.perf_counter()
    longest, started = 0.0, 0.0
    try:
        for mode, chunk in graph.stream({"n": 0}, config, stream_mode=["custom", "updates"]):
            now = time.perf_counter()
            if started:
                longest = max(longest, now - last)
            else:  # the start of processes is no pause
                started = now - begin
            last = now
            say(chunk=[mode, plain(mode, chunk)])
        end = {"error": None}
    except RunError as error:
        end = {"error": type(error).__name__, "text": str(error)}
    now = time.perf_counter()
    say(**end, started=started, seconds=now - begin, longest=longest, since=now - last)
    ray.shutdown()


if __name__ == "__main__":
    main(*sys.argv[1:])
