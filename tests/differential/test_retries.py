"""Failed attempts that are followed by others: what is streamed of each, and what ends them."""

import asyncio

import pytest

from tests.support.graphs import Items, adds

MODES = ["values", "updates", "custom", "tasks"]


class OutOfPaper(Exception):
    """A class of the user's own."""


class Jammed(Exception):
    """Another one."""


def quick(ns, **policy):
    return ns.RetryPolicy(**{"initial_interval": 0.01, "jitter": False, **policy})


def shaky(ns, *errors, is_async=False):
    """A node whose first attempts raise these errors, one after the other."""

    def attempt(writer, runtime):
        number = runtime.execution_info.node_attempt
        writer({"node": "shaky", "attempt": number})
        if number <= len(errors):
            raise errors[number - 1]
        return {"items": [f"after {number}"]}

    async def ashaky(state, writer, runtime):
        await asyncio.sleep(0)
        return attempt(writer, runtime)

    return ashaky if is_async else lambda state, writer, runtime: attempt(writer, runtime)


def one(ns, node, **options):
    builder = ns.StateGraph(Items).add_node("shaky", node, **options).add_node("next", adds("n"))
    return builder.add_edge(ns.START, "shaky").add_edge("shaky", "next")


def test_events_of_every_attempt_are_streamed_and_the_update_of_the_last(differ):
    differ.stream(
        lambda ns: one(ns, shaky(ns, OutOfPaper("1"), OutOfPaper("2")), retry_policy=quick(ns)),
        {"items": []},
        stream_mode=MODES,
    )


def test_an_async_node_is_tried_again(differ):
    differ.stream(
        lambda ns: one(ns, shaky(ns, OutOfPaper("1"), is_async=True), retry_policy=quick(ns)),
        {"items": []},
        stream_mode=MODES,
        reference_face="async",
    )


def test_the_last_error_is_raised_when_the_attempts_are_used_up(differ):
    outcome = differ.stream(
        lambda ns: one(
            ns,
            shaky(ns, OutOfPaper("1"), OutOfPaper("2"), OutOfPaper("3")),
            retry_policy=quick(ns, max_attempts=2),
        ),
        {"items": []},
        stream_mode=MODES,
    )
    assert str(outcome.error) == "2"


@pytest.mark.parametrize(
    ("named", "tried"),
    [
        (OutOfPaper, True),
        (Jammed, False),
        ((Jammed, OutOfPaper), True),
        ([], False),
        (lambda error: str(error) == "1", True),
    ],
    ids=["its class", "another class", "several", "none", "a function"],
)
def test_what_retry_on_names(differ, named, tried):
    outcome = differ.stream(
        lambda ns: one(ns, shaky(ns, OutOfPaper("1")), retry_policy=quick(ns, retry_on=named)),
        {"items": []},
        stream_mode=MODES,
        faces=("sync",),
    )
    assert (outcome.error is None) is tried


@pytest.mark.parametrize(
    "error", [ValueError("v"), KeyError("k"), OSError("o"), ConnectionError("c"), Exception("e")]
)
def test_what_a_policy_tries_again_by_default(differ, error):
    outcome = differ.stream(
        lambda ns: one(ns, shaky(ns, error), retry_policy=quick(ns)),
        {"items": []},
        stream_mode=MODES,
        faces=("sync",),
    )
    assert (outcome.error is None) is (type(error) in (ConnectionError, Exception))


def test_of_several_policies_the_first_that_names_the_error_decides(differ):
    def build(ns):
        policies = [
            quick(ns, retry_on=Jammed, max_attempts=5),
            quick(ns, retry_on=OutOfPaper, max_attempts=2),
        ]
        return one(ns, shaky(ns, Jammed("1"), OutOfPaper("2")), retry_policy=policies)

    outcome = differ.stream(build, {"items": []}, stream_mode=MODES)
    assert str(outcome.error) == "2"


