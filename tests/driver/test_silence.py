"""For how long a process has given no sign of life."""

from __future__ import annotations

from distgraph.driver.silence import Silence


def there(pid: int) -> bool:
    return True


def gone(pid: int) -> bool:
    return False


def asked(now: float) -> Silence:
    silence = Silence(starts=60.0, stopped=5.0)
    assert silence.look(now, there) is None
    return silence


def test_the_time_of_a_start_does_not_count() -> None:
    silence = asked(0.0)
    assert [silence.look(float(now), there) for now in range(1, 63)] == [*[0.0] * 60, 1.0, 2.0]


def test_a_process_that_has_answered_has_no_time_to_start() -> None:
    silence = asked(0.0)
    silence.answered(0.0, 7)
    assert (silence.pid, silence.seen) == (7, 0.0)
    assert silence.look(1.0, there) is None
    assert [silence.look(now, there) for now in (2.0, 4.0)] == [1.0, 3.0]


def test_one_that_is_gone_has_the_time_to_be_started_again() -> None:
    silence = asked(0.0)
    silence.answered(0.0, 7)
    silence.look(1.0, there)
    assert [silence.look(now, there) for now in (2.0, 4.0)] == [1.0, 3.0]
    assert [silence.look(float(now), gone) for now in range(5, 67)] == [*[0.0] * 61, 1.0]
    assert silence.pid is None


def test_time_without_a_look_does_not_count() -> None:
    silence = asked(0.0)
    silence.answered(0.0, 7)
    silence.look(1.0, there)
    assert silence.look(100.0, there) == 0.0
    assert silence.look(101.0, there) == 1.0


def test_of_the_time_between_two_looks_that_come_late_two_seconds_count() -> None:
    silence = asked(0.0)
    silence.answered(0.0, 7)
    silence.look(1.0, there)
    looks = (5.0, 6.0, 10.0, 15.0, 16.0)
    assert [silence.look(now, there) for now in looks] == [2.0, 3.0, 5.0, 7.0, 8.0]


def test_an_answer_to_an_earlier_question_is_none() -> None:
    silence = asked(0.0)
    silence.ended()
    assert silence.look(1.0, there) is None
    silence.answered(0.0, 7)
    assert (silence.pid, silence.seen) == (None, float("-inf"))
    silence.answered(1.0, None)
    assert silence.seen == float("-inf")
    assert silence.look(2.0, there) is None
