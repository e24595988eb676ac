"""Runs equal tasks on a cluster of three machines with one CPU each and prints where they ran.

Not a test, because the placement is not the same each time: run it by hand, with
``python -m tests.ray_backend.balance``. Ideal are four tasks on each machine in
0.8 s.
"""

import operator
import time
from collections import Counter
from typing import Annotated

import ray
from ray.cluster_utils import Cluster
from typing_extensions import TypedDict

from distgraph.graph import START, StateGraph
from distgraph.types import Send

RUNS = 10


class State(TypedDict, total=False):
    items: Annotated[list, operator.add]


def work(state):
    time.sleep(0.2)
    return {"items": [ray.get_runtime_context().get_node_id()]}


def main():
    cluster = Cluster(
        initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False}
    )
    for _ in range(2):
        cluster.add_node(num_cpus=1)
    cluster.wait_for_nodes()
    ray.init(address=cluster.address, log_to_driver=False, logging_level="ERROR")
    builder = StateGraph(State).add_node("work", work)
    builder.add_conditional_edges(
        START, lambda s: [Send("work", {"items": []}) for _ in range(12)], ["work"]
    )
    graph = builder.compile(backend="ray")
    while len(set(graph.invoke({"items": []})["items"])) < 3:  # until each has a process
        pass
    for _ in range(RUNS):
        begin = time.perf_counter()
        placed = Counter(graph.invoke({"items": []})["items"])
        seconds = time.perf_counter() - begin
        print(f"{seconds:.2f} s, tasks on each machine: {sorted(placed.values())}", flush=True)
    ray.shutdown()
    cluster.shutdown()


if __name__ == "__main__":
    main()
