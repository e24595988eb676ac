"""What ``update_state`` and ``bulk_update_state`` write, as LangGraph writes it."""

import operator
from typing import Annotated, TypedDict

import pytest
from langgraph.checkpoint.memory import InMemorySaver

from distgraph.errors import InvalidUpdateError
from distgraph.graph import START, StateGraph
from distgraph.types import StateUpdate
from tests.support.states import CONFIG, compare_story


class Log(TypedDict):
    log: Annotated[list, operator.add]


def says(name):
    return lambda state: {"log": [name]}


def chain(engine):
    builder = engine.StateGraph(Log)
    builder.add_sequence([(name, says(name)) for name in "abc"])
    builder.add_edge(engine.START, "a")
    return builder


def stopped_before_c(t):
    t.invoke({"log": ["in"]}, interrupt_before=["c"])


def routed(engine):
    """Two parallel nodes, a conditional edge that reads the state, a loop, and Sends."""

    def route(state):
        if "stop" in state["log"]:
            return engine.END
        return ["b", engine.Send("work", {"n": len(state["log"])})]

    builder = engine.StateGraph(Log)
    for name in ("a", "b", "beside"):
        builder.add_node(name, says(name))
    builder.add_node("work", lambda state: {"log": [f"work {state['n']}"]})
    builder.add_edge(engine.START, "a")
    builder.add_edge(engine.START, "beside")
    builder.add_conditional_edges("a", route, ["b", "work", engine.END])
    return builder


def told(t):
    """Tell what came of an update: the thread, and how it goes on."""
    t.state()
    t.history(limit=3)
    t.invoke(None)
    t.history()


def test_the_node_that_ran_last_is_taken_for_the_source(here):
    def story(t):
        stopped_before_c(t)
        t.update({"log": ["mine"]})
        told(t)

    teller = compare_story(here, chain, story)
    assert teller.log[-1][1][0].values == {"log": ["in", "a", "b", "mine", "c"]}


def test_as_node_says_behind_which_node_it_goes_on(here):
    def story(t):
        stopped_before_c(t)
        t.update({"log": ["mine"]}, as_node="a")
        told(t)

    teller = compare_story(here, chain, story)
    assert teller.log[-1][1][0].values == {"log": ["in", "a", "b", "mine", "b", "c"]}


def test_two_nodes_that_ran_last_are_ambiguous(here):
    def story(t):
        t.invoke({"log": []})
        t.update({"log": ["mine"]})

    def build(engine):
        builder = engine.StateGraph(Log)
        for name in ("a", "b"):
            builder.add_node(name, says(name))
            builder.add_edge(engine.START, name)
        return builder

    teller = compare_story(here, build, story, fails=True)
    error = teller.log[-1][1]
    assert isinstance(error, InvalidUpdateError)
    assert "Ambiguous update, specify as_node" in str(error)


def test_a_conditional_edge_runs_on_what_the_update_wrote(here):
    def story(t):
        t.update({"log": ["first"]}, as_node="a")
        told(t)
        t.update({"log": ["stop"]}, as_node="a")
        told(t)

    compare_story(here, routed, story)


def test_an_async_conditional_edge_runs_for_both_faces(here):
    def build(engine):
        async def route(state):
            return "b" if len(state["log"]) > 1 else engine.END

        builder = engine.StateGraph(Log)
        for name in ("a", "b"):
            builder.add_node(name, says(name))
        builder.add_edge(engine.START, "a")
        builder.add_conditional_edges("a", route, ["b", engine.END])
        return builder

    def story(t):
        t.update({"log": [1]}, as_node="a")
        t.state()
        t.update({"log": [2]}, as_node="a")
        t.state()

    compare_story(here, build, story, faces=("async",))
    sync = here.contender.compile(build(here.contender), checkpointer=InMemorySaver())
    sync.update_state(CONFIG, {"log": [1, 2]}, as_node="a")
    assert sync.get_state(CONFIG).next == ("b",)


