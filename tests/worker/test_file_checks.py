"""When a worker process is looked at for damaged files."""

from distgraph.worker.file_checks import PAUSE, Looks


def test_a_process_is_looked_at_before_code_of_another_run():
    looks = Looks()
    begun = [(run, looks.begins(run, now)) for now, run in enumerate("aaabba")]
    assert begun == [
        ("a", False),
        ("a", False),
        ("a", False),
        ("b", True),
        ("b", False),
        ("a", True),
    ]


def test_a_process_that_rests_is_looked_at_once():
    looks = Looks()
    assert not looks.is_due and not looks.rests(0.0)
    looks.begins("a", 1.0)
    assert looks.is_due
    assert looks.rests(2.0)
    assert not looks.is_due and not looks.rests(3.0)
    assert not looks.begins("b", 4.0)  # nothing of another run has begun since the look


def test_while_code_is_at_work_a_process_is_looked_at_at_intervals():
    looks = Looks()
    times = [number * PAUSE / 4 for number in range(9)]
    begun = [looks.begins(f"run {at % 2}", now, alone=False) for at, now in enumerate(times)]
    assert begun == [True, False, False, False, True, False, False, False, True]
    assert looks.begins("run 1", times[-1])  # alone again: that of run 0 has just ended


def test_code_of_one_run_that_has_begun_since_the_look_is_looked_for_at_the_next():
    looks = Looks()
    assert looks.begins("a", 0.0, alone=False)
    assert not looks.begins("b", PAUSE / 2, alone=False)
    assert looks.begins("b", PAUSE / 2)
    assert not looks.begins("b", PAUSE / 2)
