"""A compiled graph as LangChain's users handle it."""

from __future__ import annotations

import asyncio
import operator
import pickle
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from typing import Annotated, Any

import pytest
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.language_models.fake_chat_models import GenericFakeChatModel
from langchain_core.runnables import (
    Runnable,
    RunnableGenerator,
    RunnableLambda,
    RunnableParallel,
    RunnablePassthrough,
)
from typing_extensions import TypedDict

from distgraph.graph import START, StateGraph
from distgraph.types import interrupt


class State(TypedDict):
    items: Annotated[list, operator.add]


def node(state: Any) -> Any:
    return {"items": ["n"]}


def graph_of(action: Any = node, **options: Any) -> Any:
    builder = StateGraph(State)
    builder.add_node("n", action)
    builder.add_edge(START, "n")
    return builder.compile(backend="local", **options)


def collected(items: AsyncIterator[Any]) -> list[Any]:
    async def collect() -> list[Any]:
        return [item async for item in items]

    return asyncio.run(collect())


def test_a_graph_is_piped_on_either_side() -> None:
    chain = RunnableLambda(lambda x: {"items": [x]}) | graph_of() | (lambda out: out["items"])
    assert chain.invoke("a") == ["a", "n"]
    assert (graph_of() | RunnablePassthrough()).invoke({"items": []}) == {"items": ["n"]}
    wrapped = (lambda x: {"items": [x]}) | graph_of()
    assert wrapped.invoke("a") == {"items": ["a", "n"]}
    side_by_side = RunnableParallel(one=graph_of(), two=graph_of())
    assert side_by_side.invoke({"items": []}) == {"one": {"items": ["n"]}, "two": {"items": ["n"]}}
    assert RunnableLambda(graph_of().invoke).invoke({"items": []}) == {"items": ["n"]}


def test_a_piped_graph_runs_async_and_streams_its_chunks() -> None:
    chain = graph_of() | RunnablePassthrough()
    assert asyncio.run(chain.ainvoke({"items": []})) == {"items": ["n"]}
    assert list(chain.stream({"items": []})) == [{"n": {"items": ["n"]}}]
    assert collected(chain.astream({"items": []})) == [{"n": {"items": ["n"]}}]


def test_a_graph_counts_as_a_runnable_where_langchain_is_loaded() -> None:
    assert isinstance(graph_of(), Runnable)


