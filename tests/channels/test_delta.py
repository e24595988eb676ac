from __future__ import annotations

import pickle
from typing import Annotated, Any

import pytest
from langgraph.checkpoint.serde.types import _DeltaSnapshot
from typing_extensions import NotRequired, TypedDict

from distgraph._internal.missing import MISSING
from distgraph.channels import BinaryOperatorAggregate, DeltaChannel
from distgraph.channels.delta import DeltaSnapshot
from distgraph.errors import EmptyChannelError, InvalidUpdateError
from distgraph.graph.schema import read_schema
from distgraph.types import Overwrite


def extended(state: list[Any], writes: list[list[Any]]) -> list[Any]:
    return [*state, *(item for write in writes for item in write)]


def channel(value: Any = MISSING, **options: Any) -> DeltaChannel[Any]:
    return DeltaChannel(extended, list, **options).from_checkpoint(value)


def test_the_writes_of_a_step_reach_the_reducer_together() -> None:
    calls: list[Any] = []

    def reducer(state: list[Any], writes: list[Any]) -> list[Any]:
        calls.append((state, writes))
        return extended(state, writes)

    made = DeltaChannel(reducer, list).from_checkpoint(MISSING)
    assert made.update([["a"], ["b"]]) is True
    assert made.update([]) is False
    assert calls == [([], [["a"], ["b"]])]
    assert made.get() == ["a", "b"]


def test_it_has_no_value_before_a_run_and_an_empty_one_in_it() -> None:
    made = DeltaChannel(extended, dict)
    with pytest.raises(EmptyChannelError):
        made.get()
    assert made.from_checkpoint(MISSING).get() == {}


def test_a_checkpoint_holds_nothing_of_it_by_itself() -> None:
    assert channel(["a"]).checkpoint() is MISSING


@pytest.mark.parametrize("stored", [DeltaSnapshot(["a"]), _DeltaSnapshot(["a"]), ["a"]])
def test_it_is_restored_from_a_snapshot_and_from_a_plain_value(stored: Any) -> None:
    assert channel(stored).get() == ["a"]


def test_replaying_starts_at_the_last_overwrite() -> None:
    writes = [["a"], Overwrite(["b"]), ["c"], {"__overwrite__": None}, ["d"], ["e"]]
    made = channel().from_writes(["old"], writes)
    assert made.get() == ["d", "e"]


def test_replaying_takes_writes_in_one_batch() -> None:
    made = channel().from_writes(["old"], [["a"], ["b"]])
    assert made.get() == ["old", "a", "b"]


def test_an_overwrite_replaces_the_value_and_other_writes_of_its_step() -> None:
    made = channel(["old"])
    given = ["new"]
    made.update([["a"], Overwrite(given), ["b"]])
    assert made.get() == ["new"]
    assert made.get() is not given
    made.update([Overwrite(None)])
    assert made.get() == []


def test_two_overwrites_in_a_step_are_an_error() -> None:
    with pytest.raises(InvalidUpdateError, match="only one Overwrite"):
        channel().update([Overwrite([]), Overwrite([])])


def test_a_copy_changes_independently() -> None:
    made = channel(["a"])
    copied = made.copy()
    copied.get().append("b")
    assert made.get() == ["a"]


def test_pickling_keeps_value_and_reducer() -> None:
    back = pickle.loads(pickle.dumps(channel(["a"], snapshot_frequency=7)))
    back.update([["b"]])
    assert (back.get(), back.snapshot_frequency) == (["a", "b"], 7)


@pytest.mark.parametrize("frequency", [0, -1])
def test_a_snapshot_frequency_below_one_is_refused(frequency: int) -> None:
    with pytest.raises(ValueError, match=f"positive int, got {frequency}"):
        DeltaChannel(extended, snapshot_frequency=frequency)


def test_a_type_that_cannot_be_made_empty_is_refused() -> None:
    with pytest.raises(TypeError, match="cannot be made without arguments"):
        DeltaChannel(extended, int | None)


def test_the_annotated_type_is_that_of_the_value() -> None:
    class State(TypedDict):
        items: Annotated[NotRequired[dict[str, int]], DeltaChannel(extended, snapshot_frequency=5)]

    made: Any = read_schema(State).channels["items"]
    assert made.from_checkpoint(MISSING).get() == {}
    assert (made.key, made.snapshot_frequency) == ("items", 5)


def test_channels_are_equal_by_reducer_and_frequency() -> None:
    assert DeltaChannel(extended) == DeltaChannel(extended)
    assert DeltaChannel(extended) != DeltaChannel(extended, snapshot_frequency=5)
    assert DeltaChannel(extended) != BinaryOperatorAggregate(list, extended)
