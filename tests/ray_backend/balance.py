"""Runs equal tasks on a cluster of three machines with one CPU each and prints where they ran.

A program of its own: it must not meet the Ray of the session that runs the tests.
"""

import json
import operator
import time
from collections import Counter
from typing import Annotated

import ray
from ray.cluster_utils import Cluster
from typing_extensions import TypedDict

from distgraph.graph import START, StateGraph
from distgraph.types import Send


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
    reports = []
    for _ in range(3):  # a machine that is busy with other things delays some of them
        begin = time.perf_counter()
        placed = Counter(graph.invoke({"items": []})["items"])
        reports.append((time.perf_counter() - begin, sorted(placed.values())))
    seconds, best = min(reports)
    print(json.dumps({"placed": best, "seconds": seconds}))
    ray.shutdown()
    cluster.shutdown()


if __name__ == "__main__":
    main()
