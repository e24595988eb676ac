from __future__ import annotations

import pickle

import pytest

from distgraph.contract.stream import Admit, Commit, Event, Fence, Finish, Op, Position, Publish
from distgraph.errors import InvalidTransition, Truncated
from distgraph.streaming.log import SEGMENT_OVERHEAD, Gate, RunLog

from .support import END_BLOB, driver_segment, payloads, read_all, segment

END = Finish(END_BLOB)


def pairs(log: RunLog) -> list[object]:
    return payloads(read_all(log))


def test_events_of_an_admitted_attempt_enter_at_once() -> None:
    log = RunLog()
    log.drive(1, [Admit("a", 1, 1)])
    log.publish(segment("a", 1, 2))
    log.publish(segment("a", 3))
    assert pairs(log) == [("a", 1, 1), ("a", 1, 2), ("a", 1, 3)]


def test_events_that_come_before_their_admission_are_held_not_lost() -> None:
    log = RunLog()
    log.publish(segment("a", 1))
    log.publish(segment("a", 2, 3))
    assert log.last_seq == 0
    assert log.statistics().held_events == 4
    log.drive(1, [Admit("a", 1, 1)])
    assert log.last_seq == 4
    assert log.statistics().held_bytes == 0


def test_a_repeated_segment_enters_once() -> None:
    log = RunLog()
    log.publish(segment("a", 1))
    log.publish(segment("a", 1))
    log.drive(1, [Admit("a", 1, 1)])
    log.publish(segment("a", 1))
    assert pairs(log) == [("a", 1, 1)]
    assert log.statistics().ignored_events == 2


def test_batches_are_carried_out_by_number_and_once() -> None:
    log = RunLog()
    log.drive(2, [Publish(driver_segment("second"))])
    log.drive(2, [Publish(driver_segment("second"))])
    assert log.last_seq == 0
    log.drive(1, [Publish(driver_segment("first"))])
    log.drive(1, [Publish(driver_segment("first"))])
    assert pairs(log) == ["first", "second"]
    assert log.statistics().ignored_batches == 2


def test_later_ops_wait_until_a_committed_attempt_is_complete() -> None:
    log = RunLog()
    log.drive(1, [Admit("a", 1, 1), Commit("a", 1, 3), Publish(driver_segment("update"))])
    log.publish(segment("a", 1))
    assert log.gate == Gate("a", 1, arrived=1, published=3)
    log.publish(segment("a", 3))
    assert log.last_seq == 1
    log.publish(segment("a", 2))
    assert log.gate is None
    assert pairs(log) == [("a", 1, 1), ("a", 1, 2), ("a", 1, 3), "update"]


def test_a_tail_completes_its_attempt_wherever_it_fits() -> None:
    log = RunLog()
    tail = (segment("a", 2, 2),)
    log.drive(1, [Admit("a", 1, 1), Commit("a", 1, 3, tail), Publish(driver_segment("update"))])
    assert log.last_seq == 0
    log.publish(segment("a", 1))
    assert pairs(log) == [("a", 1, 1), ("a", 1, 2), ("a", 1, 3), "update"]


def test_events_of_another_attempt_go_on_while_ops_wait() -> None:
    log = RunLog()
    log.drive(1, [Admit("a", 1, 1), Admit("b", 1, 1), Commit("a", 1, 1)])
    log.publish(segment("b", 1))
    assert pairs(log) == [("b", 1, 1)]


def test_the_next_step_waits_for_the_commits_before_it() -> None:
    log = RunLog()
    log.drive(1, [Admit("a", 1, 1), Commit("a", 1, 1), Admit("b", 1, 2)])
    log.publish(segment("b", 1, step=2))
    assert log.last_seq == 0
    log.publish(segment("a", 1))
    assert pairs(log) == [("a", 1, 1), ("b", 1, 1)]


