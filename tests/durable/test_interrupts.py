"""Interrupts and their answers, turn by turn as LangGraph has them, with what is saved."""

import operator
from typing import Annotated, TypedDict

import pytest

from tests.support.threads import EVERY_MODE, compare_turns, take_turns


class Log(TypedDict):
    log: Annotated[list, operator.add]


START_INPUT = {"log": ["in"]}


def answer(value):
    return lambda engine, outcomes: engine.Command(resume=value)


def answer_by_id(*values):
    """Answer the questions of the last turn, in the order in which they were put."""

    def make(engine, outcomes):
        asked = [
            question
            for chunk in outcomes[-1].chunks
            if chunk[-2] == "updates" and "__interrupt__" in chunk[-1]
            for question in chunk[-1]["__interrupt__"]
        ]
        ids = {question.value: question.id for question in asked}
        return engine.Command(resume={ids[q]: value for q, value in values})

    return make


def one_question(engine):
    def ask(state):
        return {"log": [engine.interrupt("ok?")]}

    def after(state):
        return {"log": ["after"]}

    builder = engine.StateGraph(Log)
    builder.add_node("ask", ask)
    builder.add_node("after", after)
    builder.add_edge(engine.START, "ask")
    builder.add_edge("ask", "after")
    return builder


def three_questions(engine):
    def ask(state):
        writer = engine.get_stream_writer()
        found = []
        for number in range(3):
            writer(("ask", number))
            found.append(engine.interrupt(f"q{number}"))
        return {"log": found}

    builder = engine.StateGraph(Log)
    builder.add_node("ask", ask)
    builder.add_edge(engine.START, "ask")
    return builder


def beside_another(engine):
    def ask(state):
        return {"log": [engine.interrupt("ok?")]}

    def other(state):
        return {"log": ["other"]}

    def join(state):
        return {"log": [f"joined {len(state['log'])}"]}

    builder = engine.StateGraph(Log)
    builder.add_node("ask", ask)
    builder.add_node("other", other)
    builder.add_node("join", join)
    builder.add_edge(engine.START, "ask")
    builder.add_edge(engine.START, "other")
    builder.add_edge(["ask", "other"], "join")
    return builder


def parallel_questions(engine):
    def asker(name):
        def ask(state):
            return {"log": [f"{name}={engine.interrupt(name)}"]}

        return ask

    builder = engine.StateGraph(Log)
    for name in ("a", "b", "c"):
        builder.add_node(name, asker(name))
        builder.add_edge(engine.START, name)
    return builder


def in_a_subgraph(engine):
    def before(state):
        return {"log": ["before"]}

    def ask(state):
        return {"log": [engine.interrupt("inner?")]}

    child = engine.StateGraph(Log)
    child.add_node("before", before)
    child.add_node("ask", ask)
    child.add_edge(engine.START, "before")
    child.add_edge("before", "ask")

    def outer(state):
        return {"log": [engine.interrupt("outer?")]}

    builder = engine.StateGraph(Log)
    builder.add_node("child", child.compile())
    builder.add_node("outer", outer)
    builder.add_edge(engine.START, "child")
    builder.add_edge("child", "outer")
    return builder


def in_an_invoked_graph(engine):
    def before(state):
        return {"log": ["before"]}

    def ask(state):
        return {"log": [engine.interrupt("inner?")]}

    child = engine.StateGraph(Log)
    child.add_node("before", before)
    child.add_node("ask", ask)
    child.add_edge(engine.START, "before")
    child.add_edge("before", "ask")
    graph = child.compile()

    def call(state):
        return {"log": ["called", *graph.invoke({"log": []})["log"]]}

    builder = engine.StateGraph(Log)
    builder.add_node("call", call)
    builder.add_edge(engine.START, "call")
    return builder


def test_a_question_is_answered_by_a_value(differ):
    compare_turns(differ, one_question, [START_INPUT, answer("yes")])


def test_going_on_without_an_answer_asks_again(differ):
    compare_turns(differ, one_question, [START_INPUT, None, answer("yes")])


def test_a_new_input_drops_the_question(differ):
    compare_turns(differ, one_question, [START_INPUT, {"log": ["new"]}, answer("yes")])


def test_an_answer_by_id(differ):
    compare_turns(differ, one_question, [START_INPUT, answer_by_id(("ok?", "yes"))])


def test_several_questions_of_one_node_are_answered_one_after_the_other(differ):
    compare_turns(differ, three_questions, [START_INPUT, answer("a"), answer("b"), answer("c")])


def test_finished_siblings_do_not_run_again(differ):
    compare_turns(differ, beside_another, [START_INPUT, answer("yes")], parallel=True)


@pytest.mark.parametrize("durability", ["sync", "async", "exit"])
def test_each_durability_saves_what_langgraph_saves(differ, durability):
    compare_turns(
        differ, beside_another, [START_INPUT, answer("yes")], parallel=True, durability=durability
    )


