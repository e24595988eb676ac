from __future__ import annotations

import asyncio
import functools
import pickle
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import cloudpickle
import pytest
from langchain_core.runnables import RunnableConfig, RunnableLambda

from distgraph.errors import InvalidUpdateError
from distgraph.worker.user_functions import FunctionNode, RunnableNode, bind

CONTEXT = SimpleNamespace(
    config={"tags": ["t"], "configurable": {}},
    writer="WRITER",
    store="STORE",
    runtime="RUNTIME",
    previous="PREVIOUS",
)


def call(action: Any, state: Any = "S") -> Any:
    node = bind(action, "Node `n`")
    value = node(state, CONTEXT)
    return asyncio.run(value) if node.is_async else value


def plain(state: Any) -> Any:
    return state


def everything(
    state: Any,
    config: RunnableConfig,
    writer: Any,
    *,
    store: Any = None,
    runtime: Any = None,
    previous: Any = None,
) -> Any:
    return (state, config["tags"], writer, store, runtime, previous)


async def everything_async(state: Any, config: dict | None, *, runtime: Any) -> Any:
    return (state, config["tags"], runtime)


class Callable_:
    def __call__(self, state: Any, writer: Any) -> Any:
        return (state, writer)

    def method(self, state: Any, config: Any) -> Any:
        return (state, config["tags"])

    async def async_method(self, state: Any) -> Any:
        return state


class AsyncCallable:
    async def __call__(self, state: Any, store: Any) -> Any:
        return (state, store)


def test_parameters_are_injected_by_name() -> None:
    assert call(plain) == "S"
    assert call(everything) == ("S", ["t"], "WRITER", "STORE", "RUNTIME", "PREVIOUS")
    assert call(everything_async) == ("S", ["t"], "RUNTIME")
    assert call(Callable_()) == ("S", "WRITER")
    assert call(Callable_().method) == ("S", ["t"])
    assert call(lambda state, runtime: (state, runtime)) == ("S", "RUNTIME")


def test_what_a_partial_has_bound_is_left_alone() -> None:
    def node(state: Any, extra: int, store: Any, writer: Any) -> Any:
        return (state, extra, store, writer)

    assert call(functools.partial(node, extra=1, store="mine")) == ("S", 1, "mine", "WRITER")


def test_the_first_parameter_is_the_state_whatever_it_is_called() -> None:
    def node(config: Any) -> Any:
        return config

    assert call(node) == "S"


def test_a_parameter_with_a_default_and_another_type_is_not_taken_for_ours() -> None:
    def node(state: Any, store: int = 7, writer: Callable[[Any], None] = print) -> Any:
        return (store, writer)

    assert call(node) == (7, "WRITER")


def test_a_function_that_needs_more_than_the_state_is_refused_naming_the_parameter() -> None:
    def node(state: Any, temperature: float) -> Any: ...
    def nothing() -> Any: ...

    with pytest.raises(ValueError, match="Node `n` cannot be called with the state.*temperature"):
        bind(node, "Node `n`")
    with pytest.raises(ValueError, match="Node `n` cannot be called with the state"):
        bind(nothing, "Node `n`")


def supplying(*supplied: Any) -> Any:
    """A decorator whose function has the arguments that the decorated one lacks."""

    def decorate(function: Any) -> Any:
        @functools.wraps(function)
        def call(state: Any, **more: Any) -> Any:
            return function(state, *supplied, **more)

        return call

    return decorate


class Dispatching:
    @functools.singledispatchmethod
    def node(self, state: Any) -> Any:
        return ("plain", state)


def test_a_decorator_may_supply_arguments() -> None:
    @supplying("database", 3)
    def node(state: Any, database: str, limit: int, *, store: Any) -> Any:
        return (state, database, limit, store)

    assert call(node) == ("S", "database", 3, "STORE")
    assert call(Dispatching().node) == ("plain", "S")


def test_something_that_cannot_be_called_is_refused() -> None:
    with pytest.raises(TypeError, match="Node `n` must be a function.*got int"):
        bind(5, "Node `n`")


@pytest.mark.parametrize(
    ("action", "is_async"),
    [
        (plain, False),
        (everything_async, True),
        (functools.partial(functools.partial(everything_async), runtime=1), True),
        (Callable_(), False),
        (Callable_().method, False),
        (Callable_().async_method, True),
        (AsyncCallable(), True),
        (functools.partial(AsyncCallable()), True),
        (RunnableLambda(plain), False),
        (RunnableLambda(everything_async), True),
        (RunnableLambda(plain, afunc=everything_async), False),
        (RunnableLambda(plain) | RunnableLambda(everything_async), True),
        (RunnableLambda(everything_async).with_config(tags=["x"]), True),
    ],
)
def test_async_is_seen_through_partials_objects_methods_and_runnables(
    action: Any, is_async: bool
) -> None:
    assert bind(action, "n").is_async is is_async


def test_of_a_generator_the_last_item_counts() -> None:
    def node(state: Any) -> Any:
        yield {"a": 1}
        yield {"a": 2}

    async def anode(state: Any) -> Any:
        yield {"a": 1}
        yield {"a": 3}

    assert call(node) == {"a": 2}
    assert call(anode) == {"a": 3}


def test_a_plain_function_that_returns_a_coroutine_is_an_error_with_the_remedy() -> None:
    async def later() -> None: ...

    with pytest.raises(InvalidUpdateError, match="Declare it `async def`"):
        call(lambda state: later())


def test_a_runnable_is_invoked_with_the_config() -> None:
    def inner(state: Any, config: RunnableConfig) -> Any:
        return (state, config["tags"])

    async def ainner(state: Any, config: RunnableConfig) -> Any:
        return (state, config["tags"])

    assert isinstance(bind(RunnableLambda(inner), "n"), RunnableNode)
    assert call(RunnableLambda(inner)) == ("S", ["t"])
    assert call(RunnableLambda(ainner)) == ("S", ["t"])


def test_a_function_that_returns_a_runnable_has_it_invoked_on_its_input() -> None:
    async def anode(state: Any) -> Any:
        return RunnableLambda(lambda s: s + "!!")

    assert call(lambda state: RunnableLambda(lambda s: s + "!")) == "S!"
    assert call(anode) == "S!!"


def test_a_node_survives_pickling_with_its_injection() -> None:
    restored = pickle.loads(pickle.dumps(bind(everything, "n")))
    assert restored("S", CONTEXT) == call(everything)
    local = cloudpickle.loads(cloudpickle.dumps(bind(lambda s, store: (s, store), "n")))
    assert isinstance(local, FunctionNode)
    assert local("S", CONTEXT) == ("S", "STORE")


def test_a_mock_is_a_node() -> None:
    from unittest.mock import Mock

    from distgraph.graph import START, StateGraph

    node = Mock(side_effect=lambda state: state + 1)
    graph = StateGraph(int).add_node("n", node).add_edge(START, "n").compile(backend="local")
    assert graph.invoke(1) == 2
    node.assert_called_once_with(1)
