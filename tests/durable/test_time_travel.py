"""Runs from checkpoints that are past, and forks of a thread, as LangGraph plays them."""

import operator
from typing import Annotated, TypedDict

from tests.support.states import CONFIG, compare_story


class Log(TypedDict):
    log: Annotated[list, operator.add]


def says(name):
    return lambda state: {"log": [name]}


def asks(engine, *questions):
    def ask(state):
        return {"log": [engine.interrupt(question) for question in questions]}

    return ask


def at_step(t, step, config=CONFIG):
    """Return the config of the newest checkpoint of a step."""
    return next(s for s in t.history(config) if s.metadata["step"] == step).config


def chain(engine):
    builder = engine.StateGraph(Log)
    builder.add_sequence([(name, says(name)) for name in "abc"])
    builder.add_edge(engine.START, "a")
    return builder


def questions(engine):
    """A node, two questions in the next, and a node behind."""
    builder = engine.StateGraph(Log)
    builder.add_sequence(
        [("a", says("a")), ("ask", asks(engine, "first?", "second?")), ("c", says("c"))]
    )
    builder.add_edge(engine.START, "a")
    return builder


def test_a_run_from_a_past_checkpoint_makes_a_branch(here):
    def story(t):
        t.invoke({"log": ["in"]})
        t.invoke(None, at_step(t, 1))
        t.history()
        t.state()
        t.invoke({"log": ["again"]})
        t.history()

    told = compare_story(here, chain, story)
    assert told.log[2][1] == {"log": ["in", "a", "b", "c"]}


def test_a_run_from_the_last_checkpoint_does_nothing(here):
    def story(t):
        t.invoke({"log": ["in"]})
        t.invoke(None, t.state().config)
        t.invoke(None, at_step(t, 3))
        t.history()

    compare_story(here, chain, story)


def test_new_input_at_a_past_checkpoint_starts_over_from_there(here):
    def story(t):
        t.invoke({"log": ["in"]})
        t.invoke({"log": ["other"]}, at_step(t, 1))
        t.history()

    compare_story(here, chain, story)


def test_a_fork_runs_with_its_own_values(here):
    def story(t):
        t.invoke({"log": ["in"]})
        past = at_step(t, 1)
        for value in ("one", "two"):
            fork = t.update({"log": [value]}, past)
            t.invoke(None, fork)
        t.invoke(None, fork)  # the thread has moved past it by now
        t.history()

    told = compare_story(here, chain, story)
    assert told.log[-2][1] == {"log": ["in", "a", "two", "b", "c"]}


def test_a_question_is_put_again_from_a_past_checkpoint(here):
    def story(t):
        resume = t.engine.Command
        t.invoke({"log": ["in"]})
        t.invoke(resume(resume="A"))
        t.invoke(resume(resume="B"))
        before = at_step(t, 0)
        t.invoke(None, before)
        t.state()
        t.invoke(resume(resume="C"))
        t.invoke(resume(resume="D"))
        t.history()

    told = compare_story(here, questions, story)
    assert told.log[-2][1] == {"log": ["in", "a", "C", "D", "c"]}


def test_a_question_is_put_again_at_its_own_checkpoint(here):
    def story(t):
        resume = t.engine.Command
        t.invoke({"log": ["in"]})
        asked = t.state().config
        t.invoke(resume(resume="A"))
        t.invoke(None, asked)
        t.invoke(resume(resume="B"), asked)
        t.invoke(resume(resume="C"))
        t.history()

    compare_story(here, questions, story)


def test_an_answer_at_the_latest_checkpoint_by_its_id_is_no_travel(here):
    def story(t):
        resume = t.engine.Command
        t.invoke({"log": ["in"]})
        t.invoke(resume(resume="A"), t.state().config)
        t.invoke(resume(resume="B"), t.state().config)
        t.history()

    told = compare_story(here, questions, story)
    assert told.log[-2][1] == {"log": ["in", "a", "A", "B", "c"]}


