"""Attempts on their way: a value is pickled once a version, and every attempt has its own."""

from __future__ import annotations

import threading
from dataclasses import replace
from functools import cache
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typing_extensions import TypedDict

from distgraph.contract.attempt import AttemptOutcome, AttemptRequest, NodeFailure, Standing
from distgraph.errors import SerializationError
from distgraph.graph import END, START, StateGraph
from distgraph.serde.exceptions import capture_error
from distgraph.serde.pickling import dumps_data, loads
from distgraph.worker.packing import (
    LARGE,
    StatePacker,
    head_of,
    pack_outcome,
    unpack_outcome,
    unpack_request,
)
from distgraph.worker.snapshots import Snapshot
from tests.engine.corpus import fan
from tests.engine.play import Play


class Store:
    """Where large blobs go. A reference is an object whose identity counts, as Ray's."""

    def __init__(self) -> None:
        self.blobs: list[bytes] = []

    def put(self, blob: bytes) -> Any:
        self.blobs.append(blob)
        return Reference(blob)


class Reference:
    def __init__(self, blob: bytes) -> None:
        self.blob = blob


class Counted:
    """Counts how often it is pickled."""

    pickled = 0

    def __init__(self, size: int = 0) -> None:
        self.filling = b"x" * size

    def __getstate__(self) -> Any:
        type(self).pickled += 1
        return {"filling": self.filling}

    def __setstate__(self, state: Any) -> None:
        self.__dict__.update(state)


@pytest.fixture(autouse=True)
def _counting() -> None:
    Counted.pickled = 0


@cache
def engine_made() -> AttemptRequest:
    play = Play(fan().compile(backend="local"))
    play.start({"items": []})
    return play.of("a").request


def request(state: dict[str, Any], **changes: Any) -> AttemptRequest:
    return replace(engine_made(), state=state, reads=tuple(state), **changes)


def unpack(packed: Any, snapshots: list[Any], sent: AttemptRequest | None = None) -> AttemptRequest:
    (head,) = loads(dumps_data([head_of(sent or engine_made())]))
    return unpack_request(head, packed, [Snapshot(reference.blob) for reference in snapshots])


def test_a_request_comes_back_as_it_was() -> None:
    store = Store()
    sent = request({"a": [1, {"b": (2,)}], "big": b"x" * LARGE}, managed={"left": 3}, attempt=2)
    snapshots: list[Any] = []
    packed = StatePacker(store.put).pack(sent, {"a": 1, "big": 1}, snapshots)
    assert unpack(packed, snapshots, sent) == sent


def test_values_of_users_are_each_attempts_own() -> None:
    given = Standing("1", {"": "1"}, resume_values=([1],), resume_map={"a": [2]})
    failure = NodeFailure("a", capture_error(ValueError("no")))
    sent = request({}, input=[3], standing=given, failed=failure)
    blob = dumps_data([head_of(sent)] * 2)
    packed = StatePacker(Store().put).pack(sent, {}, [])
    first, second = (unpack_request(head, packed, []) for head in loads(blob))
    assert replace(first, failed=None) == replace(second, failed=None) == replace(sent, failed=None)
    assert first.input is not second.input
    for one, other in zip(_values_of(first.standing), _values_of(second.standing), strict=True):
        assert one is not other
    assert first.failed is not None
    assert first.failed is not second.failed
    assert (first.failed.node, first.failed.error.message) == ("a", "no")


def _values_of(standing: Standing | None) -> list[Any]:
    assert standing is not None
    return [*standing.resume_values, *standing.resume_map.values()]


def test_heads_hold_no_values_of_users() -> None:
    saved = Standing("1", {"": "1"})
    for sent, own in ((request({}, standing=saved), {}), (request({"a": 1}, input=2), {"a": 1})):
        (head,) = loads(dumps_data([head_of(sent)]))
        again = unpack_request(head, (dumps_data(sent.input), {}), [])
        assert replace(again, state=own) == sent


