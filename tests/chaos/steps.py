"""One saved run of many supersteps, whose processes are killed in turn while it goes on.

Its stream and its final state have to be those of a run that nothing happened to.
"""

from __future__ import annotations

import itertools
import os
import signal
import tempfile
import time
import uuid
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, TypedDict

from langgraph.checkpoint.sqlite import SqliteSaver

from distgraph.graph import END, START, StateGraph
from tests.support.cluster import pids_of_actors

EVENTS = 3
"""Events of each node in a superstep."""

TURN = ("driver", "worker", "executor")
"""The processes that are killed, one after the other; and the broker, where it has a mirror: the
death of another one ends the run."""


def counted(total: int, more: int) -> int:
    return total + more


class State(TypedDict):
    step: int
    total: Annotated[int, counted]


def work(state: State, writer: Any) -> Any:
    """A node in a process of its own."""
    for number in range(EVENTS):
        writer(("work", state["step"], number, os.getpid()))
    return {"step": state["step"] + 1, "total": 1}


async def wait(state: State, writer: Any) -> Any:
    """A node that shares its process."""
    for number in range(EVENTS):
        writer(("wait", state["step"], number, os.getpid()))
    return {"total": 1000}


def graph(steps: int, saver: Any) -> Any:
    """Return a graph of ``steps`` supersteps, each with both nodes."""

    def go_on(state: State) -> list[str]:
        return ["work", "wait"] if state["step"] < steps else [END]

    builder = StateGraph(State).add_node(work).add_node(wait)
    builder.add_edge(START, "work").add_edge(START, "wait")
    builder.add_conditional_edges("work", go_on, ["work", "wait", END])
    return builder.compile(checkpointer=saver, backend="ray")


@dataclass
class Result:
    """What came of a run."""

    stream: list[Any] = field(default_factory=list)
    """Chunks without process ids. Those of the two nodes of a superstep are sorted."""
    state: Any = None
    checkpoints: int = 0
    seconds: float = 0.0
    killed: Counter[str] = field(default_factory=Counter)


Kill = Callable[[int, Sequence[Any]], str | None]
"""Called with the number of the superstep and its chunks when it has ended. Returns what was
killed."""


def run(steps: int, kill: Kill = lambda step, chunks: None) -> Result:
    """Run the graph once."""
    result, begin = Result(), time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        path = str(Path(folder) / "threads.sqlite")
        with SqliteSaver.from_conn_string(path) as saver:
            compiled = graph(steps, saver)
            config: Any = {"configurable": {"thread_id": str(uuid.uuid4())}}
            chunks: list[Any] = []
            options = {"on_lost_attempt": "buffer", "recursion_limit": steps + 10}
            for mode, payload in compiled.stream(
                {"step": 0, "total": 0},
                {**config, **options},
                stream_mode=["custom", "updates", "values"],
            ):
                chunks.append((mode, payload))
                if mode == "values":
                    result.stream.append(sorted(map(_plain, chunks)))
                    killed = kill(payload["step"], chunks)
                    if killed is not None:
                        result.killed[killed] += 1
                    chunks = []
            result.state = compiled.get_state(config).values
            result.checkpoints = sum(1 for _ in compiled.get_state_history(config))
    result.seconds = time.monotonic() - begin
    return result


def _plain(chunk: tuple[str, Any]) -> str:
    mode, payload = chunk
    return f"{mode} {payload[:-1] if mode == 'custom' else payload}"


class InTurn:
    """Kills a process every so many supersteps: driver, worker, executor, broker, driver, …"""

    def __init__(self, every: int) -> None:
        self._every = every
        is_mirrored = os.environ.get("DISTGRAPH_MIRROR", "0") != "0"
        self._turn = itertools.cycle((*TURN, "broker") if is_mirrored else TURN)

    def __call__(self, step: int, chunks: Sequence[Any]) -> str | None:
        if not step or step % self._every:
            return None
        kind = next(self._turn)
        node = {"worker": "work", "executor": "wait"}.get(kind)
        if node is None:
            pids = pids_of_actors("StreamBroker" if kind == "broker" else "SuperstepDriver")
        else:
            pids = [p[-1] for mode, p in chunks if mode == "custom" and p[0] == node][-1:]
        for pid in pids:
            with suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        return kind


def report(steps: int, every: int) -> bool:
    """Run twice, the second time under kills. Print figures; return whether both are equal."""
    undisturbed, disturbed = run(steps), run(steps, InTurn(every))
    equal = disturbed.stream == undisturbed.stream
    for at, (found, expected) in enumerate(zip(disturbed.stream, undisturbed.stream, strict=False)):
        if found != expected:
            print(f"superstep {at}: {found}\n  in place of {expected}")
            break
    chunks = sum(map(len, disturbed.stream))
    print(f"supersteps {steps}, chunks {chunks}, checkpoints {disturbed.checkpoints}")
    print(f"killed {dict(disturbed.killed)}, one every {every} supersteps")
    print(f"{undisturbed.seconds:.1f} s undisturbed, {disturbed.seconds:.1f} s under kills")
    print(f"stream equal: {equal}, state equal: {disturbed.state == undisturbed.state}")
    same = disturbed.checkpoints == undisturbed.checkpoints
    print(f"checkpoints equal: {same}")
    return equal and same and disturbed.state == undisturbed.state
