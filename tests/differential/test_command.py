"""Nodes that return ``Command``: an update and where to go, in one value."""

import dataclasses

from tests.support.graphs import Items, Numbers, adds

MODES = ["values", "updates", "tasks", "debug"]


def to(ns, command, **nodes):
    builder = ns.StateGraph(Numbers)
    builder.add_node("first", lambda state: command, destinations=("x", "y"))
    builder.add_node("x", adds("x")).add_node("y", adds("y"))
    return builder.add_edge(ns.START, "first")


def test_update_and_goto(differ):
    differ.stream(
        lambda ns: to(ns, ns.Command(update={"n": 5}, goto="y")), {"n": 0}, stream_mode=MODES
    )


def test_goto_alone(differ):
    differ.stream(lambda ns: to(ns, ns.Command(goto="x")), {"n": 0}, stream_mode=MODES)


def test_update_alone_ends_the_branch(differ):
    differ.stream(lambda ns: to(ns, ns.Command(update={"n": 2})), {"n": 0}, stream_mode=MODES)


def test_goto_several(differ):
    differ.stream(
        lambda ns: to(ns, ns.Command(update={"n": 2}, goto=["y", "x"])),
        {"n": 0},
        stream_mode=MODES,
        parallel=True,
    )


def test_goto_end(differ):
    differ.stream(
        lambda ns: to(ns, ns.Command(update={"n": 2}, goto=ns.END)), {"n": 0}, stream_mode=MODES
    )


def test_an_update_as_pairs(differ):
    def build(ns):
        return to(ns, ns.Command(update=[("items", ["p"]), ("items", ["q"]), ("n", 3)]))

    differ.stream(build, {"n": 0}, stream_mode=MODES)


def test_goto_adds_to_the_nodes_edges(differ):
    def build(ns):
        return to(ns, ns.Command(goto="x")).add_edge("first", "y")

    differ.stream(build, {"n": 0}, stream_mode=["values", "updates"], parallel=True)


def sends(ns):
    """Packets and a node in one ``goto``: the node's writes apply before those of the packets."""

    def gen(state):
        return {"items": [f"J {state['subject']}"]}

    command = ns.Command(
        update={"items": ["r"]},
        goto=[ns.Send("gen", {"subject": "owls"}), "best", ns.Send("gen", {"subject": "cats"})],
    )
    builder = ns.StateGraph(Numbers).add_node("first", lambda state: command)
    builder.add_node("gen", gen).add_node("best", adds("best"))
    return builder.add_edge(ns.START, "first")


def test_packets_and_a_node_in_one_goto(engine):
    graph = engine.compile(sends(engine))
    assert graph.invoke({"items": []})["items"] == ["r", "best", "J owls", "J cats"]


def test_packets_and_a_node_stream_as_siblings(differ):
    differ.stream(
        sends,
        {"items": []},
        stream_mode=["values", "updates"],
        parallel=True,
        key=lambda item: None if item.mode == "values" else repr(item.payload),
    )


def test_a_loop_of_commands(differ):
    def build(ns):
        def ping(state):
            return ns.Command(
                update={"n": state["n"] + 1}, goto="pong" if state["n"] < 2 else ns.END
            )

        def pong(state):
            return ns.Command(update={"items": [state["n"]]}, goto="ping")

        builder = ns.StateGraph(Numbers)
        builder.add_node("ping", ping, destinations=("pong",)).add_node(
            "pong", pong, destinations=("ping",)
        )
        return builder.add_edge(ns.START, "ping")

    outcome = differ.stream(build, {"n": 0}, stream_mode=["values", "updates"])
    assert outcome.chunks[-1] == ("values", {"n": 3, "items": [1, 2]})


def test_a_list_of_commands(differ):
    def build(ns):
        def many(state):
            return [
                ns.Command(update={"items": ["a"]}, goto="x"),
                {"items": ["b"]},
                ns.Command(update={"n": 9}, goto=ns.Send("y", {})),
            ]

        builder = ns.StateGraph(Numbers).add_node("many", many)
        builder.add_node("x", adds("x")).add_node("y", adds("y"))
        return builder.add_edge(ns.START, "many")

    differ.stream(build, {"n": 0}, stream_mode=MODES, parallel=True)


def test_a_command_as_input_updates_the_state(differ):
    def build(ns):
        return ns.StateGraph(Numbers).add_node("a", adds("a")).add_edge(ns.START, "a")

    differ.stream(
        build, lambda ns: ns.Command(update={"n": 4}, goto="a"), stream_mode=["values", "updates"]
    )


def replacing(ns):
    def decide(state):
        return dataclasses.replace(
            ns.Command(goto=ns.Send("b", {"items": []})), update={"items": ["x"]}
        )

    builder = ns.StateGraph(Items).add_node("a", decide).add_node("b", adds("b"))
    return builder.add_edge(ns.START, "a")


def test_a_replaced_command_goes_where_the_first_one_went(differ):
    assert differ.stream(replacing, {"items": []}, stream_mode="updates").chunks == [
        {"a": {"items": ["x"]}},
        {"b": {"items": ["b"]}},
    ]