def test_small_values_travel_inline_and_large_ones_beside_the_packet() -> None:
    store = Store()
    snapshots: list[Any] = []
    packed = StatePacker(store.put).pack(
        request({"small": 1, "big": b"x" * LARGE}), {"small": 1, "big": 1}, snapshots
    )
    assert isinstance(packed[1]["small"], bytes)
    assert packed[1]["big"] == 0
    assert [reference.blob for reference in snapshots] == store.blobs
    assert len(packed[0]) < 2000


@pytest.mark.parametrize(("size", "referred"), [(15_900, []), (16_000, [0])])
def test_workers_keep_values_from_16_000_bytes_on(size: int, referred: list[int]) -> None:
    snapshots: list[Any] = []
    packed = StatePacker(Store().put).pack(request({"a": b"x" * size}), {"a": 1}, snapshots)
    assert [value for value in packed[1].values() if isinstance(value, int)] == referred


def test_a_version_is_pickled_once_however_many_attempts_read_it() -> None:
    store = Store()
    packer = StatePacker(store.put, large=100)
    sent = request({"small": Counted(), "big": Counted(100)})
    snapshots: list[Any] = []
    for step in range(5):
        packer.pack(replace(sent, step=step), {"small": 1, "big": 1}, snapshots)
    assert Counted.pickled == 2
    assert len(store.blobs) == 1
    assert len(snapshots) == 1, "one reference a packet, however many attempts share it"


def test_every_packet_has_references_of_its_own() -> None:
    store = Store()
    packer = StatePacker(store.put, large=100)
    sent = request({"a": b"x" * 100, "b": b"y" * 100})
    for positions in ({"a": 0, "b": 1}, {"a": 0, "b": 1}):
        snapshots: list[Any] = []
        assert packer.pack(sent, {"a": 1, "b": 1}, snapshots)[1] == positions
        assert len(snapshots) == 2
    assert len(store.blobs) == 2


def test_another_version_is_pickled_anew() -> None:
    store = Store()
    packer = StatePacker(store.put, large=100)
    for version in (1, 2, 3):
        snapshots: list[Any] = []
        sent = request({"a": b"x" * 100 + bytes([version])})
        packed = packer.pack(sent, {"a": version}, snapshots)
        assert unpack(packed, snapshots).state["a"][-1] == version
    assert len(store.blobs) == 3


def test_the_same_key_of_another_graph_is_another_value() -> None:
    packer = StatePacker(Store().put)
    for ns, value in (((), 1), (("child:1",), 2), (("child:2",), 3)):
        packed = packer.pack(request({"a": value}, ns=ns), {"a": 1}, [])
        assert unpack(packed, []).state == {"a": value}


def test_a_value_without_a_version_is_never_reused() -> None:
    packer = StatePacker(Store().put)
    for value in (1, 2):
        assert unpack(packer.pack(request({"a": value}), {}, []), []).state == {"a": value}


def test_attempts_of_a_packet_do_not_see_each_other_s_changes() -> None:
    store = Store()
    packer = StatePacker(store.put, large=100)
    value = {"small": [1], "big": [b"x" * 100]}
    snapshots: list[Any] = []
    packed = [packer.pack(request(value), {"small": 1, "big": 1}, snapshots) for _ in range(2)]
    first, second = (unpack(one, snapshots) for one in packed)
    first.state["small"].append(2)
    first.state["big"].clear()
    assert second.state == {"small": [1], "big": [b"x" * 100]} == value


def test_what_is_changed_behind_the_back_of_a_version_does_not_travel() -> None:
    packer = StatePacker(Store().put)
    value = [1]
    packer.pack(request({"a": value}), {"a": 1}, [])
    value.append(2)
    assert unpack(packer.pack(request({"a": value}), {"a": 1}, []), []).state == {"a": [1]}


def test_state_that_cannot_travel_is_told() -> None:
    with pytest.raises(SerializationError):
        StatePacker(Store().put).pack(request({"a": threading.Thread()}), {"a": 1}, [])


