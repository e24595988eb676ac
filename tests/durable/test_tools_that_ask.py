"""Questions of tools: each call of a message puts its own."""

import langgraph.types
import pytest
from langchain_core.messages import AIMessage
from langchain_core.tools import tool
from langgraph.checkpoint.memory import InMemorySaver

import distgraph.types
from distgraph.graph import START, MessagesState, StateGraph
from distgraph.prebuilt import ToolNode
from distgraph.types import Command

CONFIG = {"configurable": {"thread_id": "t"}}


def booking(interrupt):
    @tool
    def book(room: str) -> str:
        """Book a room, for a person and for a day."""
        return f"{room} for {interrupt(f'{room}: who?')} on {interrupt(f'{room}: when?')}"

    return book


@pytest.fixture(params=[distgraph.types, langgraph.types], ids=["ours", "theirs"])
def graph(request, ours):
    builder = StateGraph(MessagesState)
    builder.add_node("tools", ToolNode([booking(request.param.interrupt)]))
    builder.add_edge(START, "tools")
    return builder.compile(checkpointer=InMemorySaver(), backend=ours.name)


def calls(*rooms):
    asked = [{"name": "book", "args": {"room": r}, "id": r, "type": "tool_call"} for r in rooms]
    return {"messages": [AIMessage("", tool_calls=asked)]}


def questions(out):
    return {question.value: question.id for question in out["__interrupt__"]}


def results(out):
    return [message.content for message in out["messages"][1:]]


def test_calls_of_one_message_are_answered_one_by_one(graph):
    first = questions(graph.invoke(calls("attic", "cellar"), CONFIG))
    assert sorted(first) == ["attic: who?", "cellar: who?"]
    assert len(set(first.values())) == 2
    answer = {first["cellar: who?"]: "Bea"}
    second = questions(graph.invoke(Command(resume=answer), CONFIG))
    assert sorted(second) == ["attic: who?", "cellar: when?"]
    answers = {second["attic: who?"]: "Al", second["cellar: when?"]: "Monday"}
    third = questions(graph.invoke(Command(resume=answers), CONFIG))
    assert list(third) == ["attic: when?"]
    out = graph.invoke(Command(resume={third["attic: when?"]: "Friday"}), CONFIG)
    assert results(out) == ["attic for Al on Friday", "cellar for Bea on Monday"]


def test_one_call_is_answered_by_values(graph):
    assert list(questions(graph.invoke(calls("attic"), CONFIG))) == ["attic: who?"]
    assert list(questions(graph.invoke(Command(resume="Al"), CONFIG))) == ["attic: when?"]
    assert results(graph.invoke(Command(resume="Friday"), CONFIG)) == ["attic for Al on Friday"]


def test_the_last_open_question_of_several_calls_is_answered_by_a_value(graph):
    first = questions(graph.invoke(calls("attic", "cellar"), CONFIG))
    for when in ("who", "when"):
        answers = {id: f"{value}!" for value, id in first.items()}
        out = graph.invoke(Command(resume=answers), CONFIG)
        first = questions(out) if when == "who" else {}
    assert results(out) == [f"{r} for {r}: who?! on {r}: when?!" for r in ("attic", "cellar")]


def test_a_value_goes_to_the_only_question_that_is_open(graph):
    first = questions(graph.invoke(calls("attic", "cellar"), CONFIG))
    second = questions(graph.invoke(Command(resume=dict.fromkeys(first.values(), "Al")), CONFIG))
    third = questions(graph.invoke(Command(resume={second["attic: when?"]: "Friday"}), CONFIG))
    assert list(third) == ["cellar: when?"]
    out = graph.invoke(Command(resume="Monday"), CONFIG)
    assert results(out) == ["attic for Al on Friday", "cellar for Al on Monday"]


def test_values_answer_the_calls_of_one_message_in_their_order(graph):
    asked = [list(questions(graph.invoke(calls("attic", "cellar"), CONFIG)))]
    for value in ("Al", "Friday", "Bea"):
        asked.append(list(questions(graph.invoke(Command(resume=value), CONFIG))))
    assert asked == [
        ["attic: who?", "cellar: who?"],
        ["attic: when?", "cellar: who?"],
        ["cellar: who?"],
        ["cellar: when?"],
    ]
    out = graph.invoke(Command(resume="Monday"), CONFIG)
    assert results(out) == ["attic for Al on Friday", "cellar for Bea on Monday"]


def test_a_value_is_not_enough_for_calls_of_several_nodes(ours):
    builder = StateGraph(MessagesState).add_node(
        "left", ToolNode([booking(distgraph.types.interrupt)])
    )
    builder.add_node("right", ToolNode([booking(distgraph.types.interrupt)]))
    builder.add_edge(START, "left").add_edge(START, "right")
    graph = builder.compile(checkpointer=InMemorySaver(), backend=ours.name)
    graph.invoke(calls("attic", "cellar"), CONFIG)
    with pytest.raises(RuntimeError, match="multiple pending interrupts"):
        graph.invoke(Command(resume="Al"), CONFIG)
