"""Cached results in the engine: which tasks have keys, and what is done with what is found."""

from __future__ import annotations

import operator
import sys
from pickle import PicklingError
from typing import Annotated, Any

import pytest
from typing_extensions import TypedDict

from distgraph._internal.policies import default_cache_key
from distgraph.contract.events import LookUp, Remember, StartTask
from distgraph.graph import START, StateGraph
from distgraph.types import CachePolicy, Send
from tests.engine.play import Play


class State(TypedDict, total=False):
    items: Annotated[list[Any], operator.add]


class Anything:
    """Stands for a cache: the engine asks for no more than whether there is one."""


def graph(*sent: int) -> Any:
    def fan(state: State) -> list[Send]:
        return [Send("cached", {"items": [n]}) for n in sent]

    builder = StateGraph(State)
    builder.add_node("cached", lambda state: state, cache_policy=CachePolicy(ttl=7))
    builder.add_node("plain", lambda state: {"items": ["plain"]})
    builder.add_conditional_edges(START, fan, ["cached"]).add_edge(START, "plain")
    made = builder.compile(backend="local")
    object.__setattr__(made.spec, "cached", True)
    return made


def asked(play: Play) -> LookUp:
    play.start({"items": []})
    play.end_node("__start__")
    (lookup,) = play.lookups
    return lookup


def test_nothing_of_a_step_starts_before_the_cache_has_answered() -> None:
    play = Play(graph(1, 2))
    lookup = asked(play)
    assert len(lookup.keys) == 2
    assert {ns[0] for ns, _ in lookup.keys} == {"__pregel_ns_writes"}
    assert play.names() == []
    play.found(lookup, {})
    assert play.names() == ["cached", "cached", "plain"]


def test_what_was_found_does_not_run_and_the_rest_does() -> None:
    play = Play(graph(1, 2))
    lookup = asked(play)
    play.found(lookup, {lookup.keys[0]: [("items", ["found"])]})
    assert play.names() == ["cached", "plain"]
    assert play.payloads("updates") == [
        {"cached": {"items": ["found"]}, "__metadata__": {"cached": True}}
    ]
    play.finish()
    assert play.result.value == {"items": ["plain", "found", 2]}
    (kept,) = [said for said in play.said if isinstance(said, Remember)]
    assert (kept.key, kept.writes, kept.ttl) == (lookup.keys[1], (("items", [2]),), 7)


def test_all_tasks_with_a_key_are_found() -> None:
    play = Play(graph(1, 1, 1))
    lookup = asked(play)
    assert len(lookup.keys) == 1
    play.found(lookup, {lookup.keys[0]: [("items", ["found"])]})
    assert play.names() == ["plain"]
    assert play.finish().value == {"items": ["plain", "found", "found", "found"]}


def test_a_step_of_which_all_is_found_ends_at_once() -> None:
    builder = StateGraph(State)
    builder.add_node("cached", lambda state: state, cache_policy=CachePolicy())
    builder.add_node("next", lambda state: {"items": ["next"]})
    made = builder.add_edge(START, "cached").add_edge("cached", "next").compile(backend="local")
    object.__setattr__(made.spec, "cached", True)
    play = Play(made)
    play.start({"items": []})
    (lookup,) = play.lookups
    out = play.found(lookup, {lookup.keys[0]: [("items", ["found"]), ("branch:to:next", None)]})
    assert [said.request.node for said in out if isinstance(said, StartTask)] == ["next"]


def test_the_key_of_a_class_of_the_script_is_the_same_in_a_process_of_another_script(monkeypatch):
    script = sys.modules["__main__"]
    made = type("Question", (), {"__module__": "__main__", "text": "why"})
    monkeypatch.setattr(script, "Question", made, raising=False)
    state = {"question": made, "more": [made()], "n": 1}
    here = default_cache_key(state)
    monkeypatch.delattr(script, "Question")
    assert default_cache_key(state) == here
    local = type("Local", (), {"__module__": "__main__", "__qualname__": "f.<locals>.Local"})
    with pytest.raises((PicklingError, AttributeError)):  # as LangGraph
        default_cache_key({"question": local})
