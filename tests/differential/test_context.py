"""``context=`` and the injected ``runtime``."""

import dataclasses

import pytest
from typing_extensions import TypedDict

from tests.support.graphs import Items, joke

MODES = ["values", "updates", "custom"]


@dataclasses.dataclass
class Ctx:
    user: str
    level: int = 1


class DictCtx(TypedDict, total=False):
    user: str


def with_runtime(ns, schema):
    def node(state, runtime):
        runtime.stream_writer({"node": "runtime"})
        return {"items": [repr(runtime.context), runtime.store is None]}

    def helper(state):
        return {"items": [repr(ns.get_runtime().context)]}

    builder = ns.StateGraph(Items, context_schema=schema).add_node("node", node)
    return builder.add_node("helper", helper).add_edge(ns.START, "node").add_edge("node", "helper")


@pytest.mark.parametrize("context", [{"user": "ada"}, Ctx("ada", 2)], ids=["dict", "object"])
def test_a_context_of_a_dataclass(differ, context):
    differ.stream(
        lambda ns: with_runtime(ns, Ctx), {"items": []}, stream_mode=MODES, context=context
    )


def test_a_context_of_a_typed_dict(differ):
    differ.stream(
        lambda ns: with_runtime(ns, DictCtx),
        {"items": []},
        stream_mode=MODES,
        context={"user": "ada"},
    )


def test_no_context(differ):
    differ.stream(lambda ns: with_runtime(ns, None), {"items": []}, stream_mode=MODES)


def test_a_context_that_does_not_fit_is_an_error(differ):
    outcome = differ.stream(lambda ns: with_runtime(ns, Ctx), {"items": []}, context={"nope": 1})
    assert type(outcome.error) is TypeError


def test_the_context_reaches_a_subgraph(differ):
    def build(ns):
        child = with_runtime(ns, Ctx).compile()
        builder = ns.StateGraph(Items, context_schema=Ctx).add_node("child", child)
        return builder.add_edge(ns.START, "child")

    differ.stream(build, {"items": []}, stream_mode=MODES, context={"user": "ada"}, subgraphs=True)


def test_a_context_for_a_graph_that_has_no_schema(differ):
    differ.stream(joke, {"topic": "ice"}, stream_mode="values", context={"user": "ada"})