def test_a_fence_drops_what_comes_later_of_an_attempt() -> None:
    log = RunLog()
    log.drive(1, [Admit("a", 1, 1)])
    log.publish(segment("a", 1))
    log.drive(2, [Fence("a", 1), Publish(driver_segment("reset")), Admit("a", 2, 1)])
    log.publish(segment("a", 2))
    log.publish(segment("a", 1, attempt=2))
    assert pairs(log) == [("a", 1, 1), "reset", ("a", 2, 1)]
    assert log.statistics().ignored_events == 1


def test_a_fence_opens_the_gate_of_its_attempt_though_it_is_behind_it() -> None:
    log = RunLog()
    log.drive(1, [Admit("a", 1, 1), Commit("a", 1, 5), Publish(driver_segment("update"))])
    log.publish(segment("a", 1))
    log.publish(segment("a", 3))
    log.drive(2, [Fence("a", 1)])
    assert pairs(log) == [("a", 1, 1), "update"]
    assert log.statistics().held_bytes == 0


def test_a_fence_acts_though_its_turn_is_behind_the_gate_of_another_attempt() -> None:
    log = RunLog()
    log.drive(1, [Admit("a", 1, 1), Admit("b", 1, 1), Commit("a", 1, 1)])
    log.drive(2, [Fence("b", 1), Publish(driver_segment("reset"))])
    log.publish(segment("b", 1))
    assert log.last_seq == 0
    log.publish(segment("a", 1))
    assert pairs(log) == [("a", 1, 1), "reset"]


def test_a_fence_before_the_admission_leaves_nothing_held() -> None:
    log = RunLog()
    log.publish(segment("a", 2))
    log.drive(1, [Fence("a", 1)])
    assert log.statistics().held_events == 0
    log.publish(segment("a", 1))
    assert log.last_seq == 0


def called(count: int) -> Admit:
    """Admits attempt b, which code of attempt a has called behind its event ``count``."""
    return Admit("b", 1, 1, after=Position("a", 1, count))


def test_events_of_a_called_task_come_behind_those_that_its_caller_emitted_before() -> None:
    log = RunLog()
    log.drive(1, [Admit("a", 1, 1), called(2)])
    log.publish(segment("b", 1))
    log.publish(segment("a", 1))
    assert log.gate == Gate("a", 1, 1, 2)
    log.publish(segment("a", 2, 2))
    assert pairs(log) == [("a", 1, 1), ("a", 1, 2), ("a", 1, 3), ("b", 1, 1)]
    assert log.gate is None


def test_the_tail_of_a_caller_that_has_ended_precedes_the_events_of_what_it_called() -> None:
    log = RunLog()
    log.publish(segment("b", 1))
    log.drive(1, [Admit("a", 1, 1), called(2), Commit("a", 1, 2, (segment("a", 2),))])
    assert pairs(log) == []
    log.publish(segment("a", 1))
    assert pairs(log) == [("a", 1, 1), ("a", 1, 2), ("b", 1, 1)]
    statistics = log.statistics()
    assert (statistics.held_bytes, statistics.held_events, statistics.waiting_ops) == (0, 0, 0)


@pytest.mark.parametrize(
    "op", [Fence("a", 1), Finish(END_BLOB, force=True)], ids=["fence", "forced end"]
)
def test_a_caller_that_is_cut_off_delays_nothing(op: Op) -> None:
    log = RunLog()
    log.publish(segment("b", 1))
    log.drive(1, [Admit("a", 1, 1), called(2)])
    assert pairs(log) == []
    log.drive(2, [op])
    assert pairs(log)[0] == ("b", 1, 1)


def test_a_caller_whose_events_are_held_until_it_succeeds_delays_nothing() -> None:
    log = RunLog()
    log.publish(segment("a", 1))
    log.publish(segment("b", 1))
    log.drive(1, [Admit("a", 1, 1, buffer=True), called(1)])
    assert pairs(log) == [("b", 1, 1)]


def test_the_terminal_event_comes_once_and_last() -> None:
    log = RunLog()
    log.drive(1, [Admit("a", 1, 1), END])
    log.publish(segment("a", 1))
    log.drive(2, [Publish(driver_segment("late")), END])
    assert not log.terminate(END_BLOB)
    (delivery,) = log.read(0)
    assert (delivery.seq, delivery.end, delivery.segment.count) == (1, True, 1)
    assert log.ended
    assert log.statistics().ignored_events == 1
    assert log.statistics().ignored_batches == 1