def test_compiling_and_asking_for_a_copy_do_not_import_langchain() -> None:
    code = (
        "import sys\n"
        "from distgraph.graph import StateGraph, START\n"
        "b = StateGraph(dict)\nb.add_node('n', lambda s: s)\nb.add_edge(START, 'n')\n"
        "g = b.compile(backend='local').with_config({}).copy()\n"
        "g.channels, g.nodes, g.name\n"
        "assert 'langchain_core' not in sys.modules\n"
        "assert 'pydantic' not in sys.modules\n"
        "assert (g | (lambda x: 7)).invoke({}) == 7\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_methods_of_a_runnable_run_the_graph() -> None:
    graph = graph_of()
    given: dict[str, Any] = {"items": ["a"]}
    assert graph.bind(output_keys="items").invoke(given) == ["a", "n"]
    assert graph.pick("items").invoke(given) == ["a", "n"]
    assert graph.assign(more=lambda out: len(out["items"])).invoke(given)["more"] == 2
    assert graph.map().invoke([given]) == [{"items": ["a", "n"]}]
    assert list(graph.batch_as_completed([given])) == [(0, {"items": ["a", "n"]})]
    assert list(graph.transform(iter([given]))) == [{"n": {"items": ["n"]}}]
    assert graph.pipe(lambda out: 1).invoke(given) == 1


def test_retries_and_fallbacks_run_again() -> None:
    failures = iter([True, False])

    def flaky(state: Any) -> Any:
        if next(failures):
            raise ConnectionError("gone")
        return node(state)

    retried = graph_of(flaky).with_retry(wait_exponential_jitter=False, stop_after_attempt=2)
    assert retried.invoke({"items": []}) == {"items": ["n"]}

    def broken(state: Any) -> Any:
        raise ValueError("broken")

    assert graph_of(broken).with_fallbacks([graph_of()]).invoke({"items": []}) == {"items": ["n"]}


def test_astream_events_tells_what_a_runnable_in_a_node_streams() -> None:
    def spell(texts: Iterator[str]) -> Iterator[str]:
        for text in texts:
            yield from text

    def streams(state: Any) -> Any:
        return {"items": list(RunnableGenerator(spell, name="spell").stream("abc"))}

    events = collected(graph_of(streams).astream_events({"items": []}, version="v2"))
    told = [(e["name"], e["data"]["chunk"]) for e in events if e["event"] == "on_chain_stream"]
    update = {"items": ["a", "b", "c"]}
    assert told == [
        *[("spell", letter) for letter in "abc"],
        ("n", update),
        ("LangGraph", {"n": update}),
    ]


def test_astream_events_tells_of_graph_node_and_tokens() -> None:
    model = GenericFakeChatModel(messages=iter(["hi there"]))

    def talks(state: Any) -> Any:
        return {"items": [model.invoke("x").content]}

    events = collected(graph_of(talks).astream_events({"items": []}, version="v2"))
    told = [(event["event"], event["name"], len(event["parent_ids"])) for event in events]
    model_name = "GenericFakeChatModel"
    assert told == [
        ("on_chain_start", "LangGraph", 0),
        ("on_chain_start", "n", 1),
        ("on_chat_model_start", model_name, 2),
        *[("on_chat_model_stream", model_name, 2)] * 3,
        ("on_chat_model_end", model_name, 2),
        ("on_chain_stream", "n", 1),
        ("on_chain_end", "n", 1),
        ("on_chain_stream", "LangGraph", 0),
        ("on_chain_end", "LangGraph", 0),
    ]


def test_within_a_chain_the_run_has_the_chains_run_as_its_parent() -> None:
    class Recorder(BaseCallbackHandler):
        def __init__(self) -> None:
            self.started: dict[Any, tuple[Any, Any]] = {}

        def on_chain_start(self, *args: Any, run_id: Any, parent_run_id: Any, **more: Any) -> None:
            self.started[run_id] = (more["name"], parent_run_id)

    told = Recorder()
    chain = RunnablePassthrough() | graph_of()
    chain.invoke({"items": []}, {"callbacks": [told]})
    names = {name: told.started.get(parent, (None,))[0] for name, parent in told.started.values()}
    assert names["LangGraph"] == "RunnableSequence"
    assert names["n"] == "LangGraph"


def test_a_chain_with_a_graph_is_drawn_with_its_nodes() -> None:
    drawn = (RunnablePassthrough() | graph_of() | RunnablePassthrough()).get_graph()
    assert "n" in {node.name for node in drawn.nodes.values()}
    assert "n(n)" in drawn.draw_mermaid()


def test_schemas_are_pydantic_models_of_input_and_output() -> None:
    graph = graph_of()
    assert graph.get_input_schema().model_validate({"items": [1]}).items == [1]
    assert graph.as_runnable().get_output_schema().__name__ == "LangGraphOutput"
    assert (graph.InputType, graph.config_specs) == (State, [])


def test_the_runnable_travels() -> None:
    back = pickle.loads(pickle.dumps(graph_of().as_runnable()))
    assert back.invoke({"items": []}) == {"items": ["n"]}


# --- what it is made of --------------------------------------------------------------------------


def test_a_node_is_run_by_itself() -> None:
    def doubled(state: Any, config: Any) -> Any:
        return {"items": [*state["items"], config["metadata"]["who"]]}

    graph = graph_of(doubled)
    told = graph.nodes["n"].invoke({"items": [1]}, {"metadata": {"who": "me"}})
    assert told == {"items": [1, "me"]}
    assert list(graph.nodes) == ["__start__", "n"]


def test_an_async_node_is_awaited_by_itself() -> None:
    async def anode(state: Any) -> Any:
        return {"items": ["a"]}

    made = graph_of(anode).nodes["n"]
    assert asyncio.run(made.ainvoke({"items": []})) == {"items": ["a"]}
    with pytest.raises(TypeError, match="node 'n' is async: await its ainvoke"):
        made.invoke({"items": []})


def test_a_node_that_is_a_graph_is_run_by_itself() -> None:
    assert graph_of(graph_of()).nodes["n"].invoke({"items": ["a"]}) == {"items": ["a", "n"]}


def test_channels_are_there_to_look_at() -> None:
    graph = graph_of()
    assert set(graph.channels) == {"items", "__start__", "branch:to:n", "__pregel_tasks"}
    with pytest.raises(TypeError):
        graph.channels["x"] = None


def test_a_copy_differs_in_its_settings_alone() -> None:
    from langgraph.checkpoint.memory import InMemorySaver

    def asks(state: Any) -> Any:
        return {"items": [interrupt("?")]}

    graph = graph_of(asks)
    copied = graph.copy({"checkpointer": InMemorySaver(), "name": "other"})
    config = {"configurable": {"thread_id": "t"}}
    copied.invoke({"items": []}, config)
    assert [i.value for i in copied.get_state(config).interrupts] == ["?"]
    assert (copied.name, graph.name, graph.checkpointer) == ("other", "LangGraph", None)


def test_what_needs_compiling_again_is_refused_by_copy() -> None:
    with pytest.raises(ValueError, match="copy: 'nodes' cannot be changed"):
        graph_of().copy({"nodes": {}})


def test_the_context_has_a_json_schema() -> None:
    class Context(TypedDict):
        user: str

    builder = StateGraph(State, Context)
    builder.add_node("n", node)
    builder.add_edge(START, "n")
    assert builder.compile(backend="local").get_context_jsonschema() == {
        "properties": {"user": {"title": "User", "type": "string"}},
        "required": ["user"],
        "title": "Context",
        "type": "object",
    }
    assert graph_of().get_context_jsonschema() is None


def test_a_missing_langchain_is_told_with_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "distgraph.graph.runnables", None)
    with pytest.raises(ImportError, match="pip install langchain-core"):
        graph_of().as_runnable()