def test_a_command_updates_and_leads_on(here):
    def story(t):
        command = t.engine.Command
        stopped_before_c(t)
        t.update(command(update={"log": ["mine"]}, goto="c"), as_node="a")
        told(t)
        t.update(command(goto=[t.engine.Send("b", {}), "c"]), as_node="c")
        told(t)

    compare_story(here, chain, story)


def test_none_moves_on_without_a_value(here):
    def story(t):
        stopped_before_c(t)
        t.update(None)
        t.update(None, as_node="c")
        told(t)

    compare_story(here, chain, story)


def test_a_thread_can_begin_with_an_update(here):
    def story(t):
        t.update({"log": ["mine"]}, {**CONFIG, "metadata": {"who": "me"}})
        told(t)

    teller = compare_story(here, chain, story)
    assert teller.log[1][1].next == ("a",)
    assert teller.log[1][1].metadata["who"] == "me"


def test_a_thread_can_begin_behind_a_node(here):
    def story(t):
        t.update({"log": ["mine"]}, as_node="b")
        told(t)

    assert compare_story(here, chain, story).log[1][1].next == ("c",)


def test_end_gives_up_the_tasks_that_are_left(here):
    def build(engine):
        def ask(state):
            return {"log": [engine.interrupt("?")]}

        builder = engine.StateGraph(Log)
        builder.add_node("ask", ask)
        builder.add_node("other", says("other"))
        builder.add_edge(engine.START, "ask")
        builder.add_edge(engine.START, "other")
        builder.add_edge("ask", "other")
        return builder

    def story(t):
        t.invoke({"log": ["in"]})
        t.update(None, as_node=t.engine.END)
        t.state()
        t.history()

    state = compare_story(here, build, story).log[2][1]
    assert (state.values, state.next) == ({"log": ["in", "other"]}, ())


def test_input_is_written_as_a_run_writes_it(here):
    def story(t):
        t.invoke({"log": ["in"]})
        t.update({"log": ["next"]}, as_node="__input__")
        told(t)
        t.update(None, as_node="__input__")

    compare_story(here, chain, story, fails=True)


def test_copy_makes_a_sibling(here):
    def story(t):
        stopped_before_c(t)
        whole = t.history()
        t.update(None, as_node="__copy__")
        t.state()
        t.update(None, whole[2].config, as_node="__copy__")
        t.update(None, whole[-1].config, as_node="__copy__")
        told(t)

    teller = compare_story(here, chain, story)
    assert teller.log[3][1].metadata["source"] == "fork"


def test_copy_can_give_the_tasks_other_results(here):
    def build(engine):
        builder = engine.StateGraph(Log)
        for name in ("a", "b"):
            builder.add_node(name, says(name))
        builder.add_node("work", lambda state: {"log": [f"work {state['n']}"]})
        builder.add_edge(engine.START, "a")
        builder.add_conditional_edges(
            "a", lambda s: ["b", engine.Send("work", {"n": 1})], ["b", "work"]
        )
        return builder

    def story(t):
        t.invoke({"log": ["in"]})
        fan = next(state for state in t.history() if len(state.next) == 2)
        values = [({"log": ["no work"]}, "work"), ({"log": ["no b"]}, "b"), (None, "a")]
        t.update(values, fan.config, as_node="__copy__")
        told(t)
        t.update(["wrong"], fan.config, as_node="__copy__")

    teller = compare_story(here, build, story, fails=True)
    assert isinstance(teller.log[-1][1], InvalidUpdateError)


def test_updates_of_one_superstep_are_applied_together(here):
    def story(t):
        update = t.engine.module("types").StateUpdate
        t.bulk(
            [
                [update({"log": ["in"]}, "__input__")],
                [update({"log": ["in 2"]}, "__start__")],
                [update({"log": ["b"]}, "beside"), update({"log": ["a"]}, "a")],
                [update({"log": ["w"]}, "work"), update(None, "b")],
            ]
        )
        t.state()
        t.history()

    compare_story(here, routed, story)


