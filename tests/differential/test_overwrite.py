"""``Overwrite`` bypasses a reducer."""

from tests.support.graphs import Items, adds

MODES = ["values", "updates", "tasks"]


def test_an_overwrite_replaces_the_value(differ):
    def build(ns):
        builder = ns.StateGraph(Items).add_node("a", adds("a"))
        builder.add_node("b", lambda s: {"items": ns.Overwrite(["only this"])})
        return builder.add_edge(ns.START, "a").add_edge("a", "b")

    outcome = differ.stream(build, {"items": ["x"]}, stream_mode=MODES)
    assert outcome.chunks[-1] == ("values", {"items": ["only this"]})


def test_an_overwrite_among_siblings(differ):
    def build(ns):
        builder = ns.StateGraph(Items).add_node("b", adds("b")).add_node("c", adds("c"))
        builder.add_node("a", lambda s: {"items": ns.Overwrite(["a"])})
        for name in "abc":
            builder.add_edge(ns.START, name)
        return builder

    differ.stream(build, {"items": ["x"]}, stream_mode="values")


def test_two_overwrites_in_one_step_are_an_error(engine):
    builder = engine.StateGraph(Items)
    for name in "ab":
        builder.add_node(name, lambda s: {"items": engine.Overwrite([])}).add_edge(
            engine.START, name
        )
    try:
        engine.compile(builder).invoke({"items": []})
    except engine.InvalidUpdateError:
        return
    raise AssertionError("two overwrites went through")


def test_an_overwrite_in_the_input(differ):
    def build(ns):
        return ns.StateGraph(Items).add_node("a", adds("a")).add_edge(ns.START, "a")

    differ.stream(build, lambda ns: {"items": ns.Overwrite(["x"])}, stream_mode=MODES)
