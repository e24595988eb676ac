"""What ``get_state`` and ``get_subgraphs`` tell, as LangGraph tells it."""

import operator
from typing import Annotated, TypedDict

import pytest
from langgraph.checkpoint.memory import InMemorySaver

from distgraph.graph import START, StateGraph
from distgraph.types import PregelTask, StateSnapshot
from tests.support.states import CONFIG, compare_story


class Log(TypedDict):
    log: Annotated[list, operator.add]


class Noted(TypedDict):
    log: Annotated[list, operator.add]
    note: str


def says(name):
    return lambda state: {"log": [name]}


def chain(engine, *names, schema=Log):
    builder = engine.StateGraph(schema)
    builder.add_sequence([(name, says(name)) for name in names])
    builder.add_edge(engine.START, names[0])
    return builder


def asks(engine, *questions):
    def ask(state):
        return {"log": [engine.interrupt(question) for question in questions]}

    return ask


def test_a_thread_that_does_not_exist_is_empty(here):
    told = compare_story(here, lambda e: chain(e, "a"), lambda t: t.state())
    assert told.log[0][1].values == {}


def test_a_finished_run_leaves_its_values_and_nothing_next(here):
    def story(t):
        t.invoke({"log": ["in"]}, {**CONFIG, "metadata": {"who": "me"}})
        t.state()

    told = compare_story(here, lambda e: chain(e, "a", "b"), story)
    state = told.log[-1][1]
    assert state.values == {"log": ["in", "a", "b"]}
    assert (state.next, state.tasks, state.metadata["who"]) == ((), (), "me")


def test_the_latest_state_has_what_finished_siblings_wrote(here):
    def build(engine):
        builder = engine.StateGraph(Log)
        builder.add_node("ask", asks(engine, "first?", "second?"))
        builder.add_node("other", says("other"))
        builder.add_node("join", says("join"))
        builder.add_edge(engine.START, "ask")
        builder.add_edge(engine.START, "other")
        builder.add_edge(["ask", "other"], "join")
        return builder

    def story(t):
        t.invoke({"log": []})
        latest = t.state()
        t.state(latest.config)  # the same checkpoint as a record of its step
        t.invoke(t.engine.Command(resume="yes"))
        latest = t.state()
        t.state(latest.config)
        t.invoke(t.engine.Command(resume="yes"))
        t.state()
        t.state(latest.config)

    told = compare_story(here, build, story)
    first, record = told.log[1][1], told.log[2][1]
    assert (first.values, first.next) == ({"log": ["other"]}, ("ask",))
    assert (record.values, record.next) == ({"log": []}, ("ask", "other"))
    assert told.log[-1][1].tasks[0].result == {"log": ["yes", "yes"]}


def test_a_failed_task_shows_its_error_and_the_others_their_results(here):
    def build(engine):
        def bad(state):
            raise ValueError("boom")

        builder = engine.StateGraph(Log)
        builder.add_node("bad", bad)
        builder.add_node("good", says("good"))
        builder.add_edge(engine.START, "good")
        builder.add_edge("good", "bad")
        return builder

    def story(t):
        t.invoke({"log": []})
        t.state()
        t.history()

    told = compare_story(here, build, story, fails=True)
    (task,) = told.log[1][1].tasks
    assert (task.name, task.error, task.result) == ("bad", "ValueError('boom')", None)


def test_tasks_of_sends_are_told_apart(here):
    def build(engine):
        def work(state):
            return {"log": [engine.interrupt(state["n"])] if state["n"] else ["zero"]}

        builder = engine.StateGraph(Log)
        builder.add_node("work", work)
        builder.add_conditional_edges(
            engine.START, lambda s: [engine.Send("work", {"n": n}) for n in range(3)], ["work"]
        )
        return builder

    def story(t):
        t.invoke({"log": []})
        t.state()
        t.state(t.history()[0].config)

    told = compare_story(here, build, story)
    assert [task.path[1] for task in told.log[1][1].tasks] == [0, 1, 2]


def nested(engine):
    """A question two graphs down, and one in a graph with a history of its own."""
    leaf = engine.StateGraph(Noted)
    leaf.add_node("leaf", asks(engine, "leaf?"))
    leaf.add_edge(engine.START, "leaf")
    middle = engine.StateGraph(Noted)
    middle.add_node("before", lambda state: {"log": ["before"], "note": "middle"})
    middle.add_node("deep", leaf.compile())
    middle.add_edge(engine.START, "before")
    middle.add_edge("before", "deep")
    kept = engine.StateGraph(Noted)
    kept.add_node("kept", asks(engine, "kept?"))
    kept.add_edge(engine.START, "kept")
    builder = engine.StateGraph(Log)
    builder.add_node("middle", middle.compile())
    builder.add_node("own", kept.compile(checkpointer=True))
    builder.add_edge(engine.START, "middle")
    builder.add_edge(engine.START, "own")
    return builder


def test_tasks_that_are_graphs_name_their_state(here):
    def story(t):
        t.invoke({"log": ["in"]})
        state = t.state()
        for task in state.tasks:
            inner = t.state(task.state)
            t.history(task.state)
            t.state(inner.config)
            for below in inner.tasks:
                if below.state:
                    t.state(below.state)

    told = compare_story(here, nested, story)
    assert told.log[2][1].values == {"log": ["in", "before"], "note": "middle"}


