"""What a node may return, and what each return shows in the stream."""

import dataclasses

import pytest

from tests.support.graphs import Numbers, adds, one

MODES = ["values", "updates", "tasks", "debug"]


@dataclasses.dataclass
class Other:
    n: int = 4


RETURNS = {
    "none": lambda ns: None,
    "empty": lambda ns: {},
    "unknown key": lambda ns: {"nope": 1},
    "known and unknown": lambda ns: {"nope": 1, "n": 2},
    "explicit none": lambda ns: {"n": None},
    "empty list of items": lambda ns: {"items": []},
    "command without content": lambda ns: ns.Command(),
    "command with update": lambda ns: ns.Command(update={"n": 2, "items": ["c"]}),
    "empty list": lambda ns: [],
    "list of commands": lambda ns: [ns.Command(update={"n": 2}), {"items": ["c"]}],
    "object": lambda ns: Other(),
    "list of dicts": lambda ns: [{"n": 1}, {"n": 2}],
    "text": lambda ns: "text",
    "number": lambda ns: 3,
    "send": lambda ns: ns.Send("other", {"n": 1}),
}


def returning(ns, what, is_async=False):
    value = RETURNS[what](ns)

    def node(state):
        return value

    async def anode(state):
        return value

    builder = one(ns, anode if is_async else node, Numbers)
    return builder.add_node("other", adds("other"))


@pytest.mark.parametrize("what", RETURNS)
def test_what_a_node_returns(differ, what):
    differ.stream(
        lambda ns: returning(ns, what),
        {"n": 0, "items": ["x"]},
        stream_mode=MODES,
    )


@pytest.mark.parametrize("what", ["none", "known and unknown", "command with update", "text"])
def test_what_an_async_node_returns(differ, what):
    differ.stream(
        lambda ns: returning(ns, what, is_async=True),
        {"n": 0, "items": ["x"]},
        stream_mode=MODES,
        reference_face="async",
    )


@pytest.mark.parametrize("what", ["text", "number", "list of dicts"])
def test_a_return_of_a_wrong_type_names_it(engine, what):
    graph = engine.compile(returning(engine, what))
    with pytest.raises(engine.InvalidUpdateError, match="(?i)expected"):
        graph.invoke({"n": 0, "items": []})


def test_the_message_names_the_node(ours):
    graph = ours.compile(returning(ours, "text"))
    with pytest.raises(ours.InvalidUpdateError) as caught:
        graph.invoke({"n": 0, "items": []})
    assert "'n'" in "\n".join([str(caught.value), *getattr(caught.value, "__notes__", [])])


def test_a_list_of_sends(ours):
    # the reference takes such a list only where a Command is in it
    def node(state):
        return [ours.Send("other", {}), ours.Send("other", {})]

    builder = one(ours, node, Numbers).add_node("other", adds("other"))
    assert ours.compile(builder).invoke({"items": []}) == {"items": ["other", "other"]}
