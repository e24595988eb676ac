"""A graph that LangGraph compiled streams the same, from workers that distgraph starts."""

from __future__ import annotations

import asyncio
import operator
import os
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import pytest
from langchain_core.messages import AnyMessage, HumanMessage
from langchain_core.runnables import RunnableConfig
from langgraph.config import get_stream_writer
from langgraph.graph import END, START, StateGraph
from langgraph.graph.message import add_messages
from langgraph.runtime import Runtime
from langgraph.store.base import BaseStore
from langgraph.store.memory import InMemoryStore
from langgraph.types import Command, Send
from typing_extensions import TypedDict

import distgraph
from distgraph import distribute
from tests.langgraph_graphs.support import newest, same
from tests.support.models import EchoModel

model = EchoModel()


class State(TypedDict, total=False):
    messages: Annotated[list[AnyMessage], add_messages]
    topics: list[str]
    notes: Annotated[list[str], operator.add]
    pids: Annotated[list[int], operator.add]
    verdict: str


class Review(TypedDict, total=False):
    notes: list[str]
    pids: list[int]
    draft: str
    verdict: str


def plan(state: State) -> dict[str, Any]:
    get_stream_writer()({"node": "plan"})
    return {"topics": ["ice", "cats"], "pids": [os.getpid()]}


def fan_out(state: State) -> list[Send]:
    return [Send("research", {"topic": topic}) for topic in state["topics"]]


def research(state: dict[str, str]) -> dict[str, Any]:
    return {"notes": [f"on {state['topic']}"], "pids": [os.getpid()]}


def write(state: State) -> Command[Literal["review"]]:
    said = model.invoke([HumanMessage(" and ".join(state["notes"]), id="asked")])
    return Command(update={"messages": [said], "pids": [os.getpid()]}, goto="review")


async def draft(state: Review) -> dict[str, Any]:
    get_stream_writer()({"node": "draft"})
    return {"draft": "; ".join(state["notes"]), "pids": [os.getpid()]}


def judge(state: Review) -> dict[str, Any]:
    return {"verdict": f"{len(state['draft'])} letters", "pids": [os.getpid()]}


def good(state: State) -> Literal["publish", "__end__"]:
    return "publish" if "letters" in state["verdict"] else "__end__"


def publish(state: State) -> dict[str, Any]:
    return {"notes": ["published"], "pids": [os.getpid()]}


def newsroom(*_: Any) -> StateGraph:
    """A subgraph, ``Send``, ``Command``, conditional edges, sync and async nodes, a chat model."""
    review = (
        StateGraph(Review)
        .add_node("draft", draft)
        .add_node("judge", judge)
        .add_edge(START, "draft")
        .add_edge("draft", "judge")
        .compile()
    )
    return (
        StateGraph(State)
        .add_node("plan", plan)
        .add_node("research", research)
        .add_node("write", write)
        .add_node("review", review)
        .add_node("publish", publish)
        .add_edge(START, "plan")
        .add_conditional_edges("plan", fan_out, ["research"])
        .add_edge("research", "write")
        .add_conditional_edges("review", good)
        .add_edge("publish", END)
    )


def without_pids(chunk: Any) -> Any:
    if isinstance(chunk, dict):
        return {k: "pids" if k == "pids" else without_pids(v) for k, v in chunk.items()}
    if isinstance(chunk, (list, tuple)):
        return type(chunk)(without_pids(item) for item in chunk)
    return chunk


class WithoutPids:
    """A compiled graph whose chunks do not say which process they come from."""

    def __init__(self, graph: Any) -> None:
        self.graph = graph

    def stream(self, *args: Any, **kwargs: Any) -> Any:
        return (without_pids(chunk) for chunk in self.graph.stream(*args, **kwargs))

    async def astream(self, *args: Any, **kwargs: Any) -> Any:
        async for chunk in self.graph.astream(*args, **kwargs):
            yield without_pids(chunk)


MODES: list[Any] = [
    "values",
    ["values", "updates", "custom", "messages"],
    ["tasks", "debug", "custom"],
]


def key(item: Any) -> Any:
    """Name a chunk's task; those of the parallel ``research`` tasks by what they hold."""
    if item.ns:
        return item.ns[0].split(":")[0]
    if item.mode == "values":
        return None
    if item.mode == "updates":
        return str(item.payload) if "research" in item.payload else tuple(item.payload)
    if item.mode in ("tasks", "debug"):
        payload = item.payload.get("payload", item.payload)
        research = payload["name"] == "research"
        return str(payload.get("input") or payload.get("result")) if research else payload["name"]
    return item.payload["node"] if item.mode == "custom" else item.payload[1]["langgraph_node"]


