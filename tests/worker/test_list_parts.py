"""Lists that grow: what is pickled and sent anew is what was added."""

from __future__ import annotations

import operator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from langchain_core.messages import AIMessage
from langgraph.graph.message import _messages_delta_reducer

from distgraph.channels.binop import BinaryOperatorAggregate
from distgraph.channels.delta import DeltaChannel
from distgraph.channels.growing import only_adds
from distgraph.channels.last_value import LastValue
from distgraph.errors import SerializationError
from distgraph.graph.message import add_messages
from distgraph.worker.packing import StatePacker
from tests.worker.test_packing import Counted, Store, request, unpack


def packer(store: Store, large: int = 1 << 20) -> StatePacker:
    return StatePacker(store.put, large, keeps_items=lambda request, name: True)


def sent(packer: StatePacker, value: Any, version: int) -> tuple[Any, list[Any]]:
    snapshots: list[Any] = []
    return packer.pack(request({"a": value}), {"a": version}, snapshots), snapshots


def arrived(packer: StatePacker, value: Any, version: int) -> Any:
    packed, snapshots = sent(packer, value, version)
    return unpack(packed, snapshots).state["a"]


def test_an_item_of_a_list_that_grows_by_one_is_pickled_a_few_times() -> None:
    Counted.pickled = 0
    packing, items = packer(Store()), list[Any]()
    for version in range(256):
        items = [*items, Counted()]
        assert len(arrived(packing, items, version)) == len(items)
    assert Counted.pickled < 256 * 6


def test_a_long_list_is_not_sent_again() -> None:
    store = Store()
    packing = packer(store)
    items: list[Any] = [b"x" * 100 + bytes([number % 256]) for number in range(1_000)]
    sent(packing, items, 1)
    (_, state), snapshots = sent(packing, [*items, b"last"], 2)
    inline = [part for part in state["a"] if isinstance(part, bytes)]
    assert sum(map(len, inline)) < 200
    assert len(snapshots) == len(store.blobs) == 1


def test_an_item_that_was_replaced_is_sent() -> None:
    packing = packer(Store())
    items = [AIMessage(str(number), id=str(number)) for number in range(8)]
    arrived(packing, items, 1)
    changed = add_messages(items, [AIMessage("new", id="3")])
    assert [m.content for m in arrived(packing, changed, 2)] == [m.content for m in changed]


def test_an_item_that_was_removed_is_gone() -> None:
    packing = packer(Store())
    items = ["a", "b", "c"]
    arrived(packing, items, 1)
    assert arrived(packing, items[:2], 2) == ["a", "b"]
    assert arrived(packing, [], 3) == []
    assert arrived(packing, ["d"], 4) == ["d"]


def test_a_message_that_gets_its_id_later_is_sent_with_it() -> None:
    packing = packer(Store())
    overwritten: Any = [AIMessage("first")]
    arrived(packing, overwritten, 1)
    merged = add_messages(overwritten, [AIMessage("second")])
    assert merged[0] is overwritten[0]
    assert [m.id for m in arrived(packing, merged, 2)] == [m.id for m in merged]


def test_an_object_that_stands_twice_in_a_write_is_one_object() -> None:
    packing = packer(Store())
    first, twice = [0], [1]
    arrived(packing, [first], 1)
    found = arrived(packing, [first, twice, twice], 2)
    assert found == [[0], [1], [1]]
    assert found[1] is found[2]


def test_attempts_of_one_version_have_lists_of_their_own() -> None:
    packing = packer(Store())
    items = [[0], [1], [2]]
    arrived(packing, items[:2], 1)
    one, other = (arrived(packing, items, 2) for _ in range(2))
    one[0].append("changed")
    one.clear()
    assert other == [[0], [1], [2]]


def test_an_error_counts_the_items_of_the_whole_list() -> None:
    packing = packer(Store())
    items: list[Any] = ["a", "b", "c", "d"]
    arrived(packing, items, 1)
    with pytest.raises(SerializationError, match=r'state\["a"\]\[4\]'):
        arrived(packing, [*items, (one for one in ())], 2)


@pytest.mark.parametrize(
    ("channel", "adds"),
    [
        (BinaryOperatorAggregate(list, operator.add), True),
        (BinaryOperatorAggregate(list, add_messages), True),
        (BinaryOperatorAggregate(list, operator.iadd), False),
        (BinaryOperatorAggregate(list, lambda left, right: left + right), False),
        (BinaryOperatorAggregate(list, add_messages(format="langchain-openai")), False),
        (DeltaChannel(lambda left, writes: left), False),
        (DeltaChannel(_messages_delta_reducer), True),
        (LastValue(list), False),
        (None, False),
    ],
)
def test_a_reducer_of_the_user_may_change_items_in_place(channel: Any, adds: bool) -> None:
    assert only_adds(channel) is adds


STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("add"), st.lists(st.integers(), max_size=5)),
        st.tuples(st.just("set"), st.lists(st.integers(), max_size=5)),
        st.tuples(st.just("drop"), st.integers(0, 5)),
    ),
    max_size=20,
)


@settings(max_examples=200, deadline=None)
@given(STEPS, st.integers(20, 200))
def test_whatever_becomes_of_a_list_each_version_arrives(steps: Any, large: int) -> None:
    packing, items = packer(Store(), large), list[Any]()
    for version, (what, given_) in enumerate(steps):
        if what == "add":
            items = items + [[one] for one in given_]
        elif what == "set":
            items = [[one] for one in given_]
        else:
            items = items[given_:]
        assert arrived(packing, items, version) == items
