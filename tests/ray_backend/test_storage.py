"""Stores and savers of the caller, used by nodes on the workers of a cluster."""

import asyncio
import operator
import os
import sqlite3
from typing import Annotated, Any

import pytest
from langchain_core.messages import AIMessage
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.checkpoint.sqlite import SqliteSaver
from langgraph.store.base import BaseStore
from langgraph.store.memory import InMemoryStore
from langgraph.store.sqlite import SqliteStore
from typing_extensions import TypedDict

from distgraph import get_store
from distgraph.errors import UnsupportedError
from distgraph.graph import END, START, MessagesState, StateGraph
from distgraph.persistence.encoded_items import SHORT
from distgraph.persistence.growing_lists import KeptLists
from distgraph.prebuilt import InjectedStore, ToolNode
from distgraph.runtime import Runtime
from distgraph.types import Send

pytestmark = pytest.mark.ray


class State(TypedDict, total=False):
    out: Annotated[list, operator.add]


def put(item: Any, *, store: BaseStore) -> State:
    store.put(("items",), str(item), {"by": os.getpid(), "got": store.get(("start",), "k").value})
    return {"out": [os.getpid()]}


async def aput(item: Any, runtime: Runtime) -> State:
    await runtime.store.aput(("items",), str(item), {"by": os.getpid()})
    found = await runtime.store.asearch(("start",))
    return {"out": [found[0].value["v"]]}


def seen(state: State) -> State:
    import langgraph.config

    return {"out": [len(place.search(("items",))) for place in (get_store(), _theirs(langgraph))]}


def _theirs(langgraph):
    return langgraph.config.get_store()


def fan(node, n, store):
    builder = StateGraph(State).add_node("put", node).add_node("seen", seen)
    builder.add_conditional_edges(START, lambda s: [Send("put", i) for i in range(n)], ["put"])
    return builder.add_edge("put", "seen").compile(store=store, backend="ray")


def test_a_store_in_memory_is_one_object_for_all_workers(on_ray):
    store = InMemoryStore()
    store.put(("start",), "k", {"v": 1})
    out = fan(put, 6, store).invoke({"out": []})["out"]
    items = store.search(("items",), limit=100)
    assert {item.key for item in items} == {str(i) for i in range(6)}
    assert {item.value["by"] for item in items} == set(out[:6])
    assert os.getpid() not in out
    assert all(item.value["got"] == {"v": 1} for item in items)
    assert out[6:] == [6, 6]


def test_async_nodes_await_the_store(on_ray):
    store = InMemoryStore()
    store.put(("start",), "k", {"v": 1})
    out = asyncio.run(fan(aput, 30, store).ainvoke({"out": []}))["out"]
    assert out == [1] * 30 + [10, 10]
    assert len(store.search(("items",), limit=100)) == 30


def test_a_store_in_a_file_is_opened_by_the_driver(on_ray, tmp_path):
    connection = sqlite3.connect(
        tmp_path / "store.db", check_same_thread=False, isolation_level=None
    )
    store = SqliteStore(connection)
    store.setup()
    store.put(("start",), "k", {"v": 1})
    fan(put, 3, store).invoke({"out": []})
    assert {item.key for item in store.search(("items",))} == {"0", "1", "2"}
    connection.close()
    with pytest.raises(UnsupportedError, match="SqliteStore: its connection is closed"):
        fan(put, 1, store)


def test_a_saver_that_was_closed_behind_compile_is_named(on_ray, tmp_path):
    builder = StateGraph(State).add_node("n", lambda state: {"out": [1]}).add_edge(START, "n")
    with SqliteSaver.from_conn_string(str(tmp_path / "saver.db")) as saver:
        graph = builder.compile(checkpointer=saver, backend="ray")
    with pytest.raises(UnsupportedError, match="SqliteSaver: its connection is closed"):
        graph.invoke({"out": []}, {"configurable": {"thread_id": "1"}})


class Noting(InMemorySaver):
    """Notes the list of each checkpoint that it is given."""

    def __init__(self):
        super().__init__()
        self.given = []

    def put(self, config, checkpoint, metadata, new_versions):
        self.given.append(checkpoint["channel_values"].get("out", []))
        return super().put(config, checkpoint, metadata, new_versions)


