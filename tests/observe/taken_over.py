"""A program on a Ray of its own: the driver of a run is killed, another one goes on. Prints the
metrics that Prometheus reads before and after, as JSON; the spans are in the file that is named."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import time
from typing import Any

import ray
from langgraph.checkpoint.memory import InMemorySaver
from opentelemetry import trace

from distgraph import END, START, StateGraph
from tests.deploy.metrics_program import _free_port, _metrics
from tests.observe import traced
from tests.support.cluster import pids_of_actors
from tests.support.graphs import Numbers

TURNS, LOST = 5, 2
GATE = "GATE"
"""Variable with the name of the file for which turn ``LOST`` waits."""


def turn(state: Numbers) -> Any:
    while state["n"] == LOST and not os.path.exists(os.environ[GATE]):
        time.sleep(0.05)
    return {"n": state["n"] + 1}


async def beside(state: Numbers) -> Any:
    return {"items": ["x"]}


def ahead(state: Numbers) -> Any:
    return ["turn", "beside"] if state["n"] < TURNS else END


def eventually(port: int, what: str, value: float) -> dict[str, float]:
    """Return the metrics once one of them has a value; what they are after a minute otherwise."""
    until, found = time.monotonic() + 60, {}
    while found.get(what) != value and time.monotonic() < until:
        try:
            found = _metrics(port)
        except OSError:  # the agent is not up yet
            pass
        time.sleep(0.1)
    return found


def main(file: str) -> None:
    os.environ |= {traced.FILE: file, GATE: f"{file}.gate"}
    traced.set_up()
    port = _free_port()
    ray.init(
        address="local",
        num_cpus=1,
        include_dashboard=False,
        log_to_driver=False,
        logging_level="ERROR",
        runtime_env={"worker_process_setup_hook": "tests.observe.traced.set_up"},
        _metrics_export_port=port,
        _system_config={"metrics_report_interval_ms": 500},
    )
    builder = StateGraph(Numbers).add_node(turn).add_node(beside)
    for place in (START, "turn"):
        builder.add_conditional_edges(place, ahead, ["turn", "beside", END])
    graph = builder.compile(checkpointer=InMemorySaver(), backend="ray", name="g")
    before: dict[str, float] = {}

    def kill() -> None:
        before.update(eventually(port, "ray_distgraph_steps_total graph=g", LOST + 1))
        for pid in pids_of_actors("SuperstepDriver"):
            os.kill(pid, signal.SIGKILL)
        open(os.environ[GATE], "w").close()

    killing = threading.Thread(target=kill)
    killing.start()
    with trace.get_tracer("test").start_as_current_span("request"):
        graph.invoke({"n": 0}, {"configurable": {"thread_id": "1"}, "on_lost_attempt": "buffer"})
    killing.join()
    after = eventually(port, "ray_distgraph_runs", 0)
    print(json.dumps({"before": before, "after": after}))


if __name__ == "__main__":
    main(sys.argv[1])
