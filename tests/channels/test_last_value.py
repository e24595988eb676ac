from __future__ import annotations

import pickle

import pytest

from distgraph._internal.missing import MISSING
from distgraph.channels import LastValue, LastValueAfterFinish
from distgraph.errors import EmptyChannelError, InvalidUpdateError


def test_an_empty_channel_has_no_value_and_an_empty_checkpoint() -> None:
    channel = LastValue(int)
    assert not channel.is_available()
    assert channel.checkpoint() is MISSING
    with pytest.raises(EmptyChannelError):
        channel.get()


def test_none_is_a_value() -> None:
    channel = LastValue(int)
    assert channel.update([None])
    assert channel.is_available()
    assert channel.get() is None


def test_the_last_value_stays_when_nobody_writes() -> None:
    channel = LastValue(int)
    assert channel.update([1]) is True
    assert channel.update([]) is False
    assert channel.get() == 1


def test_two_writes_in_one_superstep_are_an_error_that_names_the_key() -> None:
    channel = LastValue(int, "answer")
    with pytest.raises(InvalidUpdateError, match="At key 'answer': Can receive only one") as caught:
        channel.update([1, 2])
    assert caught.value.key == "answer"
    assert pickle.loads(pickle.dumps(caught.value)).key == "answer"


def test_a_copy_is_independent() -> None:
    channel = LastValue(int, "x")
    channel.update([1])
    other = channel.copy()
    other.update([2])
    assert (channel.get(), other.get(), other.key) == (1, 2, "x")


def test_a_checkpoint_restores_the_value_under_the_same_key() -> None:
    channel = LastValue(int, "x")
    channel.update([1])
    restored = LastValue(int, "x").from_checkpoint(channel.checkpoint())
    assert (restored.get(), restored.key) == (1, "x")
    assert not channel.from_checkpoint(MISSING).is_available()


def test_pickling_drops_the_type_and_keeps_the_rest() -> None:
    class Local:
        pass

    channel = LastValue(Local, "x")
    channel.update([3])
    restored = pickle.loads(pickle.dumps(channel))
    assert (restored.key, restored.get()) == ("x", 3)
    empty = pickle.loads(pickle.dumps(LastValue(Local, "x")))
    assert empty.checkpoint() is MISSING


def test_after_finish_shows_its_value_once_the_run_ends_and_is_emptied_by_its_reader() -> None:
    channel = LastValueAfterFinish(int)
    assert channel.finish() is False
    assert channel.update([1, 2]) is True
    assert not channel.is_available()
    assert channel.finish() is True
    assert channel.finish() is False
    assert channel.get() == 2
    assert channel.consume() is True
    assert channel.consume() is False
    assert channel.checkpoint() is MISSING


def test_after_finish_waits_again_when_it_is_written_again() -> None:
    channel = LastValueAfterFinish(int)
    channel.update([1])
    channel.finish()
    channel.update([2])
    assert not channel.is_available()
    assert channel.checkpoint() == (2, False)


def test_after_finish_restores_whether_it_had_finished() -> None:
    channel = LastValueAfterFinish(int)
    channel.update([1])
    channel.finish()
    assert channel.from_checkpoint(channel.checkpoint()).get() == 1
    assert channel.copy().get() == 1
    assert not channel.from_checkpoint(MISSING).is_available()
