"""Runs one graph on a cluster of three nodes and prints what came of it as JSON.

A program of its own: it must not meet the Ray of the session that runs the tests.
"""

import json
import operator
import time
from typing import Annotated

import ray
from ray.cluster_utils import Cluster
from typing_extensions import TypedDict

from distgraph.graph import START, StateGraph


class State(TypedDict, total=False):
    items: Annotated[list, operator.add]


def placed(name):
    def node(state, writer):
        import ray

        for i in range(50):
            writer({"node": name, "i": i})
        return {"items": [[name, ray.get_runtime_context().get_node_id()]]}

    return node


def main():
    cluster = Cluster(
        initialize_head=True,
        head_node_args={"num_cpus": 1, "include_dashboard": False},
    )
    sides = {}
    for side in ("left", "right"):
        sides[side] = cluster.add_node(num_cpus=1, resources={side: 1}).node_id
    cluster.wait_for_nodes()
    ray.init(address=cluster.address, log_to_driver=False, logging_level="ERROR")
    builder = StateGraph(State)
    for side in sides:
        options = {"resources": {side: 1}}
        builder.add_node(side, placed(side), ray_options=options).add_edge(START, side)
    builder.add_node("again", placed("again"), ray_options={"resources": {"left": 0.5}})
    builder.add_edge(list(sides), "again")
    graph = builder.compile(backend="ray")
    begin = time.perf_counter()
    chunks = list(graph.stream({"items": []}, stream_mode=["values", "updates", "custom"]))
    seconds = time.perf_counter() - begin
    print(json.dumps({"sides": sides, "chunks": chunks, "seconds": seconds}))
    ray.shutdown()
    cluster.shutdown()


if __name__ == "__main__":
    main()
