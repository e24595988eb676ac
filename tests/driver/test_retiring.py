"""A shared process that is blocked gets no more attempts; it is ended only when that is due."""

from __future__ import annotations

from distgraph.contract.heartbeats import SILENT, encode
from distgraph.driver.heartbeats import OVERDUE, Health, Heartbeats, Overdue
from distgraph.driver.retiring import KILL, Retirement

STUCK = Health(stuck=SILENT)


def test_a_healthy_process_goes_on():
    assert Retirement().look(Health(), {}, 5, 0.0) == ("", False)


def test_a_blocked_process_is_retired_once_and_not_ended():
    state = Retirement()
    why, end = state.look(STUCK, {}, 5, 0.0)
    assert (why, end) == ("its code has blocked it for 5 s", False)
    assert state.look(STUCK, {}, 5, 1000.0) == ("", False)
    assert state.why == why


def test_a_process_that_is_blocked_by_cancelled_code_is_ended_after_its_grace():
    state = Retirement()
    state.look(STUCK, {"a": 0.0}, 5, 5.0)
    assert not state.look(STUCK, {"a": 0.0}, 5, KILL - 0.1).end
    assert state.look(STUCK, {"a": 0.0}, 5, KILL).end


def test_live_attempts_of_a_retired_process_that_reacts_go_on():
    state = Retirement()
    assert state.look(Health(behind=1), {}, 1, 0.0).retire
    assert not state.look(Health(behind=1), {}, 1, 1000.0).end
    assert state.look(Health(behind=1), {}, 0, 1001.0).end


def test_cancelled_attempts_that_never_come_back_do_not_keep_a_process():
    state = Retirement()
    assert state.look(Health(), {"a": 0.0}, 2, KILL).retire == (
        "1 cancelled attempts have not come back"
    )
    assert not state.look(Health(), {"a": 0.0}, 2, 100.0).end
    assert state.look(Health(), {"a": 0.0}, 1, 101.0).end


# --- heartbeats -----------------------------------------------------------------------------------


def known(now: float = 0.0, role: str = "executor") -> Heartbeats:
    found = Heartbeats()
    found.hello(1, {"host": "h", "pid": 7, "role": role, "hello": "e"}, now)
    return found


def told(beats: Heartbeats, now: float, **message: object) -> None:
    beats.line(1, encode(**message), now)


def test_silence_is_counted_from_the_last_heartbeat():
    beats = known()
    told(beats, 3.0, beat={}, lag=0.0)
    assert beats.health("e", 10.0).stuck == 7.0
    told(beats, 11.0, beat={}, lag=6.5)  # the loop of the process does not run
    assert beats.health("e", 11.0).stuck == 6.5


def test_stacks_tell_that_a_process_lives_and_where_it_is():
    beats = known(role="task")
    told(beats, 1.0, begin="r/t/1")
    beats.line(1, b"Timeout (0:00:05)!", 6.0)
    beats.line(1, b'  File "x.py", line 3 in node', 6.0)
    (silence,) = beats.silences(6.5)
    assert silence.blocked
    assert str(silence) == (
        "task process 7 on h has not reacted for 6 s: its code holds the interpreter lock or "
        "blocks the event loop; it runs r/t/1\nTimeout (0:00:05)!\n"
        '  File "x.py", line 3 in node\n'
    )
    (silence,) = beats.silences(20.0)
    assert not silence.blocked


def test_a_silence_is_reported_once():
    beats = known()
    assert len(beats.unreported(20.0)) == 1
    assert beats.unreported(21.0) == []
    told(beats, 22.0, beat={})
    assert beats.unreported(22.5) == []
    assert len(beats.unreported(40.0)) == 1


def test_a_process_is_ended_once_if_nothing_at_all_comes_from_it():
    beats = known(role="task")
    assert beats.stopped(1000.0, 60.0) == []  # nothing runs there
    told(beats, 1000.0, begin="r/t/1")
    beats.line(1, b"Timeout (0:00:05)!", 1030.0)  # it holds the interpreter lock, and lives
    assert beats.stopped(1089.0, 60.0) == []
    (silence,) = beats.stopped(1090.0, 60.0)
    assert (silence.process.pid, silence.seconds) == (7, 60.0)
    assert beats.stopped(1091.0, 60.0) == []


def test_an_attempt_is_overdue_some_time_behind_its_limit_and_once():
    beats = known(role="task")
    told(beats, 1.0, begin="r/t/1")
    told(beats, 1.0, limit="r/t/1", left=2.0)
    assert beats.overdue(3.0 + OVERDUE - 0.1) == []
    assert beats.overdue(3.0 + OVERDUE) == [Overdue("r/t/1", "")]
    assert beats.overdue(1000.0) == []


def test_progress_puts_a_limit_off_and_a_reached_one_is_not():
    beats = known(role="task")
    told(beats, 0.0, limit="r/t/1", left=2.0)
    told(beats, 1.0, beat={"r/t/1": 2.0})
    assert beats.overdue(2.0 + OVERDUE) == []
    told(beats, 3.0, beat={"r/t/1": -0.5})
    assert beats.overdue(3.0 + OVERDUE) == [Overdue("r/t/1", "")]


def test_an_attempt_that_went_with_its_process_had_reached_its_limit_or_not():
    beats = known(role="task")
    told(beats, 0.0, limit="r/t/1", left=2.0)
    told(beats, 0.0, limit="r/u/1", left=9.0)
    told(beats, 0.0, limit="r/v/1", left=2.0)
    told(beats, 1.5, beat={"r/v/1": 2.0})  # it made progress
    beats.gone(1)
    late = [name for name in ("r/t/1", "r/u/1", "r/v/1", "r/w/1") if beats.past_limit(name, 3.0)]
    assert late == ["r/t/1"]


def test_an_attempt_that_was_reported_as_overdue_stays_past_its_limit():
    beats = known(role="task")
    told(beats, 0.0, limit="r/t/1", left=2.0)
    assert not beats.past_limit("r/t/1", 1.9)
    beats.overdue(2.0 + OVERDUE)
    assert beats.past_limit("r/t/1", 2.0 + OVERDUE)


def test_an_attempt_that_has_ended_is_not_overdue():
    beats = known(role="task")
    told(beats, 0.0, limit="r/t/1", left=2.0)
    told(beats, 1.0, end="r/t/1")
    assert beats.overdue(1000.0) == []