def test_the_argument_of_a_send_that_cannot_travel_is_told() -> None:
    with pytest.raises(SerializationError):
        StatePacker(Store().put).pack(request({}, input=threading.Thread()), {}, [])


def test_a_refused_value_is_not_remembered() -> None:
    packer = StatePacker(Store().put)
    with pytest.raises(SerializationError):
        packer.pack(request({"a": threading.Thread()}), {"a": 1}, [])
    assert unpack(packer.pack(request({"a": 1}), {"a": 1}, []), []).state == {"a": 1}


def test_an_outcome_comes_back_as_it_was() -> None:
    outcome = AttemptOutcome("t", 1, "ok", writes=(("a", [1]), ("b", {"c"})), published=3)
    assert unpack_outcome(pack_outcome(outcome)) == outcome
    rare = replace(outcome, ignored=("a",), value=[1])
    assert unpack_outcome(pack_outcome(rare)) == rare


def test_values_of_an_outcome_are_not_compared() -> None:
    class Unequal:
        def __eq__(self, other: object) -> bool:
            raise AssertionError("compared")

    outcome = AttemptOutcome("t", 1, "ok", value=Unequal(), interrupts=(Unequal(),))
    found = unpack_outcome(pack_outcome(outcome))
    assert type(found.value).__name__ == type(found.interrupts[0]).__name__ == "Unequal"


VALUES = st.one_of(st.integers(), st.binary(max_size=60), st.lists(st.integers(), max_size=30))


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_whatever_the_order_each_attempt_gets_its_version(data: st.DataObject) -> None:
    store = Store()
    packer = StatePacker(store.put, large=40)
    current: dict[str, tuple[int, Any]] = {}
    for version in range(1, data.draw(st.integers(1, 8)) + 1):
        for key in data.draw(st.sets(st.sampled_from("abc"))):
            current[key] = (version, data.draw(VALUES))
        state = {key: value for key, (_, value) in current.items()}
        versions = {key: number for key, (number, _) in current.items()}
        snapshots: list[Any] = []
        packed = [packer.pack(request(state), versions, snapshots) for _ in range(2)]
        assert [unpack(one, snapshots).state for one in packed] == [state, state]
        assert len(snapshots) == len({id(reference) for reference in snapshots}) <= 3


class Calls(TypedDict):
    calls: int


def test_a_graph_that_begins_again_under_its_namespace_is_sent_its_own_state() -> None:
    """Without a saver, both starts of a graph with a history of its own count versions from 1."""
    inner = StateGraph(Calls).add_node("look", lambda s: {}).add_edge(START, "look")
    outer = StateGraph(Calls).add_node("inner", inner.compile(checkpointer=True))
    outer.add_node("count", lambda s: {"calls": s["calls"] + 1})
    outer.add_edge(START, "inner").add_edge("inner", "count").add_conditional_edges(
        "count", lambda s: "inner" if s["calls"] < 2 else END, ["inner", END]
    )
    play = Play(outer.compile(backend="local"))
    play.start({"calls": 0})
    play.finish()
    packer, sent = StatePacker(Store().put), []
    for start in play.started:
        packed = packer.pack(start.request, start.versions, [])
        sent.append((start.request.node, unpack(packed, []).state["calls"]))
    assert [calls for node, calls in sent if node == "look"] == [0, 1]


def test_a_part_of_a_list_is_read_in_the_callers_way_unless_it_is_kept() -> None:
    texts = ["x" * 100 + str(number) for number in range(20)]
    read: list[Any] = []

    def items(blob: Any) -> Any:
        read.append(loads(blob))
        return read[-1]

    blob, _ = StatePacker(Store().put).pack(request({}), {}, [])
    snapshots = [Snapshot(dumps_data(texts)), Snapshot(dumps_data([texts]))]
    for _ in range(2):
        given = blob, {"texts": [0], "lists": [1]}
        found = unpack_request(head_of(engine_made()), given, snapshots, items)
        assert found.state == {"texts": texts, "lists": [texts]}
    assert [snapshot.is_kept for snapshot in snapshots] == [True, False]
    assert read == [texts, [texts], [texts]]
