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


def test_time_in_which_a_process_waits_for_a_cpu_does_not_count_but_for_a_quarter() -> None:
    at = 0.0

    def waited(pid: int | None) -> float:
        assert pid == 7
        return at

    silence = Silence(starts=60.0, stopped=5.0, waited=waited)
    assert silence.look(0.0, there) is None
    silence.answered(0.0, 7)
    silence.look(1.0, there)
    looks = []
    for at in (2.0, 3.0, 4.0, 5.0):  # it waits all the time
        looks.append(silence.look(at, there))
    assert looks == [1.0, 1.25, 1.5, 1.75]
    assert silence.look(6.0, there) == 2.75


def test_a_start_on_a_machine_without_free_cpus_has_more_time() -> None:
    at = 0.0

    def waited(pid: int | None) -> float:
        assert pid is None
        return at

    silence = Silence(starts=60.0, stopped=5.0, waited=waited)
    assert silence.look(0.0, there) is None
    looks = []
    for at in map(float, range(1, 242)):
        looks.append(silence.look(at, there))
    assert looks[:237] == [0.0] * 237
    assert looks[237:] == [0.25, 0.5, 0.75, 1.0]