def test_the_same_answer_twice_answers_both_questions(here):
    def story(t):
        t.invoke({"log": ["in"]})
        t.invoke(t.engine.Command(resume="yes"))
        t.invoke(t.engine.Command(resume="yes"))

    told = compare_story(here, questions, story)
    assert told.log[-1][1] == {"log": ["in", "a", "yes", "yes", "c"]}


def test_a_command_leads_on_from_a_past_checkpoint(here):
    def story(t):
        command = t.engine.Command
        t.invoke({"log": ["in"]})
        past = at_step(t, 1)
        t.invoke(command(goto="c", update={"log": ["led"]}), past)
        t.history()
        t.invoke(command(goto=t.engine.Send("b", {}), update={"log": ["led"]}))
        t.history()

    compare_story(here, chain, story)


def parallel(engine):
    builder = engine.StateGraph(Log)
    for name in ("left", "right"):
        builder.add_node(name, asks(engine, f"{name}?"))
        builder.add_edge(engine.START, name)
    builder.add_node("done", says("done"))
    builder.add_edge(["left", "right"], "done")
    return builder


def test_questions_of_siblings_are_put_again_together(here):
    def ids(state):
        return {question.value: question.id for question in state.interrupts}

    def story(t):
        resume = t.engine.Command
        t.invoke({"log": []})
        asked = ids(t.state())
        t.invoke(resume(resume={asked["left?"]: "L"}))
        t.state()
        half = t.state().config
        t.invoke(resume(resume="R"))
        t.invoke(None, half)
        asked = ids(t.state())
        t.invoke(resume(resume={asked["left?"]: "L2", asked["right?"]: "R2"}))
        t.history()

    told = compare_story(here, parallel, story)
    assert told.log[-2][1] == {"log": ["L2", "R2", "done"]}


def with_graph(checkpointer=None):
    """A node, a graph with a node and a question, and a node behind."""

    def build(engine):
        inner = engine.StateGraph(Log)
        inner.add_sequence([("x", says("x")), ("ask", asks(engine, "?")), ("y", says("y"))])
        inner.add_edge(engine.START, "x")
        builder = engine.StateGraph(Log)
        builder.add_sequence(
            [
                ("a", says("a")),
                ("inner", inner.compile(checkpointer=checkpointer)),
                ("c", says("c")),
            ]
        )
        builder.add_edge(engine.START, "a")
        return builder

    return build


def travels_around_a_graph(t):
    resume = t.engine.Command
    t.invoke({"log": ["in"]})
    t.state(subgraphs=True)
    t.invoke(resume(resume="A"))
    t.state(subgraphs=True)
    past = at_step(t, 1)
    t.invoke(None, past)
    t.invoke(resume(resume="B"))
    t.invoke(None, at_step(t, 0))
    t.state(subgraphs=True)
    t.invoke(resume(resume="C"))
    t.history()


def test_a_graph_starts_afresh_when_the_one_around_it_goes_back(here):
    compare_story(here, with_graph(), travels_around_a_graph)


def test_a_graph_with_its_own_history_goes_back_in_it(here):
    compare_story(here, with_graph(True), travels_around_a_graph)


def travels_into_a_graph(t):
    resume = t.engine.Command
    t.invoke({"log": ["in"]})
    inside = t.state(subgraphs=True).tasks[0].state.config
    t.history(inside)
    t.invoke(None, inside)
    t.invoke(resume(resume="A"), inside)
    t.state(subgraphs=True)
    named = {k: v for k, v in inside["configurable"].items() if k in ("thread_id", "checkpoint_ns")}
    early = at_step(t, 0, {"configurable": named})
    t.invoke(None, early)
    t.invoke(resume(resume="B"))
    fork = t.update({"log": ["mine"]}, inside)
    t.invoke(None, fork)
    t.invoke(resume(resume="C"), fork)
    t.history()
    t.history(inside)