def test_a_saver_of_the_caller_receives_the_new_items_of_a_list_that_grows(on_ray, monkeypatch):
    received = []
    completed = KeptLists.completed

    def noting(self, short, encode):
        received.append(len(short.tails["out"].items))
        return completed(self, short, encode)

    monkeypatch.setattr(KeptLists, "completed", noting)
    saver = Noting()
    builder = StateGraph(State).add_node("n", lambda state: {"out": [len(state["out"])]})
    builder.add_edge(START, "n")
    builder.add_conditional_edges("n", lambda s: "n" if len(s["out"]) < SHORT + 9 else END)
    graph = builder.compile(checkpointer=saver, backend="ray")
    graph.invoke({"out": []}, {"configurable": {"thread_id": "1"}, "recursion_limit": 50})
    assert saver.given[1:] == [list(range(count)) for count in range(SHORT + 10)]
    assert received == [SHORT + 1, *[1] * 8]


def test_a_store_in_postgres_is_used_by_workers(on_ray, postgres):
    from langgraph.store.postgres import PostgresStore

    with PostgresStore.from_conn_string(postgres.new_database()) as store:
        store.setup()
        store.put(("start",), "k", {"v": 1})
        fan(put, 3, store).invoke({"out": []})
        assert {item.key for item in store.search(("items",))} == {"0", "1", "2"}


@tool
def note(text: str, store: Annotated[Any, InjectedStore()]) -> str:
    """Keep a note."""
    store.put(("notes",), text, {"pid": os.getpid()})
    return "kept"


def test_tools_get_the_store(on_ray):
    store = InMemoryStore()
    builder = StateGraph(MessagesState).add_node("tools", ToolNode([note])).add_edge(START, "tools")
    graph = builder.compile(store=store, backend="ray")
    calls = [{"name": "note", "args": {"text": t}, "id": t, "type": "tool_call"} for t in "ab"]
    graph.invoke({"messages": [AIMessage("", tool_calls=calls)]})
    found = store.search(("notes",))
    assert {item.key for item in found} == {"a", "b"}
    assert os.getpid() not in {item.value["pid"] for item in found}


def test_graphs_inside_use_the_store_of_the_graph_around_them(on_ray):
    store, inner = InMemoryStore(), InMemoryStore()

    def leaf(state: State) -> State:
        get_store().put(("leaf",), str(len(state["out"])), {})
        return {"out": ["leaf"]}

    child = StateGraph(State).add_node("leaf", leaf).add_edge(START, "leaf").compile(store=inner)

    def call(state: State) -> State:
        return {"out": child.invoke({"out": state["out"]})["out"]}

    builder = StateGraph(State).add_node("child", child).add_node("call", call)
    builder.add_edge(START, "child").add_edge("child", "call")
    builder.compile(store=store, backend="ray").invoke({"out": []})
    assert {item.key for item in store.search(("leaf",))} == {"0", "1"}
    assert inner.search(("leaf",)) == []


class Shut(InMemoryStore):
    def batch(self, ops):
        raise PermissionError("the store is shut")


def test_an_error_of_the_store_is_the_nodes_error(on_ray):
    store = Shut()
    with pytest.raises(PermissionError, match="the store is shut") as caught:
        fan(put, 1, store).invoke({"out": []})
    assert any("node 'put'" in line for line in caught.value.__notes__)


def test_savers_that_nodes_refer_to_are_reached(on_ray, tmp_path):
    memory = InMemorySaver()
    connection = sqlite3.connect(tmp_path / "saver.db", check_same_thread=False)
    file = SqliteSaver(connection)

    def save(state: State) -> State:
        from tests.persistence.savers import config, saved

        for saver in (memory, file):
            saved(saver, "1", a=len(saver.get_next_version(None, None)))
        return {"out": [saver.get_tuple(config("1")).metadata["step"] for saver in (memory, file)]}

    builder = StateGraph(State).add_node("save", save).add_edge(START, "save")
    assert builder.compile(backend="ray").invoke({"out": []}) == {"out": [-1, -1]}
    for saver in (memory, file):
        found = saver.get_tuple({"configurable": {"thread_id": "1"}})
        assert found.checkpoint["channel_values"]["a"] > 32
    connection.close()


def test_graphs_of_langgraph_use_the_callers_store(on_ray):
    import langgraph.graph

    from distgraph import distribute

    def keep(state: State, *, store: BaseStore) -> State:
        store.put(("kept",), "k", {"pid": os.getpid()})
        return {"out": []}

    store = InMemoryStore()
    builder = langgraph.graph.StateGraph(State).add_node("keep", keep).add_edge(START, "keep")
    distribute(builder.compile(store=store), backend="ray").invoke({"out": []})
    assert store.get(("kept",), "k").value["pid"] != os.getpid()
