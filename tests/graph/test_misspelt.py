"""A misspelt node, mode, option or key is named with the one that was probably meant."""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Callable
from typing import Any

import pytest

from distgraph import Command, StateGraph
from distgraph._internal import mistakes
from distgraph.constants import START
from tests.support.graphs import Items


def graph(**options: Any) -> Any:
    builder = StateGraph(Items).add_node("search", lambda state: {"items": ["x"]})
    return builder.add_edge(START, "search").compile(backend="local", **options)


def saved() -> Any:
    from langgraph.checkpoint.memory import InMemorySaver

    return graph(checkpointer=InMemorySaver())


THREAD = {"configurable": {"thread_id": "1"}}

CALLS: dict[str, tuple[Callable[[], object], str]] = {
    "stream_mode": (lambda: graph().stream({}, stream_mode="update"), "updates"),
    "several modes": (lambda: graph().stream({}, stream_mode=["values", "message"]), "messages"),
    "print_mode": (lambda: graph().invoke({}, print_mode="task"), "tasks"),
    "durability": (lambda: saved().invoke({}, THREAD, durability="synch"), "sync"),
    "output_keys": (lambda: graph().invoke({}, output_keys="item"), "items"),
    "interrupt_before": (lambda: saved().invoke({}, THREAD, interrupt_before=["serch"]), "search"),
    "interrupt_after": (lambda: saved().invoke({}, THREAD, interrupt_after=["searc"]), "search"),
    "compile(interrupt_before)": (lambda: graph(interrupt_before=["serch"]), "search"),
    "compile(backend)": (lambda: graph().copy({"backend": "locale"}).invoke({}), "local"),
    "copy": (lambda: graph().copy({"stream_modes": "values"}), "stream_mode"),
    "thread_id": (lambda: saved().invoke({}, {"configurable": {"threadid": "1"}}), "thread_id"),
    "get_state": (lambda: saved().get_state({"configurable": {"tread_id": "1"}}), "thread_id"),
    "as_node": (lambda: saved().update_state(THREAD, {"items": []}, as_node="serch"), "search"),
    "edge": (
        lambda: StateGraph(Items).add_node("search", len).add_edge(START, "serch").compile(),
        "search",
    ),
    "waiting edge": (
        lambda: StateGraph(Items).add_node("search", len).add_edge(["serch"], "search"),
        "search",
    ),
    "ray_options": (
        lambda: StateGraph(Items).add_node("n", len, ray_options={"num_cpu": 1}),  # type: ignore[typeddict-unknown-key]
        "num_cpus",
    ),
    "runtime_env": (
        lambda: StateGraph(Items).add_node("n", len, ray_options={"runtime_env": {"pipp": ["x"]}}),
        "pip",
    ),
    "placement": (
        lambda: StateGraph(Items).add_node("n", len, ray_options={"placement": "threads"}),  # type: ignore[typeddict-item]
        "thread",
    ),
}


@pytest.mark.parametrize("call", CALLS)
def test_an_error_names_what_was_probably_meant(call: str) -> None:
    misspell, meant = CALLS[call]
    with pytest.raises(Exception, match=rf"Did you mean '{meant}'\?"):
        misspell()


METHODS = ["invoke", "ainvoke", "stream", "astream", "batch", "abatch", "start", "astart"]


@pytest.mark.parametrize("method", METHODS)
def test_a_misspelt_option_of_a_run_is_an_error_of_the_call(method: str) -> None:
    call = getattr(graph(), method)
    told = rf"^{method}\(\) got an unexpected .* 'stream_mod'\. Did you mean 'stream_mode'\?"
    with pytest.raises(TypeError, match=told):
        made = call([{}] if "batch" in method else {}, stream_mod="values")
        if inspect.iscoroutine(made):
            asyncio.run(made)


@pytest.mark.parametrize("method", METHODS)
def test_the_signature_of_a_run_method_names_every_option_for_completion(method: str) -> None:
    names = set(inspect.signature(getattr(graph(), method)).parameters)
    assert {"config", "context", "stream_mode", "durability", "subgraphs", "version"} <= names


def test_a_misspelt_namespace_of_a_subgraph_is_an_error_that_names_the_subgraph() -> None:
    from langgraph.checkpoint.memory import InMemorySaver

    outer = StateGraph(Items).add_node("child", graph()).add_edge(START, "child")
    compiled = outer.compile(checkpointer=InMemorySaver(), backend="local")
    place = {"configurable": {"thread_id": "1", "checkpoint_ns": "chld"}}
    with pytest.raises(ValueError, match=r"Subgraph chld not found\. Did you mean 'child'\?"):
        compiled.update_state(place, {"items": []}, as_node="search")


@pytest.mark.parametrize(
    ("call", "told"),
    [
        (
            lambda: graph().invoke({}, {"recursion_limits": 5}),
            "config['recursion_limits'] is no key of a run's config. Did you mean "
            "'recursion_limit'?",
        ),
        (
            lambda: (
                StateGraph(Items)
                .add_node("go", lambda state: Command(goto="ennd"))
                .add_node("end", lambda state: None)
                .add_edge(START, "go")
                .compile(name="g", backend="local")
                .invoke({})
            ),
            "graph 'g': node 'go' goes to the unknown node 'ennd', which is ignored. Did you mean "
            "'end'?",
        ),
    ],
    ids=["config", "goto"],
)
def test_what_langgraph_ignores_is_a_warning_that_names_what_was_meant(
    call: Callable[[], object],
    told: str,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(mistakes, "_logged", {})
    with caplog.at_level(logging.WARNING, logger="distgraph"):
        call()
    assert caplog.messages == [told]


def test_a_misspelt_setting_is_warned_of_once(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mistakes, "_logged", {})
    monkeypatch.setenv("DISTGRAPH_DRIVER", "2")
    monkeypatch.setenv("DISTGRAPH_OF_MY_OWN", "x")
    with caplog.at_level(logging.WARNING, logger="distgraph"):
        for _ in range(2):
            graph().invoke({})
    assert caplog.messages == [
        "the environment variable DISTGRAPH_DRIVER has no effect. Did you mean 'DISTGRAPH_DRIVERS'?"
    ]


def test_a_key_of_the_user_s_own_is_no_misspelling(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mistakes, "_logged", {})
    with caplog.at_level(logging.WARNING, logger="distgraph"):
        graph().invoke({}, {"user_id": "7", "thread_id": "1", "model": "small"})
    assert caplog.messages == []