def test_an_error_of_retry_on_itself_is_raised(differ):
    def judge(error):
        raise Jammed("while judging")

    outcome = differ.stream(
        lambda ns: one(ns, shaky(ns, OutOfPaper("1")), retry_policy=quick(ns, retry_on=judge)),
        {"items": []},
        stream_mode="updates",
        faces=("sync",),
    )
    assert type(outcome.error) is Jammed


def test_the_default_of_a_graph_and_a_nodes_own(differ):
    def build(ns):
        builder = ns.StateGraph(Items).set_node_defaults(retry_policy=quick(ns))
        builder.add_node("a", shaky(ns, OutOfPaper("1")))
        builder.add_node("b", shaky(ns, OutOfPaper("1")), retry_policy=quick(ns, max_attempts=1))
        return builder.add_edge(ns.START, "a").add_edge("a", "b")

    outcome = differ.stream(build, {"items": []}, stream_mode=MODES)
    assert str(outcome.error) == "1"


def test_siblings_of_a_node_that_is_tried_again(differ):
    def build(ns):
        builder = ns.StateGraph(Items)
        builder.add_node("shaky", shaky(ns, OutOfPaper("1")), retry_policy=quick(ns))
        builder.add_node("other", adds("other"))
        return builder.add_edge(ns.START, "shaky").add_edge(ns.START, "other")

    differ.stream(build, {"items": []}, stream_mode=MODES, parallel=True)


def test_a_conditional_edge_that_fails_is_tried_again_with_its_node(differ):
    def build(ns):
        def path(state, runtime):
            if runtime.execution_info.node_attempt == 1:
                raise OutOfPaper("edge")
            return "next"

        builder = ns.StateGraph(Items)
        builder.add_node("shaky", shaky(ns), retry_policy=quick(ns)).add_node("next", adds("n"))
        return builder.add_edge(ns.START, "shaky").add_conditional_edges("shaky", path, ["next"])

    differ.stream(build, {"items": []}, stream_mode=MODES)


def test_a_subgraph_is_started_again_as_a_whole(differ):
    def build(ns):
        def flaky(state, writer, config):
            writer("in the subgraph")
            if "again" not in state["items"]:
                raise OutOfPaper("inside")

        inner = ns.StateGraph(Items).add_node("first", adds("f")).add_node("flaky", flaky)
        inner.add_edge(ns.START, "first").add_edge("first", "flaky")
        return one(ns, inner.compile(), retry_policy=quick(ns, max_attempts=3, retry_on=OutOfPaper))

    differ.stream(build, {"items": []}, stream_mode=MODES, subgraphs=True, faces=("sync",))


def test_a_node_inside_a_subgraph_is_tried_again_alone(differ):
    def build(ns):
        inner = ns.StateGraph(Items).add_node("first", adds("f"))
        inner.add_node("flaky", shaky(ns, OutOfPaper("1")), retry_policy=quick(ns))
        inner.add_edge(ns.START, "first").add_edge("first", "flaky")
        return one(ns, inner.compile())

    differ.stream(build, {"items": []}, stream_mode=MODES, subgraphs=True, faces=("sync",))


def test_the_parts_of_execution_info_that_tell_of_attempts(differ):
    def build(ns):
        def node(state, runtime):
            info = runtime.execution_info
            if info.node_attempt < 3:
                raise OutOfPaper(str(info.node_first_attempt_time))
            return {"items": [info.node_attempt, isinstance(info.node_first_attempt_time, float)]}

        return one(ns, node, retry_policy=quick(ns))

    differ.stream(build, {"items": []}, stream_mode="updates", faces=("sync",))


@pytest.mark.parametrize("number", [0, -1, 1.5])
def test_a_number_of_attempts_below_one_is_one_attempt_and_a_part_counts_as_one(differ, number):
    differ.stream(
        lambda ns: one(ns, shaky(ns, OutOfPaper("1")), retry_policy=quick(ns, max_attempts=number)),
        {"items": []},
        stream_mode=MODES,
    )
