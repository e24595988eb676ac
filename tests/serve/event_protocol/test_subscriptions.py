"""Which events a reader gets: channels, namespaces as prefixes, depth."""

from __future__ import annotations

from typing import Any

import pytest

from distgraph.serve.event_protocol.conversion import ProtocolEvent
from distgraph.serve.event_protocol.faults import Fault
from distgraph.serve.event_protocol.subscriptions import CHANNELS, Subscription


def event(method: str, *namespace: str, data: Any = None) -> ProtocolEvent:
    return ProtocolEvent(1, "e", method, namespace, {} if data is None else data)


def wants(event: ProtocolEvent, **params: Any) -> bool:
    return Subscription.parse({"channels": list(CHANNELS), **params}).wants(event)


@pytest.mark.parametrize("channel", [c for c in CHANNELS if c not in ("input", "custom")])
def test_a_channel_has_the_events_of_its_name(channel: str) -> None:
    assert wants(event(channel), channels=[channel])
    assert not wants(event(channel), channels=["input"])


def test_the_channel_input_has_questions_and_answers() -> None:
    assert wants(event("input.requested"), channels=["input"])
    assert wants(event("input.answered"), channels=["input"])


def test_a_named_channel_has_the_events_of_one_name_and_custom_has_all() -> None:
    named, other = event("custom", data={"name": "a2a"}), event("custom", data={"payload": 1})
    assert [wants(e, channels=["custom:a2a"]) for e in (named, other)] == [True, False]
    assert [wants(e, channels=["custom"]) for e in (named, other)] == [True, True]


@pytest.mark.parametrize(
    ("namespace", "prefixes", "expected"),
    [
        (("sub:1",), [["sub"]], True),
        (("sub:1",), [["sub:1"]], True),
        (("sub:2",), [["sub:1"]], False),
        (("subway:1",), [["sub"]], False),
        (("sub:1", "inner:2"), [["sub"]], True),
        ((), [["sub"]], False),
        (("sub:1",), [[]], True),
        (("b:1",), [["a"], ["b"]], True),
        (("b:1",), [], True),
    ],
)
def test_namespaces_are_prefixes_and_a_name_stands_for_every_task(
    namespace: tuple[str, ...], prefixes: list[list[str]], expected: bool
) -> None:
    assert wants(event("values", *namespace), namespaces=prefixes) is expected


@pytest.mark.parametrize(
    ("namespace", "depth", "expected"),
    [((), 0, True), (("a:1",), 0, False), (("a:1",), 1, True), (("a:1", "b:2"), 1, False)],
)
def test_depth_counts_from_the_prefix(
    namespace: tuple[str, ...], depth: int, expected: bool
) -> None:
    assert wants(event("values", *namespace), namespaces=[[]], depth=depth) is expected


def test_depth_without_namespaces_has_no_effect() -> None:
    assert wants(event("values", "a:1", "b:2"), depth=0)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        (None, "a subscription is a JSON object"),
        ({}, "channels is a list with at least one of values,"),
        ({"channels": []}, "channels is a list with at least one of"),
        ({"channels": ["value"]}, "unknown channel 'value'"),
        ({"channels": ["custom:"]}, "unknown channel 'custom:'"),
        ({"channels": ["values"], "namespaces": ["a"]}, "namespaces is a list of lists"),
        ({"channels": ["values"], "depth": -1}, "depth is a number from 0, got -1"),
        ({"channels": ["values"], "since": "1"}, "since is a number from 0, got '1'"),
    ],
)
def test_a_subscription_that_cannot_be_is_refused(params: Any, message: str) -> None:
    with pytest.raises(Fault) as refused:
        Subscription.parse(params)
    assert refused.value.code == "invalid_argument"
    assert message in refused.value.message
