from __future__ import annotations

import copy
import pickle
from collections.abc import Callable
from typing import Any

import pytest

from distgraph._internal.missing import MISSING
from distgraph.channels import (
    AnyValue,
    BaseChannel,
    EphemeralValue,
    LastValue,
    NamedBarrierValue,
    NamedBarrierValueAfterFinish,
    Topic,
    UntrackedValue,
)
from distgraph.errors import EmptyChannelError, InvalidUpdateError


def test_missing_stays_the_same_object_through_pickle_and_copy() -> None:
    assert pickle.loads(pickle.dumps(MISSING)) is MISSING
    assert pickle.loads(pickle.dumps({"a": [MISSING]}))["a"][0] is MISSING
    assert copy.deepcopy(MISSING) is MISSING
    assert not MISSING


def test_an_ephemeral_value_lives_for_one_superstep() -> None:
    channel = EphemeralValue(str)
    assert channel.update(["a"]) is True
    assert channel.get() == "a"
    assert channel.update([]) is True
    assert channel.update([]) is False
    with pytest.raises(EmptyChannelError):
        channel.get()


def test_a_guarded_ephemeral_value_takes_one_write() -> None:
    channel = EphemeralValue(str)
    channel.key = "jump"
    with pytest.raises(InvalidUpdateError, match="'jump'.*guard=False"):
        channel.update(["a", "b"])


def test_an_unguarded_ephemeral_value_keeps_the_last_of_several() -> None:
    channel = EphemeralValue(str, guard=False)
    channel.update(["a", "b"])
    assert channel.get() == "b"
    assert channel.copy().guard is False


def test_any_value_is_emptied_by_a_superstep_without_writes() -> None:
    channel = AnyValue(int)
    assert channel.update([1, 1]) is True
    assert channel.get() == 1
    assert channel.update([]) is True
    assert channel.update([]) is False
    assert not channel.is_available()


def test_an_untracked_value_is_in_no_checkpoint() -> None:
    channel = UntrackedValue(int)
    channel.update([1])
    assert channel.get() == 1
    assert channel.copy().get() == 1
    assert channel.checkpoint() is MISSING
    assert not channel.from_checkpoint(1).is_available()
    with pytest.raises(InvalidUpdateError):
        channel.update([1, 2])


def test_a_topic_collects_writes_and_flattens_lists() -> None:
    topic = Topic(int)
    assert topic.update([1, [2, 3]]) is True
    assert topic.get() == [1, 2, 3]


def test_a_topic_starts_each_superstep_empty() -> None:
    topic = Topic(int)
    topic.update([1])
    assert topic.update([2]) is True
    assert topic.get() == [2]
    assert topic.update([]) is True
    assert topic.update([]) is False
    assert not topic.is_available()


def test_an_accumulating_topic_keeps_its_items() -> None:
    topic = Topic(int, accumulate=True)
    topic.update([1])
    assert topic.update([]) is False
    topic.update([[2]])
    assert topic.get() == [1, 2]


def test_a_topics_copies_and_checkpoints_do_not_share_its_list() -> None:
    topic = Topic(int, accumulate=True)
    topic.update([1])
    for other in (topic.copy(), topic.from_checkpoint(topic.checkpoint())):
        other.update([2])
        assert other.get() == [1, 2]
    assert topic.get() == [1]


@pytest.mark.parametrize("kind", [NamedBarrierValue, NamedBarrierValueAfterFinish])
def test_a_barrier_refuses_a_name_that_it_does_not_wait_for(kind: Any) -> None:
    barrier = kind(str, {"a", "b"})
    barrier.key = "join:a+b:c"
    with pytest.raises(InvalidUpdateError, match=r"'join:a\+b:c': Value 'x' not in \['a', 'b'\]"):
        barrier.update(["x"])


def test_a_barrier_opens_when_all_have_written_and_closes_when_consumed() -> None:
    barrier = NamedBarrierValue(str, {"a", "b"})
    assert barrier.update(["a", "a"]) is True
    assert barrier.update(["a"]) is False
    assert not barrier.is_available()
    assert barrier.consume() is False
    assert barrier.update(["b"]) is True
    assert barrier.get() is None
    assert barrier.consume() is True
    assert not barrier.is_available()
    assert barrier.checkpoint() == set()


def test_a_deferred_barrier_opens_only_after_finish() -> None:
    barrier = NamedBarrierValueAfterFinish(str, {"a"})
    assert barrier.finish() is False
    barrier.update(["a"])
    assert not barrier.is_available()
    assert barrier.checkpoint() == ({"a"}, False)
    assert barrier.finish() is True
    assert barrier.is_available()
    assert barrier.from_checkpoint(barrier.checkpoint()).is_available()
    assert barrier.consume() is True
    assert barrier.checkpoint() == (set(), False)


def test_a_barriers_copies_and_checkpoints_do_not_share_its_set() -> None:
    barrier = NamedBarrierValue(str, {"a", "b"})
    barrier.update(["a"])
    for other in (barrier.copy(), barrier.from_checkpoint(barrier.checkpoint())):
        other.update(["b"])
        assert other.is_available()
    assert barrier.checkpoint() == {"a"}


MAKERS: list[Callable[[], BaseChannel]] = [
    lambda: LastValue(int),
    lambda: AnyValue(int),
    lambda: EphemeralValue(int, guard=False),
    lambda: UntrackedValue(int, guard=False),
    lambda: Topic(int, accumulate=True),
    lambda: NamedBarrierValue(str, {"a"}),
    lambda: NamedBarrierValueAfterFinish(str, {"a"}),
]


@pytest.mark.parametrize("make", MAKERS)
def test_every_channel_survives_pickling_with_its_settings(
    make: Callable[[], BaseChannel],
) -> None:
    channel = make()
    channel.key = "x"
    restored = pickle.loads(pickle.dumps(channel))
    assert restored == channel
    assert restored.key == "x"
    assert repr(restored) == repr(channel)


@pytest.mark.parametrize("make", MAKERS)
def test_channels_of_different_kinds_or_settings_differ(make: Callable[[], BaseChannel]) -> None:
    others = [other() for other in MAKERS if other is not make]
    assert make() == make()
    assert all(make() != other for other in others)
    assert EphemeralValue(int) != EphemeralValue(int, guard=False)


@pytest.mark.parametrize(
    ("channel", "writes"),
    [
        (NamedBarrierValue(str, {"a", "b"}), ["a", "b"]),
        (NamedBarrierValueAfterFinish(str, {"a", "b"}), ["a", "b"]),
        (Topic(str, accumulate=True), ["a", "b"]),
        (Topic(str), ["a", "b"]),
    ],
    ids=lambda value: type(value).__name__,
)
def test_a_checkpoint_that_is_saved_later_does_not_change_with_its_channel(
    channel: BaseChannel[Any, Any, Any], writes: list[str]
) -> None:
    channel = channel.from_checkpoint(MISSING)
    channel.update(writes[:1])
    checkpoint = channel.checkpoint()
    before = copy.deepcopy(checkpoint)
    channel.update(writes[1:])
    assert checkpoint == before
