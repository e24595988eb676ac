"""What nodes see of the caller's context: variables, decimals, LangChain's globals, the span."""

import asyncio
import decimal
import sys
import warnings
from contextvars import ContextVar
from typing import Annotated

import pytest
from langchain_core.caches import InMemoryCache
from langchain_core.globals import get_debug, set_debug, set_llm_cache
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from typing_extensions import TypedDict

from tests.support import request_context


def joined(left, right):
    return left + right


class State(TypedDict, total=False):
    seen: Annotated[list[str], joined]


def two_nodes(ns, plain, waiting):
    async def awaits(state):
        return waiting(state)

    builder = ns.StateGraph(State).add_sequence([("plain", plain), ("waiting", awaits)])
    return ns.compile(builder.add_edge(ns.START, "plain"))


def seen(graph):
    return asyncio.run(graph.ainvoke({"seen": []}))["seen"]


def reads(state):
    bound = request_context.bound.get("user")
    return {
        "seen": [
            request_context.request_id.get(),
            request_context.Tenant.current.get(),
            "unbound" if bound is None else bound.get(),
        ]
    }


def test_variables_of_importable_modules_reach_sync_and_async_nodes(engine):
    graph = two_nodes(engine, reads, reads)
    user = request_context.bound.setdefault("user", ContextVar("user", default="?"))

    async def request(name):
        request_context.request_id.set(f"r-{name}")
        request_context.Tenant.current.set(f"t-{name}")
        user.set(f"u-{name}")
        return (await graph.ainvoke({"seen": []}))["seen"]

    async def requests():
        return await asyncio.gather(request("a"), request("b"))

    assert asyncio.run(requests()) == [
        ["r-a", "t-a", "u-a", "r-a", "t-a", "u-a"],
        ["r-b", "t-b", "u-b", "r-b", "t-b", "u-b"],
    ]


def test_what_a_node_sets_reaches_neither_the_next_node_nor_the_caller(engine):
    def sets(state):
        request_context.request_id.set("changed")
        return reads(state)

    graph = two_nodes(engine, sets, reads)
    token = request_context.request_id.set("mine")
    try:
        assert seen(graph)[::3] == ["changed", "mine"]
        assert request_context.request_id.get() == "mine"
    finally:
        request_context.request_id.reset(token)


def test_variables_that_no_module_has_reach_the_nodes_that_use_them(engine):
    tenant = ContextVar("tenant", default="nobody")

    def tells(state):
        return {"seen": [tenant.get()]}

    graph = two_nodes(engine, tells, tells)
    assert seen(graph) == ["nobody", "nobody"]

    async def request(name):
        tenant.set(name)
        return (await graph.ainvoke({"seen": []}))["seen"]

    async def requests():
        return await asyncio.gather(request("a"), request("b"))

    assert asyncio.run(requests()) == [["a", "a"], ["b", "b"]]


@pytest.mark.ray
def test_a_value_that_cannot_travel_is_named_once_and_the_run_goes_on(ray_session, monkeypatch):
    from distgraph.graph import START, StateGraph

    monkeypatch.setenv("DISTGRAPH_BACKEND", "ray")
    graph = StateGraph(State).add_node("reads", reads).add_edge(START, "reads").compile()
    token = request_context.request_id.set(n for n in "abc")
    try:
        with pytest.warns(UserWarning, match=r"request_context\.request_id holds a generator"):
            assert graph.invoke({"seen": []})["seen"][0] == "none"
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            graph.invoke({"seen": []})
    finally:
        request_context.request_id.reset(token)


def test_the_decimal_context_is_the_callers(engine):
    def third(state):
        return {"seen": [str(decimal.Decimal(1) / 3)]}

    graph = two_nodes(engine, third, third)
    with decimal.localcontext(prec=5):
        assert seen(graph) == ["0.33333", "0.33333"]
    assert seen(graph) == ["0." + "3" * 28] * 2


def test_errors_of_floats_and_the_recursion_limit_are_the_callers(engine):
    numpy = pytest.importorskip("numpy")

    def deep(left):
        return 0 if left == 0 else 1 + deep(left - 1)

    def computes(state):
        try:
            numpy.float64(1) / numpy.float64(0)
        except FloatingPointError as error:
            return {"seen": [str(error), str(deep(1200))]}

    graph = two_nodes(engine, computes, computes)
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(2000)
    try:
        with numpy.errstate(divide="raise"):
            assert seen(graph) == ["divide by zero encountered in scalar divide", "1200"] * 2
    finally:
        sys.setrecursionlimit(limit)


class Counting(BaseChatModel):
    path: str

    @property
    def _llm_type(self):
        return "counting"

    def _generate(self, messages, stop=None, run_manager=None, **kwargs):
        with open(self.path, "a") as file:
            file.write("x")
        return ChatResult(generations=[ChatGeneration(message=AIMessage("ok"))])


def test_the_global_cache_for_models_is_one_for_all_nodes_and_the_caller(engine, tmp_path):
    path = tmp_path / "calls"
    model = Counting(path=str(path))

    def ask(state):
        return {"seen": [model.invoke("same").content]}

    graph = two_nodes(engine, ask, ask)
    set_llm_cache(InMemoryCache())
    try:
        assert seen(graph) == ["ok", "ok"]
        assert model.invoke("same").content == "ok"
        assert path.read_text() == "x"
    finally:
        set_llm_cache(None)
    seen(graph)
    assert path.read_text() == "xxx"


def test_langchains_debug_switch_is_the_callers(engine):
    def tells(state):
        return {"seen": [str(get_debug())]}

    graph = two_nodes(engine, tells, tells)
    set_debug(True)
    try:
        assert seen(graph) == ["True", "True"]
    finally:
        set_debug(False)
    assert seen(graph) == ["False", "False"]


def test_the_current_span_is_the_parent_of_spans_that_nodes_begin(engine):
    pytest.importorskip("opentelemetry.sdk", reason="OpenTelemetry is an extra of the tests")
    from opentelemetry import trace
    from opentelemetry.sdk.trace import TracerProvider

    def tells(state):
        return {"seen": [f"{trace.get_current_span().get_span_context().trace_id:032x}"]}

    graph = two_nodes(engine, tells, tells)
    with TracerProvider().get_tracer("test").start_as_current_span("request") as span:
        own = f"{span.get_span_context().trace_id:032x}"
        assert seen(graph) == [own, own]
