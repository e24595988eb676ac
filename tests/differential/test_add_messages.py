"""``add_messages`` as the reducer of a state: appends, replaces by id, removes."""

import pytest
from langchain_core.messages import AIMessage, HumanMessage, RemoveMessage, SystemMessage

# "custom" too: without it the reference loses the update of a single task whose reducer raises
MODES = ["values", "updates", "custom"]
START = [HumanMessage("hi", id="1"), AIMessage("hello", id="2")]

UPDATES = {
    "append": lambda ns: AIMessage("more", id="3"),
    "a list": lambda ns: [AIMessage("more", id="3"), HumanMessage("and more", id="4")],
    "replace by id": lambda ns: AIMessage("instead", id="2"),
    "remove": lambda ns: RemoveMessage(id="1"),
    "remove and add": lambda ns: [RemoveMessage(id="2"), AIMessage("new", id="5")],
    "remove all": lambda ns: [RemoveMessage(id=ns.REMOVE_ALL_MESSAGES), AIMessage("only", id="6")],
    "remove unknown": lambda ns: RemoveMessage(id="nope"),
    "dict": lambda ns: {"role": "assistant", "content": "as dict", "id": "7"},
    "tuple": lambda ns: [("user", "as tuple")],
    "text": lambda ns: "as text",
    "without id": lambda ns: [AIMessage("no id"), SystemMessage("none either")],
    "the same id twice": lambda ns: [AIMessage("first", id="8"), AIMessage("second", id="8")],
    "added and removed at once": lambda ns: [AIMessage("x", id="9"), RemoveMessage(id="9")],
}


def messaging(ns, what):
    update = UPDATES[what](ns)
    builder = ns.StateGraph(ns.MessagesState).add_node("n", lambda state: {"messages": update})
    builder.add_node(
        "last", lambda state: {"messages": [AIMessage(state["messages"][-1].text, id="last")]}
    )
    return builder.add_edge(ns.START, "n").add_edge("n", "last")


@pytest.mark.parametrize("what", UPDATES)
def test_messages_merge(differ, what):
    differ.stream(lambda ns: messaging(ns, what), {"messages": START}, stream_mode=MODES)


@pytest.mark.parametrize(
    "given",
    [
        [{"role": "user", "content": "hi"}],
        [("user", "hi")],
        "hi",
        {"role": "user", "content": "hi"},
        [{"type": "human", "content": "hi", "id": "x"}],
    ],
    ids=str,
)
def test_what_the_input_may_be(differ, given):
    differ.stream(lambda ns: messaging(ns, "append"), {"messages": given}, stream_mode=MODES)


def test_messages_of_parallel_nodes_merge_in_name_order(differ):
    def build(ns):
        builder = ns.StateGraph(ns.MessagesState)
        for name in "cab":
            builder.add_node(name, _Says(name)).add_edge(ns.START, name)
        return builder

    differ.stream(build, {"messages": START}, stream_mode="values")


class _Says:
    def __init__(self, name):
        self.name = name

    def __call__(self, state):
        return {"messages": [AIMessage(self.name, id=self.name)]}


def test_removing_what_is_not_there_is_an_error(engine):
    with pytest.raises(ValueError, match="nope"):
        engine.add_messages(START, RemoveMessage(id="nope"))


def test_an_extended_messages_state(differ):
    def build(ns):
        class State(ns.MessagesState):
            topic: str

        builder = ns.StateGraph(State)
        builder.add_node(
            "n", lambda s: {"topic": s["messages"][-1].text, "messages": [AIMessage("ok", id="z")]}
        )
        return builder.add_edge(ns.START, "n")

    differ.stream(build, {"messages": START, "topic": "t"}, stream_mode=MODES)