@newest
@pytest.mark.parametrize("modes", MODES, ids=str)
def test_a_whole_application_streams_the_same(backend, modes):
    from tests.langgraph_graphs.support import Distributed, Reference
    from tests.support.differential import Differ

    def plain(engine):
        given = type(engine).compile
        engine.compile = lambda builder, **o: WithoutPids(given(engine, builder, **o))
        return engine

    # async, so that the reference can run the async node
    Differ(plain(Reference()), plain(Distributed(backend))).stream(
        newsroom,
        {"notes": []},
        faces=("sync", "async"),
        reference_face="async",
        parallel=True,
        key=key,
        stream_mode=modes,
        subgraphs=True,
    )


def test_langgraphs_engine_runs_nothing(backend, idle_langgraph):
    graph = distribute(newsroom().compile(), backend=backend)
    out = graph.invoke({"notes": []})
    # what the subgraph returns is added to what its parent has
    assert out["notes"] == ["on ice", "on cats"] * 2 + ["published"]
    assert asyncio.run(graph.ainvoke({"notes": []}))["verdict"] == "15 letters"


@pytest.mark.ray
def test_every_node_of_it_runs_in_another_process(ray_session):
    graph = distribute(newsroom().compile(), backend="ray")
    pids = graph.invoke({"notes": []})["pids"]
    assert len(pids) == 6  # the subgraph tells of its last node alone
    assert os.getpid() not in pids


@pytest.mark.ray
def test_the_nodes_of_a_subgraph_are_tasks_of_their_own(ray_session):
    """The async node has gone to the executor, the sync one to a task."""
    graph = distribute(newsroom().compile(), backend="ray")
    inside = [
        payload
        for ns, payload in graph.stream({"notes": []}, stream_mode="updates", subgraphs=True)
        if ns
    ]
    assert inside[0]["draft"]["pids"] != inside[1]["judge"]["pids"]


# --- what distribute takes ----------------------------------------------------------------------


def two() -> StateGraph:
    return (
        StateGraph(Review)
        .add_node("draft", lambda state: {"draft": "d"})
        .add_node("judge", lambda state: {"verdict": "v"})
        .add_edge(START, "draft")
        .add_edge("draft", "judge")
    )


def test_a_builder_will_do():
    assert distribute(two(), backend="local").invoke({"notes": ["a"]}) == {
        "notes": ["a"],
        "draft": "d",
        "verdict": "v",
    }


def test_a_bound_config_stays():
    def tell(state: Review, config: RunnableConfig) -> dict[str, Any]:
        return {"notes": [str(config["metadata"]["who"]), str(config["recursion_limit"])]}

    graph = StateGraph(Review).add_node("tell", tell).add_edge(START, "tell").compile()
    bound = graph.with_config({"metadata": {"who": "ada"}, "recursion_limit": 7})
    assert distribute(bound, backend="local").invoke({"notes": []})["notes"] == ["ada", "7"]


def test_names_that_came_with_compile_stay():
    graph = distribute(two().compile(name="Desk"), backend="local")
    assert graph.name == "Desk"
    assert graph.get_graph().draw_ascii() == "__start__ --> draft --> judge --> __end__"
    assert set(graph.get_input_jsonschema()["properties"]) == {"notes", "pids", "draft", "verdict"}


def test_breakpoints_that_came_with_compile_hold():
    graph = distribute(two().compile(interrupt_before=["judge"]), backend="local")
    assert list(graph.stream({"notes": []}, stream_mode="updates")) == [
        {"draft": {"draft": "d"}},
        {"__interrupt__": ()},
    ]


@dataclass
class Context:
    user: str


def test_context_is_coerced_and_reaches_the_nodes(backend):
    def tell(state: Review, runtime: Runtime[Context]) -> dict[str, Any]:
        return {"notes": [runtime.context.user]}

    graph = StateGraph(Review, context_schema=Context).add_node("tell", tell)
    made = distribute(graph.add_edge(START, "tell").compile(), backend=backend)
    assert made.invoke({"notes": []}, context={"user": "ada"})["notes"] == ["ada"]
    assert made.context_schema is Context


