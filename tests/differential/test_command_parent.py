"""``Command(graph=Command.PARENT)``: a node of a child graph steers its parent."""

import pytest

from tests.support.graphs import Numbers, adds

MODES = ["values", "updates", "custom", "tasks"]


def parent(ns, goto="after", in_function=False, update=None):
    def leave(state, writer):
        writer("leaving")
        return ns.Command(
            graph=ns.Command.PARENT,
            goto=ns.Send("after", {"items": []}) if goto == "send" else goto,
            update={"items": ["from child"]} if update is None else update,
        )

    child = (
        ns.StateGraph(Numbers)
        .add_node("before", adds("before"))
        .add_node("leave", leave)
        .add_edge(ns.START, "before")
        .add_edge("before", "leave")
        .compile()
    )
    builder = ns.StateGraph(Numbers)
    if in_function:
        builder.add_node("child", lambda state: child.invoke(state))
    else:
        builder.add_node("child", child)
    builder.add_node("after", adds("after"))
    return builder.add_edge(ns.START, "child")


@pytest.mark.parametrize("subgraphs", [False, True])
@pytest.mark.parametrize("goto", ["after", "send", ()], ids=["node", "send", "nowhere"])
def test_a_command_leaves_the_child(differ, goto, subgraphs):
    differ.stream(
        lambda ns: parent(ns, goto), {"n": 0, "items": []}, stream_mode=MODES, subgraphs=subgraphs
    )


def test_a_command_leaves_a_graph_invoked_in_a_function(differ):
    differ.stream(
        lambda ns: parent(ns, in_function=True),
        {"n": 0, "items": []},
        stream_mode=["values", "updates"],
    )


def test_writes_of_the_child_before_the_command_are_dropped(engine):
    graph = engine.compile(parent(engine))
    assert graph.invoke({"n": 0, "items": []})["items"] == ["from child", "after"]


def test_two_levels_up_takes_two_commands(differ):
    def build(ns):
        inner = parent(ns, goto="after").compile()
        builder = ns.StateGraph(Numbers).add_node("middle", inner).add_node("last", adds("last"))
        return builder.add_edge(ns.START, "middle").add_edge("middle", "last")

    differ.stream(build, {"n": 0, "items": []}, stream_mode=["values", "updates"], subgraphs=True)


def test_a_command_that_user_code_raises_leaves_one_graph(differ):
    """As one that is returned: LangGraph's ``ParentCommand`` may be raised in its place."""
    from langgraph.errors import ParentCommand
    from langgraph.types import Command

    def leave(state):
        raise ParentCommand(
            Command(graph=Command.PARENT, goto="after", update={"items": ["from child"]})
        )

    def build(ns):
        child = ns.StateGraph(Numbers).add_node("leave", leave).add_edge(ns.START, "leave")
        builder = ns.StateGraph(Numbers).add_node("child", child.compile())
        return builder.add_node("after", adds("after")).add_edge(ns.START, "child")

    given = {"n": 0, "items": []}
    differ.stream(build, given, stream_mode=["values", "updates"], subgraphs=True)
