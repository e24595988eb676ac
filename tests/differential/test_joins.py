"""Joins by a list of edges, joins by single edges, and deferred nodes."""

from tests.support.graphs import Items, adds

MODES = ["values", "updates", "tasks"]


def branches(ns, join, **options):
    """START → a → join and START → b → c → join: branches of unequal length."""
    builder = ns.StateGraph(Items)
    for name in "abc":
        builder.add_node(name, adds(name))
    builder.add_node("join", adds("join"), **options)
    builder.add_edge(ns.START, "a").add_edge(ns.START, "b").add_edge("b", "c")
    for source in join:
        builder.add_edge(source, "join")
    return builder


def barrier(ns):
    return branches(ns, [["c", "a"]])


def single_edges(ns):
    return branches(ns, ["a", "c"])


def deferred(ns):
    return branches(ns, ["a", "c"], defer=True)


def deferred_barrier(ns):
    return branches(ns, [["a", "c"]], defer=True)


def test_a_list_of_edges_waits_for_all(differ):
    differ.stream(barrier, {"items": []}, stream_mode=MODES, parallel=True)


def test_single_edges_run_the_node_once_a_branch(differ):
    differ.stream(single_edges, {"items": []}, stream_mode=MODES, parallel=True)


def test_a_deferred_node_runs_once_at_the_end(differ):
    differ.stream(deferred, {"items": []}, stream_mode=MODES, parallel=True)


def test_a_deferred_join(differ):
    differ.stream(deferred_barrier, {"items": []}, stream_mode=MODES, parallel=True)


def test_final_states(engine):
    for build, expected in [
        (barrier, ["a", "b", "c", "join"]),
        (single_edges, ["a", "b", "c", "join", "join"]),
        (deferred, ["a", "b", "c", "join"]),
    ]:
        assert engine.compile(build(engine)).invoke({"items": []}) == {"items": expected}


def barrier_twice(ns):
    """The join fires again when all of its sources have run again."""

    def join(state):
        return {"items": ["join"]}

    def again(state):
        return "start" if state["items"].count("join") < 2 else ns.END

    builder = ns.StateGraph(Items).add_node("start", adds("start")).add_node("join", join)
    builder.add_node("a", adds("a")).add_node("b", adds("b"))
    builder.add_edge(ns.START, "start").add_edge("start", "a").add_edge("start", "b")
    return builder.add_edge(["a", "b"], "join").add_conditional_edges("join", again)


def test_a_barrier_resets_after_it_fired(differ):
    outcome = differ.stream(barrier_twice, {"items": []}, stream_mode=MODES, parallel=True)
    assert outcome.chunks[-1] == ("values", {"items": ["start", "a", "b", "join"] * 2})