def test_an_ordinary_end_waits_at_gates() -> None:
    log = RunLog()
    log.drive(1, [Admit("a", 1, 1), Commit("a", 1, 1), END])
    assert not log.ended
    log.publish(segment("a", 1))
    assert pairs(log) == [("a", 1, 1), "done"]


def test_a_forced_end_opens_gates_and_keeps_the_drivers_own_events() -> None:
    log = RunLog()
    log.drive(1, [Admit("a", 1, 1), Commit("a", 1, 5), Publish(driver_segment("update"))])
    log.publish(segment("a", 1))
    log.publish(segment("a", 3))
    log.drive(2, [Finish(END_BLOB, force=True)])
    assert pairs(log) == [("a", 1, 1), "update", "done"]
    assert log.statistics().held_bytes == 0


def test_terminate_ends_a_stream_whose_driver_is_gone() -> None:
    log = RunLog()
    log.drive(1, [Admit("a", 1, 1), Commit("a", 1, 5), Publish(driver_segment("update"))])
    log.drive(3, [Publish(driver_segment("never reached"))])
    assert log.terminate(END_BLOB)
    assert pairs(log) == ["update", "done"]


def test_terminate_ends_a_stream_that_contradicts_itself() -> None:
    log = RunLog()
    log.drive(1, [Admit("a", 1, 1)])
    with pytest.raises(InvalidTransition, match="admitted twice"):
        log.drive(2, [Admit("a", 1, 1)])
    assert log.terminate(END_BLOB)
    assert pairs(log) == ["done"]


@pytest.mark.parametrize(
    ("ops", "message"),
    [
        ([Commit("a", 1, 0)], "never admitted"),
        ([Admit("a", 1, 1), Commit("a", 1, 1, (segment("a", 1, 2),))], "has published 2"),
        ([Admit("a", 1, 1), Admit("a", 1, 1)], "admitted twice"),
    ],
)
def test_an_op_that_contradicts_the_ones_before_is_refused(ops: list[Op], message: str) -> None:
    with pytest.raises(InvalidTransition, match=message):
        RunLog().drive(1, ops)


def test_segments_that_overlap_in_part_are_refused() -> None:
    log = RunLog()
    log.drive(1, [Admit("a", 1, 1)])
    log.publish(segment("a", 1, 2))
    with pytest.raises(InvalidTransition, match=r"events 2\.\.4 of attempt 1 of task a overlap"):
        log.publish(segment("a", 2, 3))
    log.publish(segment("a", 5, 2))
    with pytest.raises(InvalidTransition, match=r"events 5\.\.6"):
        log.publish(segment("a", 3, 3))


def test_a_read_stops_at_its_limit_but_returns_at_least_one_segment() -> None:
    log = RunLog()
    log.drive(1, [Admit("a", 1, 1)])
    for first in (1, 2, 3):
        log.publish(segment("a", first))
    size = len(segment("a", 1).blob) + SEGMENT_OVERHEAD
    assert [d.seq for d in log.read(0, 1)] == [1]
    assert [d.seq for d in log.read(0, 2 * size)] == [1, 2]
    assert [d.seq for d in log.read(1)] == [2, 3]
    assert log.read(3) == []


def test_a_read_after_a_seq_within_a_segment_returns_that_segment() -> None:
    log = RunLog()
    log.drive(1, [Admit("a", 1, 1)])
    log.publish(segment("a", 1, 10))
    log.publish(segment("a", 11, 10))
    assert [d.seq for d in log.read(4)] == [1, 11]
    assert payloads(read_all(log, after_seq=18)) == [("a", 1, 19), ("a", 1, 20)]


