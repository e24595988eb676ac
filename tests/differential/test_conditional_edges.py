"""Where a conditional edge leads: path maps, lists, literals, booleans, sends, several at once."""

from typing import Literal

import pytest

from tests.support.graphs import Numbers, adds

MODES = ["values", "updates", "tasks", "debug"]


def routed(ns, path, path_map=None, source="route"):
    builder = ns.StateGraph(Numbers).add_node("route", lambda state: {"n": state["n"] + 1})
    builder.add_node("left", adds("left")).add_node("right", adds("right"))
    builder.add_edge(ns.START, "route")
    extra = () if path_map is None else (path_map,)
    return builder.add_conditional_edges(source, path, *extra)


def by_map(ns):
    return routed(
        ns, lambda s: "even" if s["n"] % 2 == 0 else "odd", {"even": "left", "odd": "right"}
    )


def by_bool(ns):
    return routed(ns, lambda s: s["n"] % 2 == 0, {True: "left", False: "right"})


def by_list(ns):
    return routed(ns, lambda s: "left" if s["n"] % 2 == 0 else "right", ["left", "right"])


def by_literal(ns):
    def path(state) -> Literal["left", "right"]:
        return "left" if state["n"] % 2 == 0 else "right"

    return routed(ns, path)


def by_name(ns):
    return routed(ns, lambda s: "left" if s["n"] % 2 == 0 else ns.END)


def to_both(ns):
    return routed(ns, lambda s: ["right", "left"] if s["n"] % 2 == 0 else [])


def to_send(ns):
    return routed(
        ns,
        lambda s: ns.Send("left", {"n": 10}) if s["n"] % 2 == 0 else [ns.Send("right", {}), "left"],
    )


def by_async_path(ns):
    async def path(state):
        return "left" if state["n"] % 2 == 0 else "right"

    return routed(ns, path)


class Router:
    def __call__(self, state):
        return "left" if state["n"] % 2 == 0 else "right"


def by_object(ns):
    return routed(ns, Router())


def from_start(ns):
    builder = ns.StateGraph(Numbers)
    builder.add_node("left", adds("left")).add_node("right", adds("right"))
    return builder.add_conditional_edges(
        ns.START, lambda s: "left" if s["n"] % 2 == 0 else "right", ["left", "right"]
    )


def by_entry_point(ns):
    builder = ns.StateGraph(Numbers)
    builder.add_node("left", adds("left")).add_node("right", adds("right"))
    builder.set_conditional_entry_point(lambda s: "left" if s["n"] else "right")
    builder.set_finish_point("left")
    return builder


def two_from_one(ns):
    builder = by_name(ns)
    builder.add_conditional_edges("route", _second)
    return builder


def _second(state):
    return "right"


BUILDS = [
    by_map,
    by_bool,
    by_list,
    by_literal,
    by_name,
    to_both,
    to_send,
    by_object,
    from_start,
    by_entry_point,
    two_from_one,
]


@pytest.mark.parametrize("n", [0, 1])
@pytest.mark.parametrize("build", BUILDS, ids=lambda b: b.__name__)
def test_a_conditional_edge_leads_where_its_function_says(differ, build, n):
    differ.stream(build, {"n": n, "items": []}, stream_mode=MODES, parallel=True)


@pytest.mark.parametrize("n", [0, 1])
def test_an_async_path_function(differ, n):
    differ.stream(
        by_async_path,
        {"n": n, "items": []},
        stream_mode=MODES,
        parallel=True,
        reference_face="async",
    )


def test_the_path_sees_its_own_nodes_writes_but_no_siblings(differ):
    def build(ns):
        builder = ns.StateGraph(Numbers).add_node("a", lambda s: {"n": 1, "items": ["a"]})
        builder.add_node("b", adds("b")).add_node("seen", lambda s: {"items": [s]})
        builder.add_edge(ns.START, "a").add_edge(ns.START, "b")
        return builder.add_conditional_edges("a", lambda s: ns.Send("seen", dict(s)), ["seen"])

    outcome = differ.stream(build, {"n": 0, "items": ["x"]}, stream_mode=MODES, parallel=True)
    seen = {"n": 1, "items": ["x", "a"]}
    assert outcome.chunks[-1][1]["items"][-1] == seen


def test_a_path_that_raises_comes_after_its_nodes_update(differ):
    def build(ns):
        def path(state):
            raise LookupError("no way")

        return routed(ns, path)

    outcome = differ.stream(build, {"n": 0, "items": []}, stream_mode=["values", "updates"])
    assert isinstance(outcome.error, LookupError)


def test_an_unknown_label_of_a_path_map_is_an_error(engine):
    graph = engine.compile(routed(engine, lambda s: "nowhere", {"left": "left"}))
    with pytest.raises((KeyError, ValueError), match="nowhere"):
        graph.invoke({"n": 0, "items": []})
