"""``step_timeout`` of a compiled graph: what a superstep that takes too long leads to."""

import asyncio

from langgraph.checkpoint.memory import InMemorySaver

from tests.support.differential import Differ, run
from tests.support.engines import REFERENCE, Engine
from tests.support.graphs import Items, adds


async def forever(state):
    await asyncio.sleep(60)


def beside(ns, node):
    """A node that never ends, and another one in the same superstep."""
    builder = ns.StateGraph(Items).add_node("first", adds("first"))
    builder.add_node("slow", forever).add_node("quick", node)
    builder.add_edge(ns.START, "first").add_edge("first", "slow")
    return builder.add_edge("first", "quick")


def limit(engine):
    """Seconds: on Ray the time counts in which the first node waits for a worker process."""
    return 8.0 if engine.name == "ray" else 1.0


def limited(engine, builder, seconds=None, **options):
    graph = engine.compile(builder, **options)
    graph.step_timeout = seconds or limit(engine)
    return graph


def test_a_superstep_that_takes_too_long_fails_the_run(differ):
    shown = []
    for engine in (differ.reference, differ.contender):
        graph = limited(engine, beside(engine, adds("quick")))
        outcome = run(graph, {"items": []}, "async", stream_mode=["values", "updates"])
        # LangGraph's error says "Timed out" by its sync methods, and nothing by its async ones
        assert type(outcome.error) is TimeoutError
        shown.append(outcome.chunks)
    assert shown[0] == shown[1]
    assert shown[0][-1] == ("updates", {"quick": {"items": ["quick"]}})


def test_a_limit_that_is_not_reached_changes_nothing(differ):
    def build(ns):
        builder = ns.StateGraph(Items).add_node("a", adds("a")).add_node("b", adds("b"))
        return builder.add_edge(ns.START, "a").add_edge("a", "b")

    results = [
        limited(engine, build(engine), 60).invoke({"items": []})
        for engine in (differ.reference, differ.contender)
    ]
    assert results == [{"items": ["a", "b"]}] * 2


def test_a_node_that_finished_in_time_does_not_run_again():
    differ = Differ(Engine(REFERENCE), Engine("local"))

    def results(ns):
        graph = limited(ns, beside(ns, adds("quick")), checkpointer=InMemorySaver())
        config = {"configurable": {"thread_id": "1"}}
        first = run(graph, {"items": []}, "async", config=config, stream_mode="updates")
        again = run(graph, None, "async", config=config, stream_mode="updates")
        state = graph.get_state(config)
        errors = type(first.error), type(again.error)
        return errors, again.chunks, sorted(state.next), state.values

    expected = results(differ.reference)
    assert expected[1] == [{"quick": {"items": ["quick"]}, "__metadata__": {"cached": True}}]
    assert results(differ.contender) == expected


def test_an_interrupt_of_a_superstep_that_takes_too_long_is_kept():
    differ = Differ(Engine(REFERENCE), Engine("local"))

    def results(ns):
        def asks(state):
            return {"items": [ns.interrupt("why?")]}

        graph = limited(ns, beside(ns, asks), checkpointer=InMemorySaver())
        config = {"configurable": {"thread_id": "1"}}
        outcome = run(graph, {"items": []}, "async", config=config, stream_mode="updates")
        asked = [i.value for i in outcome.chunks[-1]["__interrupt__"]]
        state = graph.get_state(config)
        kept = [i.value for i in state.interrupts]
        return asked, type(outcome.error), kept, sorted(state.next), state.values

    expected = results(differ.reference)
    assert expected[:3] == (["why?"], TimeoutError, ["why?"])
    assert results(differ.contender) == expected


def test_a_subgraph_that_takes_too_long_fails_the_node_around_it(differ):
    def results(ns):
        child = ns.StateGraph(Items).add_node("slow", forever).add_edge(ns.START, "slow").compile()
        child.step_timeout = limit(ns)

        def handle(state, error: ns.NodeError):
            return {"items": [type(error.error).__name__, error.node]}

        builder = ns.StateGraph(Items).add_node("child", child, error_handler=handle)
        graph = ns.compile(builder.add_edge(ns.START, "child"))
        return run(graph, {"items": []}, "async", stream_mode="updates", subgraphs=True)

    expected = results(differ.reference)
    got = results(differ.contender)
    assert (got.chunks, got.error) == (expected.chunks, expected.error)
    handled = {"items": ["TimeoutError", "child"]}
    assert expected.chunks[-1] == ((), {"__error_handler__child": handled})
