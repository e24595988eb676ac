"""What ``get_state_history`` yields, as LangGraph yields it."""

import operator
from typing import Annotated, TypedDict

from langgraph.checkpoint.memory import InMemorySaver

from distgraph.graph import START, StateGraph
from tests.support.states import CONFIG, compare_story


class Log(TypedDict):
    log: Annotated[list, operator.add]


def fan(engine):
    """A step of two nodes, a step of Sends, a subgraph, and an end."""

    def says(name):
        return lambda state: {"log": [name]}

    inner = engine.StateGraph(Log)
    inner.add_node("inner", says("inner"))
    inner.add_edge(engine.START, "inner")
    builder = engine.StateGraph(Log)
    for name in ("left", "right", "join"):
        builder.add_node(name, says(name))
    builder.add_node("work", lambda state: {"log": [state["n"]]})
    builder.add_node("graph", inner.compile())
    builder.add_edge(engine.START, "left")
    builder.add_edge(engine.START, "right")
    builder.add_edge(["left", "right"], "join")
    builder.add_conditional_edges(
        "join", lambda s: [engine.Send("work", {"n": n}) for n in (1, 2)], ["work"]
    )
    builder.add_edge("work", "graph")
    return builder


def test_every_checkpoint_is_told_newest_first(here):
    def story(t):
        t.invoke({"log": ["in"]})
        t.history()
        t.invoke({"log": ["again"]})
        t.history()

    told = compare_story(here, fan, story)
    first = told.log[1][1]
    assert [state.next for state in first] == [
        (),
        ("graph",),
        ("work", "work"),
        ("join",),
        ("left", "right"),
        ("__start__",),
    ]
    assert [task.result for task in first[2].tasks] == [{"log": [1]}, {"log": [2]}]


def test_states_are_found_by_their_configs(here):
    def story(t):
        t.invoke({"log": ["in"]})
        for state in t.history():
            t.state(state.config)
            if state.parent_config is not None:
                t.state(state.parent_config)

    compare_story(here, fan, story)


def test_filter_before_and_limit_choose(here):
    def story(t):
        t.invoke({"log": ["in"]}, {**CONFIG, "metadata": {"turn": 1}})
        t.invoke({"log": ["more"]}, {**CONFIG, "metadata": {"turn": 2}})
        whole = t.history()
        t.history(limit=2)
        t.history(filter={"source": "input"})
        t.history(filter={"turn": 1, "step": 2})
        t.history(before=whole[3].config)
        t.history(before=whole[3].config, limit=1, filter={"turn": 1})
        t.history(whole[3].config)

    told = compare_story(here, fan, story)
    whole, two, inputs, *_ = (entry for name, entry in told.log if name == "history")
    assert two == whole[:2]
    assert [state.metadata["source"] for state in inputs] == ["input", "input"]


def test_a_graph_inside_has_a_history_of_its_own(here):
    def story(t):
        t.invoke({"log": ["in"]})
        state = next(state for state in t.history() if state.next == ("graph",))
        t.history(state.tasks[0].state)

    told = compare_story(here, fan, story)
    assert [state.values["log"][-1:] for state in told.log[2][1]] == [["inner"], [2], []]


def test_the_history_is_read_when_it_is_asked_for():
    builder = StateGraph(Log)
    builder.add_node("a", lambda state: {"log": ["a"]})
    builder.add_edge(START, "a")
    graph = builder.compile(checkpointer=InMemorySaver(), backend="local")
    graph.invoke({"log": []}, CONFIG)
    states = graph.get_state_history(CONFIG)
    assert next(states).values == {"log": ["a"]}
    states.close()