def test_a_run_starts_at_a_checkpoint_of_a_graph_inside(here):
    compare_story(here, with_graph(), travels_into_a_graph)


def test_a_run_starts_in_the_history_of_a_graph_inside(here):
    compare_story(here, with_graph(True), travels_into_a_graph)


def test_an_answer_finds_its_question_in_a_graph_that_was_updated(here):
    def story(t):
        t.invoke({"log": ["in"]})
        t.update({"log": ["mine"]}, t.state().tasks[0].state)
        t.invoke(t.engine.Command(resume="yes"))
        t.history()

    told = compare_story(here, with_graph(), story)
    assert told.log[-2][1]["log"][-3:] == ["yes", "y", "c"]


def counting(engine):
    """A graph with a history of its own, called again for each run of the thread."""
    inner = engine.StateGraph(Log)
    inner.add_node("count", lambda state: {"log": [f"call {len(state['log'])}"]})
    inner.add_edge(engine.START, "count")
    builder = engine.StateGraph(Log)
    builder.add_node("inner", inner.compile(checkpointer=True))
    builder.add_node("ask", asks(engine, "?"))
    builder.add_edge(engine.START, "inner")
    builder.add_edge("inner", "ask")
    return builder


def test_a_history_inside_is_that_of_the_branch(here):
    def story(t):
        resume = t.engine.Command
        t.invoke({"log": ["one"]})
        t.invoke(resume(resume="A"))
        t.invoke({"log": ["two"]})
        t.invoke(resume(resume="B"))
        first = [s for s in t.history() if s.metadata["source"] == "input"]
        t.invoke(None, first[0].config)
        t.invoke(resume(resume="C"))
        t.invoke(None, first[1].config)
        t.invoke(resume(resume="D"))
        t.invoke({"log": ["three"]})
        t.state(subgraphs=True)
        t.history()

    compare_story(here, counting, story)


def test_a_loop_around_a_graph_goes_back_once_only(here):
    def build(engine):
        inner = engine.StateGraph(Log)
        inner.add_node("count", lambda state: {"log": [len(state["log"])]})
        inner.add_edge(engine.START, "count")
        builder = engine.StateGraph(Log)
        builder.add_node("inner", inner.compile(checkpointer=True))
        builder.add_edge(engine.START, "inner")
        builder.add_conditional_edges(
            "inner", lambda s: "inner" if len(s["log"]) < 20 else engine.END, ["inner", engine.END]
        )
        return builder

    def story(t):
        t.invoke({"log": ["in"]})
        for step in (0, 1, 2):
            t.invoke(None, at_step(t, step))
        t.history()

    compare_story(here, build, story)


def test_three_graphs_deep(here):
    def build(engine):
        leaf = engine.StateGraph(Log)
        leaf.add_sequence([("x", says("x")), ("ask", asks(engine, "?")), ("y", says("y"))])
        leaf.add_edge(engine.START, "x")
        middle = engine.StateGraph(Log)
        middle.add_sequence([("m", says("m")), ("leaf", leaf.compile()), ("n", says("n"))])
        middle.add_edge(engine.START, "m")
        builder = engine.StateGraph(Log)
        builder.add_node("middle", middle.compile())
        builder.add_node("c", says("c"))
        builder.add_edge(engine.START, "middle")
        builder.add_edge("middle", "c")
        return builder

    def story(t):
        resume = t.engine.Command
        t.invoke({"log": ["in"]})
        deep = t.state(subgraphs=True).tasks[0].state.tasks[0].state.config
        t.invoke(None, deep)
        t.invoke(resume(resume="A"))
        t.invoke(None, deep)
        t.invoke(resume(resume="B"), deep)
        t.state(subgraphs=True)
        fork = t.update({"log": ["mine"]}, deep)
        t.invoke(None, fork)
        t.invoke(resume(resume="C"))
        t.history()

    compare_story(here, build, story)