def test_subgraphs_puts_the_states_of_graphs_into_their_tasks(here):
    def story(t):
        t.invoke({"log": ["in"]})
        t.state(subgraphs=True)
        t.state(t.state().tasks[0].state, subgraphs=True)

    told = compare_story(here, nested, story)
    middle = told.log[1][1].tasks[0].state
    assert isinstance(middle, tuple)
    assert middle.tasks[0].state.values == {"log": ["in", "before"], "note": "middle"}


def test_a_graph_that_a_function_calls_is_found(here):
    def build(engine):
        inner = engine.StateGraph(Noted)
        inner.add_node("inner", asks(engine, "inner?"))
        inner.add_edge(engine.START, "inner")
        graph = inner.compile()
        builder = engine.StateGraph(Log)
        builder.add_node("call", lambda state: {"log": graph.invoke({"log": []})["log"]})
        builder.add_edge(engine.START, "call")
        return builder

    def story(t):
        t.invoke({"log": ["in"]})
        t.state(subgraphs=True)
        t.invoke({"log": ["in"]}, stream_mode="checkpoints")

    told = compare_story(here, build, story)
    assert told.log[1][1].tasks[0].state.next == ("inner",)
    assert told.log[2][1][-1]["tasks"][0]["state"]["configurable"]["thread_id"] == "t"


@pytest.fixture(params=["langgraph", "ours"])
def engine(here, request):
    return here.reference if request.param == "langgraph" else here.contender


def test_get_subgraphs_names_graphs_by_their_nodes(engine):
    graph = engine.compile(nested(engine))

    def names(**options):
        return [name for name, _ in graph.get_subgraphs(**options)]

    assert names() == ["middle", "own"]
    assert names(recurse=True) == ["middle", "middle|deep", "own"]
    assert names(namespace="own") == ["own"]
    assert names(namespace="middle|deep", recurse=True) == ["middle|deep"]
    assert names(namespace="middle|deep") == names(namespace="mid") == []


def test_a_graph_that_saves_nothing_is_shown_without_a_state(here):
    def build(engine):
        builder = engine.StateGraph(Log)
        builder.add_node("inner", chain(engine, "a").compile(checkpointer=False))
        builder.add_edge(engine.START, "inner")
        return builder

    compare_story(here, build, lambda t: t.invoke({"log": []}, stream_mode="checkpoints"))


def test_a_graph_that_saves_nothing_is_no_subgraph(engine):
    inner = chain(engine, "a").compile(checkpointer=False)
    builder = engine.StateGraph(Log)
    builder.add_node("inner", inner)
    builder.add_edge(engine.START, "inner")
    assert list(engine.compile(builder).get_subgraphs()) == []


def test_a_state_that_is_one_value_is_shown_bare(here):
    def build(engine):
        builder = engine.StateGraph(Annotated[list, operator.add])
        builder.add_node("a", lambda state: ["a"])
        builder.add_edge(engine.START, "a")
        return builder

    def story(t):
        t.invoke(["in"])
        t.state()
        t.history()

    assert compare_story(here, build, story).log[1][1].values == ["in", "a"]


def one_node():
    builder = StateGraph(Log)
    builder.add_node("a", says("a"))
    builder.add_edge(START, "a")
    return builder


def test_without_a_saver_there_is_no_state():
    graph = one_node().compile(backend="local")
    with pytest.raises(ValueError, match=r"No checkpointer set: graph 'LangGraph' keeps no state"):
        graph.get_state(CONFIG)
    with pytest.raises(ValueError, match="No checkpointer set"):
        graph.get_state_history(CONFIG)
    with pytest.raises(ValueError, match="No checkpointer set"):
        graph.update_state(CONFIG, {"log": []})


def test_a_graph_of_a_history_within_another_has_none_of_its_own():
    graph = one_node().compile(checkpointer=True, backend="local")
    with pytest.raises(RuntimeError, match="checkpointer=True cannot be used for root graphs"):
        graph.get_state(CONFIG)


def test_a_config_without_a_thread_is_refused():
    graph = one_node().compile(checkpointer=InMemorySaver(), backend="local")
    with pytest.raises(ValueError, match="the config names no thread"):
        graph.get_state({"configurable": {}})


def test_a_thread_may_be_named_by_with_config():
    graph = one_node().compile(checkpointer=InMemorySaver(), backend="local").with_config(CONFIG)
    graph.invoke({"log": []})
    assert graph.get_state({}).values == {"log": ["a"]}


def test_a_thread_that_is_named_by_a_number_is_the_one_of_its_digits():
    graph = one_node().compile(checkpointer=InMemorySaver(), backend="local")
    graph.invoke({"log": []}, {"configurable": {"thread_id": 7}})
    states = [graph.get_state({"configurable": {"thread_id": name}}) for name in (7, "7")]
    assert states[0] == states[1]
    assert states[0].config["configurable"]["thread_id"] == "7"


def test_snapshots_and_tasks_have_langgraphs_fields():
    from langgraph import types

    assert StateSnapshot._fields == types.StateSnapshot._fields
    assert PregelTask._fields == types.PregelTask._fields
    assert PregelTask._field_defaults == types.PregelTask._field_defaults
