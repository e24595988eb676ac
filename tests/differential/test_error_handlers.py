"""Error handlers: a node that takes a failed one's place, in the same superstep."""

import pytest

from tests.support.graphs import Items, adds

MODES = ["values", "updates", "custom", "tasks"]

RACELESS = "async"
"""The face of LangGraph to compare with. In its sync face, a handler runs in a thread beside the
one that shows the handler's task: what the handler writes may come before."""


def failing(state, writer):
    writer({"node": "boom"})
    raise ValueError("boom")


def handling(ns):
    def handler(state, error: ns.NodeError, writer):
        writer({"node": f"__error_handler__{error.node}"})
        return {"items": [f"{error.node}: {error.error!r} behind {len(state['items'])}"]}

    return handler


def graph(ns, boom=failing, **options):
    builder = ns.StateGraph(Items).add_node("a", adds("a")).add_node("boom", boom, **options)
    builder.add_node("next", adds("n"))
    return builder.add_edge(ns.START, "a").add_edge("a", "boom").add_edge("boom", "next")


def test_the_handlers_update_takes_the_place_of_the_nodes(differ):
    differ.stream(
        lambda ns: graph(ns, error_handler=handling(ns)),
        {"items": []},
        stream_mode=MODES,
        reference_face=RACELESS,
    )


def test_an_async_handler(differ):
    def build(ns):
        async def handler(state, error: ns.NodeError):
            return {"items": [str(error.error)]}

        return graph(ns, error_handler=handler)

    differ.stream(build, {"items": []}, stream_mode=MODES, reference_face=RACELESS)


def test_it_runs_when_the_attempts_are_used_up(differ):
    def build(ns):
        retries = ns.RetryPolicy(
            initial_interval=0.01, jitter=False, max_attempts=2, retry_on=ValueError
        )
        return graph(ns, error_handler=handling(ns), retry_policy=retries)

    differ.stream(build, {"items": []}, stream_mode=MODES, reference_face=RACELESS)


def test_it_can_lead_on_by_a_command(differ):
    def build(ns):
        def handler(state, error: ns.NodeError):
            return ns.Command(update={"items": ["handled"]}, goto="next")

        return graph(ns, error_handler=handler)

    differ.stream(build, {"items": []}, stream_mode=MODES, reference_face=RACELESS)


def test_its_own_failure_ends_the_run(differ):
    def build(ns):
        def handler(state, error: ns.NodeError):
            raise KeyError("handler") from error.error

        return graph(ns, error_handler=handler)

    outcome = differ.stream(build, {"items": []}, stream_mode=MODES, reference_face=RACELESS)
    assert type(outcome.error) is KeyError


def test_a_handler_that_asks_for_nothing_but_the_state(differ):
    differ.stream(
        lambda ns: graph(ns, error_handler=adds("handled")),
        {"items": []},
        stream_mode=MODES,
        reference_face=RACELESS,
    )


def test_siblings_run_on(differ):
    def build(ns):
        builder = ns.StateGraph(Items)
        builder.add_node("boom", failing, error_handler=handling(ns))
        builder.add_node("zlast", adds("z")).add_node("afirst", adds("a"))
        for name in ("boom", "zlast", "afirst"):
            builder.add_edge(ns.START, name)
        return builder

    outcome = differ.stream(build, {"items": []}, stream_mode=MODES, parallel=True)
    assert outcome.chunks[-1][1]["items"] == ["a", "boom: ValueError('boom') behind 0", "z"]


def test_a_failing_send_is_handled_with_its_own_input(differ):
    def build(ns):
        def handler(state, error: ns.NodeError):
            return {"items": [("handled", state["items"])]}

        def fan(state):
            return [ns.Send("boom", {"items": [n]}) for n in (1, 2)]

        builder = ns.StateGraph(Items).add_node("boom", failing, error_handler=handler)
        return builder.add_conditional_edges(ns.START, fan, ["boom"])

    outcome = differ.stream(build, {"items": []}, stream_mode="values")
    assert outcome.chunks[-1] == {"items": [("handled", [1]), ("handled", [2])]}


def test_a_failure_inside_a_subgraph_is_handled_outside(differ):
    def build(ns):
        inner = ns.StateGraph(Items).add_node("first", adds("f")).add_node("boom", failing)
        inner.add_edge(ns.START, "first").add_edge("first", "boom")
        return graph(ns, inner.compile(), error_handler=handling(ns))

    differ.stream(build, {"items": []}, stream_mode=MODES, subgraphs=True, faces=("sync",))


def test_a_failing_conditional_edge_keeps_what_its_node_wrote(differ):
    def build(ns):
        def path(state):
            raise ValueError("edge")

        builder = ns.StateGraph(Items)
        builder.add_node("boom", adds("b"), error_handler=handling(ns)).add_node("n", adds("n"))
        builder.add_edge(ns.START, "boom")
        return builder.add_conditional_edges("boom", path, ["n"])

    differ.stream(build, {"items": []}, stream_mode=MODES, reference_face=RACELESS)


@pytest.mark.parametrize("own", [True, False])
def test_the_default_of_a_graph_and_a_nodes_own(differ, own):
    def build(ns):
        def default(state, error: ns.NodeError):
            return {"items": [f"default for {error.node}"]}

        builder = graph(ns, **({"error_handler": handling(ns)} if own else {}))
        return builder.set_node_defaults(error_handler=default)

    differ.stream(build, {"items": []}, stream_mode=MODES, reference_face=RACELESS)


def test_handlers_have_the_retries_of_the_graph(differ):
    def build(ns):
        def handler(state, error: ns.NodeError, runtime):
            if runtime.execution_info.node_attempt == 1:
                raise ConnectionError("handler")
            return {"items": [runtime.execution_info.node_attempt]}

        retries = ns.RetryPolicy(initial_interval=0.01, jitter=False)
        return graph(ns, error_handler=handler).set_node_defaults(retry_policy=retries)

    differ.stream(build, {"items": []}, stream_mode=MODES, reference_face=RACELESS)


def test_metadata_of_a_handlers_task(differ):
    def build(ns):
        def handler(state, error: ns.NodeError, config):
            return {"items": [sorted(config["metadata"].items())]}

        builder = ns.StateGraph(Items).add_node("boom", failing, error_handler=handler)
        return builder.add_edge(ns.START, "boom")

    differ.stream(build, {"items": []}, stream_mode="updates")


@pytest.mark.parametrize("name", ["__error_handler__boom", "__default_error_handler__"])
def test_the_name_of_a_handler_is_taken(engine, name):
    builder = engine.StateGraph(Items).add_node(name, adds("mine"))
    with pytest.raises(ValueError, match="already exists"):
        if name.startswith("__error"):
            builder.add_node("boom", failing, error_handler=adds("h"))
        else:
            builder.set_node_defaults(error_handler=adds("h"))
            engine.compile(builder.add_edge(engine.START, name))
