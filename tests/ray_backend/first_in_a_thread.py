"""Starts Ray by a first run in a thread that ends, and goes on from others.

A program of its own: it must not meet the Ray of the session that runs the tests.
"""

import asyncio
import os
import threading
from pathlib import Path

import ray
from typing_extensions import TypedDict

from distgraph.graph import START, StateGraph


class State(TypedDict):
    n: int


def more(state):
    return {"n": state["n"] + 1}


async def both(graph):
    return await graph.abatch([{"n": i} for i in range(3)])


def main():
    graph = StateGraph(State).add_node("more", more).add_edge(START, "more").compile(backend="ray")
    first = threading.Thread(target=lambda: print(graph.invoke({"n": 0})))
    first.start()
    first.join()
    for size in (1, 3, 8, 2, 1, 5):
        print(graph.batch([{"n": i} for i in range(size)]))
    print(asyncio.run(both(graph)))
    print(graph.invoke({"n": 9}))
    folder = Path(ray._private.worker.global_worker.node.get_session_dir_path())
    print({path.read_text() for path in folder.glob("dashboard_agent_listen_port_*")})
    print([name for name in os.environ if name.startswith("RAY_raylet_client")])


if __name__ == "__main__":
    main()
