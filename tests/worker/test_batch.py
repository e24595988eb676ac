"""Each attempt of a batch begins or is given back, and each outcome is returned once."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from distgraph.worker.batch import Alarm, Batch


def test_attempts_begin_in_their_order() -> None:
    batch = Batch(2)
    assert [batch.begin(), batch.begin(), batch.begin()] == [0, 1, None]


def test_what_has_not_begun_is_given_back() -> None:
    batch = Batch(5)
    assert batch.begin() == 0
    batch.ended(b"0")
    assert batch.begin() == 1
    assert batch.recall() == ([b"0"], 2)
    batch.ended(b"1")
    assert batch.begin() is None
    assert batch.take() == [b"1"]


def test_of_a_batch_whose_last_attempt_runs_nothing_is_given_back() -> None:
    batch = Batch(1)
    batch.begin()
    assert batch.recall() == ([], 1)


@given(st.integers(0, 8), st.lists(st.sampled_from(["run", "recall", "take"]), max_size=20))
def test_every_attempt_runs_once_or_is_given_back(count: int, steps: list[str]) -> None:
    batch = Batch(count)
    ran: list[int] = []
    returned: list[bytes] = []
    running: int | None = None
    end = count
    for step in [*steps, "run", "take"]:
        if step == "run":
            if running is not None:
                batch.ended(b"%d" % running)
            running = batch.begin()
            if running is not None:
                ran.append(running)
        elif step == "recall":
            outcomes, first = batch.recall()
            returned += outcomes
            assert first <= end
            end = min(end, first)
        else:
            returned += batch.take()
    assert ran == list(range(len(ran)))
    assert len(ran) <= end
    assert returned == [b"%d" % at for at in ran if at != running]


def test_one_timer_serves_the_batches_that_follow_each_other() -> None:
    alarm = Alarm()
    assert alarm.set(1, 10.0)
    alarm.clear()
    assert not alarm.set(2, 12.0)
    assert alarm.look(10.0) == 2.0
    assert alarm.look(12.0) == 2
    assert alarm.look(13.0) is None
    assert alarm.set(3, 15.0)


def test_no_timer_is_left_where_no_batch_runs() -> None:
    alarm = Alarm()
    assert alarm.set(1, 10.0)
    alarm.clear()
    assert alarm.look(10.0) is None
    assert alarm.set(2, 20.0)