def test_parallel_questions_are_answered_by_id(differ):
    turns = [START_INPUT, answer_by_id(("a", 1), ("b", 2), ("c", 3))]
    compare_turns(differ, parallel_questions, turns, parallel=True)


def test_some_of_parallel_questions_are_answered(differ):
    turns = [START_INPUT, answer_by_id(("b", 2)), answer_by_id(("a", 1), ("c", 3))]
    compare_turns(differ, parallel_questions, turns, parallel=True)


def test_one_answer_for_several_questions_is_refused(engine):
    outcomes, _ = take_turns(engine, parallel_questions, [START_INPUT, answer(1)], "sync")
    assert isinstance(outcomes[1].error, RuntimeError)
    assert "must specify the interrupt id when resuming" in str(outcomes[1].error)
    assert outcomes[1].chunks == []


def test_a_question_in_a_subgraph(differ):
    turns = [START_INPUT, answer("in"), answer("out")]
    compare_turns(differ, in_a_subgraph, turns, subgraphs=True)


@pytest.mark.parametrize("durability", ["sync", "exit"])
def test_a_question_in_a_subgraph_with_each_durability(differ, durability):
    turns = [START_INPUT, answer("in"), answer("out")]
    compare_turns(differ, in_a_subgraph, turns, subgraphs=True, durability=durability)


def test_a_question_in_a_graph_that_a_node_invokes(differ):
    turns = [START_INPUT, answer("in")]
    compare_turns(differ, in_an_invoked_graph, turns, subgraphs=True, stream_mode=["updates"])


def calling_twice(engine):
    """The graph inside is called twice, and each call asks."""
    inner = chain(engine, asking(engine, "inner?"))

    def call(state):
        return {"log": [*inner.invoke({"log": []})["log"], *inner.invoke({"log": []})["log"]]}

    return around(engine, call)


def asking_then_calling(engine):
    """Each of three graphs inside of each other asks: before the call, inside, after the call."""
    innermost = chain(engine, asking(engine, "innermost?"))

    def middle(state):
        answer = engine.interrupt("middle?")
        return {"log": [answer, *innermost.invoke({"log": []})["log"]]}

    inner = chain(engine, middle)

    def call(state):
        found = inner.invoke({"log": []})["log"]
        return {"log": [*found, engine.interrupt("call?")]}

    return around(engine, call)


def asking(engine, question):
    def ask(state):
        return {"log": [engine.interrupt(question)]}

    return ask


def chain(engine, node):
    builder = engine.StateGraph(Log).add_node("inner", node).add_edge(engine.START, "inner")
    return builder.compile()


def around(engine, call):
    return engine.StateGraph(Log).add_node("call", call).add_edge(engine.START, "call")


@pytest.mark.parametrize("build", [calling_twice, asking_then_calling])
def test_each_answer_goes_to_one_question_of_called_graphs(differ, build):
    turns = [START_INPUT, answer(1), answer(2), answer(3)]
    compare_turns(differ, build, turns, subgraphs=True, stream_mode=["updates"])


@pytest.mark.parametrize("when", ["interrupt_before", "interrupt_after"])
@pytest.mark.parametrize("nodes", [["after"], ["ask"], "*"], ids=str)
def test_static_breakpoints_are_gone_on_from(differ, when, nodes):
    turns = [START_INPUT, None, None, answer("yes"), None, None]
    compare_turns(differ, one_question, turns, compile={when: nodes})


def test_an_answer_without_a_checkpointer_is_refused(engine):
    graph = engine.compile(one_question(engine))
    with pytest.raises(RuntimeError, match="without checkpointer"):
        graph.invoke(engine.Command(resume=1))


def test_a_run_without_a_thread_is_refused(engine):
    from langgraph.checkpoint.memory import InMemorySaver

    graph = engine.compile(one_question(engine), checkpointer=InMemorySaver())
    with pytest.raises(ValueError, match="thread_id"):
        graph.invoke(START_INPUT)


def test_invoke_returns_the_questions(engine):
    from langgraph.checkpoint.memory import InMemorySaver

    graph = engine.compile(one_question(engine), checkpointer=InMemorySaver())
    config = {"configurable": {"thread_id": "1"}}
    stopped = graph.invoke(START_INPUT, config)
    assert stopped["log"] == ["in"]
    assert [question.value for question in stopped["__interrupt__"]] == ["ok?"]
    assert graph.invoke(engine.Command(resume="yes"), config) == {"log": ["in", "yes", "after"]}


def test_what_every_mode_shows_of_a_finished_sibling(differ):
    outcomes = compare_turns(differ, beside_another, [START_INPUT, answer("yes")], parallel=True)
    cached = [c for c in outcomes[1].chunks if c[0] == "updates" and "__metadata__" in c[1]]
    assert cached == [("updates", {"other": {"log": ["other"]}, "__metadata__": {"cached": True}})]
    assert set(EVERY_MODE) >= {chunk[0] for chunk in outcomes[1].chunks}
