"""What LangGraph has deprecated works, and the warning is LangGraph's."""

from __future__ import annotations

import asyncio
import importlib
import operator
import warnings
from typing import Annotated, Any

import pytest
from langgraph.checkpoint.memory import InMemorySaver
from typing_extensions import TypedDict

import distgraph
from distgraph.warnings import LangGraphDeprecatedSinceV10


class State(TypedDict):
    n: Annotated[int, operator.add]


class Part(TypedDict):
    n: int


class Settings(TypedDict, total=False):
    step: int


def module(library: str, name: str) -> Any:
    return importlib.import_module(f"{library}.{name}")


def outcome(what: Any) -> tuple[Any, list[tuple[str, str, str]]]:
    """Return the result of ``what``, and the warnings: class, text, file of the line shown."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        result = what()
    return result, [(type(w.message).__name__, str(w.message), w.filename) for w in caught]


def graph(library: str) -> Any:
    state_graph = module(library, "graph").StateGraph
    builder = state_graph(State, config_schema=Settings, input=Part, output=Part)
    policy = module(library, "types").RetryPolicy(initial_interval=0.0, retry_on=ValueError)
    failures = [ValueError("first")]

    def flaky(state: Part, runtime: Any) -> dict[str, int]:
        if failures:
            raise failures.pop()
        return {"n": state["n"]}

    builder.add_node("flaky", flaky, retry=policy, input=Part)
    builder.add_edge("__start__", "flaky")
    return builder


def of_a_graph(library: str) -> Any:
    builder = graph(library)
    compiled = builder.compile()
    return compiled.context_schema is Settings, sorted(compiled.output_channels)


def of_a_run(library: str) -> Any:
    builder = module(library, "graph").StateGraph(State)
    builder.add_node("one", lambda state: {"n": 1}).add_edge("__start__", "one")
    compiled = builder.compile(checkpointer=InMemorySaver())
    config = {"configurable": {"thread_id": "1"}}
    result = compiled.invoke({"n": 1}, config, checkpoint_during=False)
    return result, len(list(compiled.get_state_history(config)))


def of_an_awaited_run(library: str) -> Any:
    builder = module(library, "graph").StateGraph(State)
    builder.add_node("one", lambda state: {"n": 1}).add_edge("__start__", "one")
    compiled = builder.compile(checkpointer=InMemorySaver())
    first, second = ({"configurable": {"thread_id": name}} for name in "12")

    async def run() -> Any:
        stream = compiled.astream({"n": 1}, first, checkpoint_during=True)
        chunks = [chunk async for chunk in stream]
        return chunks, await compiled.ainvoke({"n": 1}, second, checkpoint_during=False)

    return asyncio.run(run())


def of_both(library: str) -> Any:
    builder = module(library, "graph").StateGraph(State)
    builder.add_node("one", lambda state: {"n": 1}).add_edge("__start__", "one")
    with pytest.raises(ValueError, match="both `checkpoint_during` and `durability`") as caught:
        builder.compile().invoke({"n": 1}, checkpoint_during=True, durability="sync")
    return str(caught.value)


def of_functions(library: str) -> Any:
    func, policy = module(library, "func"), module(library, "types").RetryPolicy(max_attempts=3)

    @func.task(retry=policy)
    def double(n: int) -> int:
        return 2 * n

    @func.entrypoint(config_schema=Settings, retry=policy)
    def workflow(n: int) -> int:
        return double(n).result()

    return workflow.invoke(2)


def of_constants(library: str) -> Any:
    constants, types = module(library, "constants"), module(library, "types")
    return constants.Send is types.Send, constants.Interrupt is types.Interrupt


def of_schemas(library: str) -> Any:
    compiled = module(library, "graph").StateGraph(State, context_schema=Settings)
    compiled = compiled.add_node("one", lambda state: {}).add_edge("__start__", "one").compile()
    compiled.config_schema()
    return compiled.get_config_jsonschema()["properties"].keys()


def of_results(library: str) -> Any:
    types = module(library, "types")
    output = types.GraphOutput(value={"n": 1})
    return output["n"], "n" in output, types.Interrupt("why", "1").interrupt_id


def of_errors(library: str) -> Any:
    return module(library, "errors").NodeInterrupt("why").args[0][0].value


CASES = [
    of_schemas,
    of_results,
    of_errors,
    of_a_graph,
    of_a_run,
    of_an_awaited_run,
    of_both,
    of_functions,
    of_constants,
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
def test_it_works_and_warns_as_in_langgraph(case: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DISTGRAPH_BACKEND", "local")
    theirs, their_warnings = outcome(lambda: case("langgraph"))
    ours, our_warnings = outcome(lambda: case("distgraph"))
    assert ours == theirs
    shown = [(kind, text.replace("langgraph.", "distgraph.")) for kind, text, _ in their_warnings]
    assert [(kind, text) for kind, text, _ in our_warnings] == shown
    assert shown != []
    assert {file for _, _, file in our_warnings} == {__file__}


def test_a_distributed_graph_takes_it_too() -> None:
    builder = module("langgraph", "graph").StateGraph(State)
    builder.add_node("one", lambda state: {"n": 1}).add_edge("__start__", "one")
    compiled = distgraph.distribute(builder.compile(checkpointer=InMemorySaver()), backend="local")
    config = {"configurable": {"thread_id": "1"}}
    with pytest.warns(LangGraphDeprecatedSinceV10, match="Please use `durability` instead"):
        assert compiled.invoke({"n": 1}, config, checkpoint_during=False) == {"n": 2}
    assert len(list(compiled.get_state_history(config))) == 1


def test_retries_are_those_of_the_earlier_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DISTGRAPH_BACKEND", "local")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for library in ("langgraph", "distgraph"):
            assert graph(library).compile().invoke({"n": 2}) == {"n": 4}


def test_the_name_of_today_wins() -> None:
    first, second = (module("distgraph", "types").RetryPolicy(max_attempts=n) for n in (1, 2))
    builder = module("distgraph", "graph").StateGraph(State)
    with pytest.warns(module("distgraph", "warnings").LangGraphDeprecatedSinceV05):
        builder.add_node("one", lambda state: {"n": 1}, retry_policy=first, retry=second)
    assert list(builder.nodes["one"].retry_policy) == [first]


@pytest.mark.parametrize("name", module("distgraph", "warnings").__all__)
def test_a_warning_says_what_langgraphs_says(name: str) -> None:
    given = {"since": (1, 0)} if name == "LangGraphDeprecationWarning" else {}
    ours, theirs = (
        getattr(module(library, "warnings"), name)("`a` is deprecated.", **given)
        for library in ("distgraph", "langgraph")
    )
    assert str(ours) == str(theirs)
    assert [c.__name__ for c in type(ours).__mro__] == [c.__name__ for c in type(theirs).__mro__]


def test_a_misspelt_argument_is_named() -> None:
    distgraph = module("distgraph", "graph")
    with pytest.raises(TypeError) as caught:
        distgraph.StateGraph(State).add_node("one", lambda state: {}, retry_polcy=None)
    assert str(caught.value) == (
        "StateGraph.add_node() got an unexpected keyword argument 'retry_polcy'. "
        "Did you mean 'retry_policy'?"
    )
    with pytest.raises(TypeError, match="unexpected keyword argument 'inptu'"):
        distgraph.StateGraph(State, inptu=Part)
    with pytest.raises(TypeError, match=r"task\(\) got an unexpected keyword argument 'input'"):
        module("distgraph", "func").task(input=Part)
