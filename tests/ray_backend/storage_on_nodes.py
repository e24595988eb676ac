"""Uses savers, stores and caches from a machine of a cluster that is not the caller's; prints JSON.

A program of its own: it must not meet the Ray of the session that runs the tests.
"""

import json
import operator
import os
import sqlite3
import sys
from pathlib import Path
from typing import Annotated

import ray
from langgraph.cache.memory import InMemoryCache
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.store.memory import InMemoryStore
from langgraph.store.sqlite import SqliteStore
from ray.cluster_utils import Cluster
from typing_extensions import TypedDict

from distgraph import get_store
from distgraph.graph import START, StateGraph
from distgraph.runtime import Runtime
from distgraph.types import CachePolicy, Command, interrupt

FAR = {"resources": {"far": 0.1}}
THREAD = {"configurable": {"thread_id": "1"}}


class State(TypedDict, total=False):
    items: Annotated[list, operator.add]
    answer: list


class Question(TypedDict, total=False):
    answer: list


def here():
    return ray.get_runtime_context().get_node_id()


def compile_all(folder: Path, saver, store, cache, notebook):
    """A graph of a node that uses the store, a cached one, one that asks, and a nested graph."""

    def keeps(state: State, runtime: Runtime) -> State:
        get_store().put(("far",), "k", {"node": here()})
        return {"items": [runtime.store.get(("far",), "k").value["node"]]}

    def cached(state: State) -> State:
        with (folder / "cached").open("a") as file:
            file.write(".")
        return {"items": ["cached"]}

    def asks(state: Question) -> Question:
        return {"answer": [interrupt("go on?"), here()]}

    def refers(state: State) -> State:
        # an object of the caller that the node's code refers to
        notebook.put(("notes",), "n", {"by": os.getpid()})
        return {"items": [notebook.get(("notes",), "n").value["by"] == os.getpid()]}

    def invokes(state: State) -> State:
        inner = StateGraph(State).add_node("in", lambda s: {"items": ["in"]})
        graph = inner.add_edge(START, "in").compile(checkpointer=saver)
        return {"items": graph.invoke({"items": []}, {"configurable": {"thread_id": "2"}})["items"]}

    child = StateGraph(Question).add_node("asks", asks, ray_options=FAR)
    child.add_edge(START, "asks")
    builder = StateGraph(State).add_node("keeps", keeps, ray_options=FAR)
    builder.add_node("cached", cached, ray_options=FAR, cache_policy=CachePolicy(key_func=str))
    builder.add_node("refers", refers, ray_options=FAR)
    builder.add_node("invokes", invokes, ray_options=FAR)
    builder.add_node("child", child.compile())
    names = ["keeps", "cached", "refers", "invokes", "child"]
    for one, next_one in zip([START, *names], names, strict=False):
        builder.add_edge(one, next_one)
    return builder.compile(checkpointer=saver, store=store, cache=cache, backend="ray")


def main():
    folder = Path(sys.argv[1])
    cluster = Cluster(
        initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False}
    )
    ray.init(address=cluster.address, log_to_driver=False, logging_level="ERROR")
    far = cluster.add_node(num_cpus=1, resources={"far": 1}).node_id
    cluster.wait_for_nodes()
    saver_file = sqlite3.connect(folder / "saver.db", check_same_thread=False)
    store_file = sqlite3.connect(folder / "store.db", check_same_thread=False, isolation_level=None)
    files = SqliteSaver(saver_file), SqliteStore(store_file)
    files[1].setup()
    report = {"far": far, "here": here()}
    for kind, saver, store in (
        ("memory", InMemorySaver(), InMemoryStore()),
        ("file", *files),
    ):
        cache, notebook = InMemoryCache(), InMemoryStore()
        kept = folder / kind
        kept.mkdir()
        graph = compile_all(kept, saver, store, cache, notebook)
        first = graph.invoke({"items": []}, THREAD)
        asked = [question.value for question in first["__interrupt__"]]
        final = graph.invoke(Command(resume="yes"), THREAD)
        graph.invoke({"items": []}, {"configurable": {"thread_id": "3"}})
        report[kind] = {
            "asked": asked,
            "items": final["items"],
            "answer": final["answer"],
            "cached": len((kept / "cached").read_text()),
            "store": store.get(("far",), "k").value["node"],
            "notes": notebook.get(("notes",), "n").value["by"] != os.getpid(),
            "inner": saver.get_tuple({"configurable": {"thread_id": "2"}}).checkpoint[
                "channel_values"
            ]["items"],
        }
    print(json.dumps(report))
    ray.shutdown()
    cluster.shutdown()


if __name__ == "__main__":
    main()