def test_what_is_consumed_stays_for_reconnects_up_to_the_retained_bytes() -> None:
    size = len(segment("a", 1).blob) + SEGMENT_OVERHEAD
    log = RunLog(retain_bytes=2 * size)
    log.drive(1, [Admit("a", 1, 1)])
    for first in range(1, 6):
        log.publish(segment("a", first))
    log.ack(4)
    assert [d.seq for d in log.read(2)] == [3, 4, 5]
    assert log.statistics().retained_bytes == 2 * size
    with pytest.raises(Truncated, match="after seq 1 .* oldest one that is kept is 3"):
        log.read(1)


def test_a_read_of_a_drained_log_that_retains_nothing_is_truncated_not_empty() -> None:
    log = RunLog(retain_bytes=0)
    log.drive(1, [END])
    log.ack(1)
    assert log.consumed
    assert log.read(1) == []
    with pytest.raises(Truncated):
        log.read(0)


def test_reading_and_acknowledging_beyond_the_log_are_refused() -> None:
    log = RunLog()
    with pytest.raises(InvalidTransition, match="ends at 0"):
        log.read(1)
    with pytest.raises(InvalidTransition, match="ends at 0"):
        log.ack(1)


def test_a_log_that_is_read_along_keeps_no_entries() -> None:
    log = RunLog(retain_bytes=10 * SEGMENT_OVERHEAD)
    log.drive(1, [Admit("a", 1, 1)])
    for first in range(1, 20_001):
        log.publish(segment("a", first))
        assert [d.seq for d in log.read(log.acked)] == [first]
        log.ack(first)
    assert log._entries.stored < 2_000
    assert log.unread_bytes == 0
    assert log.statistics().segments == 20_000


def test_a_log_is_over_its_limit_until_the_consumer_has_caught_up() -> None:
    size = len(segment("a", 1).blob) + SEGMENT_OVERHEAD
    log = RunLog(max_bytes=3 * size)
    log.drive(1, [Admit("a", 1, 1)])
    for first in (1, 2, 3):
        log.publish(segment("a", first))
    assert not log.over_limit
    log.publish(segment("a", 4))
    assert log.over_limit
    log.ack(1)
    assert not log.over_limit


def test_held_events_count_against_the_limit() -> None:
    log = RunLog(max_events=10)
    log.publish(segment("a", 1, 6))
    assert not log.over_limit
    log.drive(2, [Publish(driver_segment(*range(5)))])
    assert log.over_limit
    log.drive(1, [Admit("a", 1, 1)])
    log.ack(log.last_seq)
    assert not log.over_limit


def test_a_log_that_has_ended_pauses_nobody() -> None:
    log = RunLog(max_events=1)
    log.drive(1, [Publish(driver_segment(1, 2, 3))])
    assert log.over_limit
    log.drive(2, [END])
    assert not log.over_limit


def test_closed_attempts_leave_a_bounded_trace() -> None:
    log = RunLog(retain_bytes=0)
    for n in range(70_000):
        log.drive(n + 1, [Admit(str(n), 1, n), Commit(str(n), 1, 0)])
    assert log.statistics().open_attempts == 0
    assert len(log._closed) == 65_536


def test_the_terminal_event_carries_on_the_drivers_numbers() -> None:
    log = RunLog()
    log.drive(1, [Publish(driver_segment(1, 2, step=4)), END])
    end = log.read(0)[-1].segment
    assert (end.step, end.first) == (4, 3)


def test_ops_survive_pickling() -> None:
    ops: list[Op] = [
        Admit("a", 1, 1),
        Publish(driver_segment("x")),
        Commit("a", 1, 1, (segment("a", 1),)),
        Fence("a", 2),
        Finish(END_BLOB, True),
    ]
    assert pickle.loads(pickle.dumps(ops)) == ops


def test_a_stream_that_lacks_events_does_not_end_as_if_all_were_well():
    log = RunLog()
    log.drive(1, [Admit("t", 1, 1), Commit("t", 1, 1), Finish([Event((), "end", "all is well")])])
    assert log.terminate([Event((), "end", "an event was lost")], incomplete=True)
    (end,) = log.read(0)
    assert end.end
    assert end.segment.blob == [Event((), "end", "an event was lost")]
