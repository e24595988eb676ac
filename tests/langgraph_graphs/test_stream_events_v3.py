"""``stream_events(version="v3")``: the projections of a run equal LangGraph's, on each backend."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

import pytest
from langchain_core.language_models import GenericFakeChatModel
from langchain_core.messages import AIMessage
from langgraph.graph import END, START, StateGraph
from langgraph.graph.message import add_messages
from langgraph.types import interrupt
from typing_extensions import TypedDict

from distgraph import distribute
from distgraph.graph import StateGraph as OwnStateGraph
from tests.langgraph_graphs.support import VERSION, reference_awaits

pytestmark = pytest.mark.skipif(VERSION < (1, 2, 0), reason="new in LangGraph 1.2")


class State(TypedDict):
    messages: Annotated[list[Any], add_messages]


def answer(state: State) -> dict[str, Any]:
    model = GenericFakeChatModel(messages=iter([AIMessage("one two", id="m1")]))
    return {"messages": [model.invoke(state["messages"])]}


def write(state: State) -> dict[str, Any]:
    from langgraph.config import get_stream_writer

    get_stream_writer()({"at": "write"})
    return {"messages": [AIMessage("written", id="m2")]}


def ask(state: State) -> dict[str, Any]:
    return {"messages": [AIMessage(interrupt("go on?"), id="m3")]}


def built(builder: Any = StateGraph, **options: Any) -> Any:
    inner = builder(State).add_node("answer", answer).add_edge(START, "answer").compile()
    outer = builder(State).add_node("child", inner).add_node("write", write)
    outer.add_edge(START, "child").add_edge("child", "write").add_edge("write", END)
    return outer.compile(**options)


INPUT = {"messages": [("user", "hi")]}


class Upper:
    """A transformer of the test: what custom writes say, in capitals."""

    def __new__(cls, scope: tuple[str, ...]) -> Any:
        from langgraph.stream import StreamChannel, StreamTransformer

        class Made(StreamTransformer):
            required_stream_modes = ("custom",)

            def init(self) -> dict[str, Any]:
                self.shouts: Any = StreamChannel("shouts")
                return {"shouts": self.shouts}

            def process(self, event: Any) -> bool:
                if event["method"] == "custom":
                    self.shouts.push(event["params"]["data"]["at"].upper())
                return True

        return Made(scope)


def events_of(run: Any) -> list[Any]:
    """Return a run's events, less what differs from run to run."""
    return [told(event) for event in run]


def told(event: Any) -> Any:
    params = event["params"]
    ns = [part.split(":")[0] for part in params["namespace"]]
    data = params["data"]
    if event["method"] == "messages":
        shown, metadata = data
        if isinstance(shown, dict):
            shown = (shown["event"], shown.get("delta"), sorted(shown))
        else:
            shown = (shown.type, shown.content)
        data = (shown, metadata["langgraph_node"])
    elif event["method"] == "tasks":
        data = (data["name"], sorted(data))
    elif event["method"] == "lifecycle":
        data = {key: v for key, v in data.items() if key not in ("namespace", "trigger_call_id")}
    elif event["method"] == "values":
        data = [
            (m.type, m.content, m.id if str(m.id).startswith("m") else "") for m in data["messages"]
        ]
    return event["method"], ns, data


@pytest.mark.filterwarnings("ignore")
def test_the_events_of_a_run_are_those_of_langgraph(backend: str) -> None:
    expected = events_of(built().stream_events(INPUT, version="v3", transformers=[Upper]))
    assert {method for method, _, _ in expected} >= {
        "values",
        "messages",
        "lifecycle",
        "custom:shouts",
    }
    for graph in (distribute(built(), backend=backend), built(OwnStateGraph, backend=backend)):
        run = graph.stream_events(INPUT, version="v3", transformers=[Upper])
        assert events_of(run) == expected


@pytest.mark.filterwarnings("ignore")
def test_projections_are_read_as_the_run_goes_on(backend: str) -> None:
    graph = distribute(built(), backend=backend)
    run = graph.stream_events(INPUT, version="v3")
    said = [
        (child.graph_name, str(message.text))
        for child in run.subgraphs
        for message in child.messages
    ]
    assert said == [("child", "one two")]
    assert [m.content for m in run.output["messages"]][-1] == "written"
    assert not run.interrupted


@pytest.mark.filterwarnings("ignore")
@reference_awaits
def test_an_async_reader_awaits_the_run(backend: str) -> None:
    async def main(graph: Any) -> Any:
        run = await graph.astream_events(INPUT, version="v3", transformers=[Upper])
        return [told(event) async for event in run]

    expected = asyncio.run(main(built()))
    assert asyncio.run(main(distribute(built(), backend=backend))) == expected


@pytest.mark.filterwarnings("ignore")
def test_transformers_of_compile_and_interrupts(backend: str) -> None:
    from langgraph.checkpoint.memory import InMemorySaver

    graph = StateGraph(State).add_node("ask", ask).add_edge(START, "ask")
    compiled = graph.compile(checkpointer=InMemorySaver(), transformers=[Upper])
    run = distribute(compiled, backend=backend).stream_events(
        INPUT, {"configurable": {"thread_id": "1"}}, version="v3"
    )
    assert list(run.extensions["shouts"]) == []
    assert [i.value for i in run.interrupts] == ["go on?"]
    assert run.interrupted


def test_what_the_transformers_decide_cannot_be_given() -> None:
    graph = built(OwnStateGraph, backend="local")
    with pytest.raises(TypeError, match="do not accept stream_mode"):
        graph.stream_events(INPUT, version="v3", stream_mode="values")
    with pytest.raises(NotImplementedError, match="no synchronous form"):
        graph.stream_events(INPUT, version="v2")


def test_an_instance_is_no_transformer() -> None:
    with pytest.raises(TypeError, match="got pre-built instance Made. Pass the class"):
        built(OwnStateGraph, backend="local", transformers=[Upper(())])
    with pytest.raises(TypeError, match="scope-aware callables, got int"):
        built(OwnStateGraph, backend="local", transformers=[1])