def test_an_update_takes_the_place_of_a_task_that_waits(here):
    def story(t):
        t.invoke({"log": ["in"]}, interrupt_before=["work", "b"])
        waiting = t.state()
        task = next(task for task in waiting.tasks if task.name == "work")
        t.update({"log": ["mine"]}, as_node="work", task_id=task.id)
        t.state(waiting.config)
        told(t)

    teller = compare_story(here, routed, story)
    results = {task.name: task.result for task in teller.log[3][1].tasks}
    assert results["work"] == {"log": ["mine"]}


def test_an_old_checkpoint_keeps_its_results_when_the_thread_forks_there(here):
    def story(t):
        t.invoke({"log": ["in"]})
        old = t.history()[2]
        fork = t.update({"log": ["mine"]}, old.config, as_node="a")
        t.state(old.config)
        t.state(fork)
        t.invoke(None, fork)
        t.history()

    compare_story(here, chain, story)


def test_messages_keep_their_ids(here):
    def build(engine):
        builder = engine.StateGraph(engine.MessagesState)
        builder.add_node("a", lambda state: {"messages": [("ai", "hello")]})
        builder.add_edge(engine.START, "a")
        return builder

    def story(t):
        t.invoke({"messages": [{"role": "user", "content": "hi", "id": "u1"}]})
        t.update({"messages": [{"role": "user", "content": "other", "id": "u1"}]})
        first = t.state().values["messages"]
        second = t.state().values["messages"]
        assert [message.id for message in first] == [message.id for message in second]
        t.history()

    compare_story(here, build, story)


def test_a_graph_inside_is_updated_by_its_config(here):
    def build(engine):
        def ask(state):
            return {"log": [engine.interrupt("?")]}

        inner = engine.StateGraph(Log)
        inner.add_node("before", says("before"))
        inner.add_node("ask", ask)
        inner.add_edge(engine.START, "before")
        inner.add_edge("before", "ask")
        builder = engine.StateGraph(Log)
        builder.add_node("inner", inner.compile())
        builder.add_node("after", says("after"))
        builder.add_edge(engine.START, "inner")
        builder.add_edge("inner", "after")
        return builder

    def story(t):
        t.invoke({"log": ["in"]})
        inside = t.state().tasks[0].state
        t.update({"log": ["mine"]}, inside)
        t.state(subgraphs=True)
        t.invoke(t.engine.Command(resume="yes"))
        t.update({"log": ["mine"]}, {"configurable": {"thread_id": "t", "checkpoint_ns": "x:1"}})

    teller = compare_story(here, build, story, fails=True)
    assert teller.log[-2][1] == {"log": ["in", "in", "before", "mine", "yes", "after"]}
    assert str(teller.log[-1][1]) == "Subgraph x not found"


@pytest.mark.parametrize(
    ("updates", "message"),
    [
        ([], "No supersteps provided"),
        ([[]], "No updates provided"),
        ([[StateUpdate({}, "nobody")]], "Node nobody does not exist in graph 'LangGraph'"),
        ([[StateUpdate({}), StateUpdate({}, "a")]], "as_node is required when applying multiple"),
        ([[StateUpdate("text", "a")]], "Expected dict, got 'text'"),
        ([[StateUpdate(None, "__copy__")]], "Cannot copy a non-existent checkpoint"),
        (
            [[StateUpdate(None, "__end__"), StateUpdate({}, "a")]],
            "Cannot apply multiple updates when clearing the tasks",
        ),
        (
            [[StateUpdate({"log": []}, "__input__"), StateUpdate({}, "a")]],
            "Cannot apply multiple updates when updating as input",
        ),
        (
            [[StateUpdate(None, "__copy__"), StateUpdate({}, "a")]],
            "Cannot apply multiple updates when copying",
        ),
    ],
)
def test_an_update_that_is_not_possible_says_why(updates, message):
    builder = StateGraph(Log)
    builder.add_node("a", says("a"))
    builder.add_edge(START, "a")
    graph = builder.compile(checkpointer=InMemorySaver(), backend="local")
    with pytest.raises((InvalidUpdateError, ValueError), match=message):
        graph.bulk_update_state(CONFIG, updates)