def test_a_store_reaches_the_nodes():
    def save(state: Review, *, store: BaseStore) -> dict[str, Any]:
        store.put(("n",), "k", {"v": 1})
        return {"notes": [str(store.get(("n",), "k").value["v"])]}

    graph = StateGraph(Review).add_node("save", save).add_edge(START, "save")
    made = distribute(graph.compile(store=InMemoryStore()), backend="local")
    assert made.invoke({"notes": []})["notes"] == ["1"]


def test_ray_options_are_checked_and_reach_their_nodes():
    graph = distribute(
        newsroom(), backend="local", ray_options={"plan": {"num_cpus": 2}, "review:judge": {}}
    )
    assert graph.spec.nodes["plan"].ray_options == {"num_cpus": 2}
    nested = distribute(
        newsroom(), ray_options={"review:judge": {"num_cpus": 0.5}}, backend="local"
    )
    inner = nested.spec.nodes["review"].subgraph
    assert inner is not None and inner.nodes["judge"].ray_options == {"num_cpus": 0.5}


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"plam": {"num_cpus": 2}}, r"no node or tool 'plam'\. Did you mean 'plan'\?"),
        ({"plan": {"num_cpu": 2}}, r"Node `plan`: unknown ray_options key 'num_cpu'"),
        ({"review": {"num_cpus": 2}}, r"Node `review` is a graph: .* 'review:<node>'"),
        ({"plan": {"placement": "async"}}, r"placement 'async' needs an `async def` node"),
    ],
    ids=["unknown node", "unknown key", "a subgraph", "contradiction"],
)
def test_ray_options_that_cannot_be(options, told):
    with pytest.raises(ValueError, match=told):
        distribute(newsroom(), ray_options=options, backend="local")


@pytest.mark.parametrize(
    "given", [None, lambda state: state, "graph"], ids=["None", "a function", "a string"]
)
def test_anything_else_is_an_error(given):
    with pytest.raises(TypeError, match="takes a graph that LangGraph compiled"):
        distribute(given)


def test_a_graph_of_ours_needs_no_distribution():
    own = distgraph.StateGraph(Review).add_node("a", lambda s: {}).add_edge(START, "a")
    with pytest.raises(TypeError, match="distributed already"):
        distribute(own.compile(backend="local"))


# --- as part of other graphs --------------------------------------------------------------------


def test_a_langgraph_graph_is_a_node_of_ours(backend):
    own = (
        distgraph.StateGraph(Review)
        .add_node("desk", two().compile(name="Desk"))
        .add_edge(START, "desk")
        .compile(backend=backend)
    )
    chunks = list(own.stream({"notes": []}, stream_mode="updates", subgraphs=True))
    assert [(len(ns), payload) for ns, payload in chunks] == [
        (1, {"draft": {"draft": "d"}}),
        (1, {"judge": {"verdict": "v"}}),
        (0, {"desk": {"notes": [], "draft": "d", "verdict": "v"}}),
    ]
    drawn = own.get_graph(xray=True).draw_ascii()
    assert drawn == "__start__ --> desk:draft --> desk:judge --> __end__"


def test_errors_of_the_engine_are_caught_as_langgraphs_or_ours():
    from langgraph.errors import GraphRecursionError

    loop = StateGraph(Review).add_node("a", lambda s: {}).add_edge(START, "a").add_edge("a", "a")
    graph = distribute(loop, backend="local")
    for expected in (GraphRecursionError, distgraph.errors.GraphRecursionError):
        with pytest.raises(expected, match="recursion limit of 3"):
            graph.invoke({"notes": []}, {"recursion_limit": 3})


def test_a_nodes_exception_arrives_as_it_is(backend):
    def fail(state: Review) -> None:
        raise LookupError("nothing there")

    graph = StateGraph(Review).add_node("fail", fail).add_edge(START, "fail")
    with pytest.raises(LookupError, match="nothing there") as caught:
        distribute(graph, backend=backend).invoke({"notes": []})
    assert any("During task with name 'fail'" in note for note in caught.value.__notes__)


@newest
def test_a_graph_that_a_nodes_function_invokes_streams_under_its_namespace(backend):
    inner = two().compile()

    def call(state: Review) -> dict[str, Any]:
        return {"verdict": inner.invoke({"notes": state["notes"]})["verdict"]}

    outer = StateGraph(Review).add_node("call", call).add_edge(START, "call")
    same(
        backend,
        lambda ns: outer,
        {"notes": ["n"]},
        stream_mode=["updates", "values", "tasks"],
        subgraphs=True,
    )
