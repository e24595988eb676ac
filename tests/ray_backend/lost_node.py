"""Loses a machine of a cluster in the middle of a run, and prints what came of it as JSON.

A program of its own: it must not meet the Ray of the session that runs the tests.
"""

import json
import time

import ray
from ray.cluster_utils import Cluster
from typing_extensions import TypedDict

from distgraph.errors import WorkerDied
from distgraph.graph import START, StateGraph


class State(TypedDict, total=False):
    n: int


def endless(state, writer):
    for i in range(5):
        writer(i)
    while True:
        time.sleep(0.01)


def main():
    cluster = Cluster(
        initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False}
    )
    # first: on one machine a program is attached to any node that is there when it connects
    ray.init(address=cluster.address, log_to_driver=False, logging_level="ERROR")
    doomed = cluster.add_node(num_cpus=1, resources={"doomed": 1})
    cluster.wait_for_nodes()
    builder = StateGraph(State).add_node(
        "endless", endless, ray_options={"resources": {"doomed": 1}}
    )
    builder.add_node("after", lambda s: {"n": 7})
    graph = builder.add_edge(START, "endless").compile(backend="ray")
    seen, report = [], {}
    try:
        for chunk in graph.stream({"n": 1}, stream_mode="custom"):
            seen.append(chunk)
            if chunk == 4:
                begin = time.perf_counter()
                cluster.remove_node(doomed, allow_graceful=False)
    except WorkerDied as error:
        report = {"error": str(error), "seconds": time.perf_counter() - begin}
    fine = StateGraph(State).add_node("after", lambda s: {"n": 7}).add_edge(START, "after")
    report |= {"seen": seen, "next": fine.compile(backend="ray").invoke({"n": 1})}
    print(json.dumps(report))
    ray.shutdown()
    cluster.shutdown()


if __name__ == "__main__":
    main()
