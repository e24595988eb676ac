"""Which time counts for another process, and how long a process has waited for a CPU."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from distgraph.concurrency.cpu_waits import cpu_waits
from distgraph.concurrency.patience import Patience, Question, attended


def test_all_time_counts_of_a_process_that_waits_for_no_cpu() -> None:
    patience = Patience(0.0)
    assert [patience.look(now, 5.0) for now in (1.0, 2.0, 3.0)] == [1.0, 2.0, 3.0]
    assert [patience.look(now) for now in (4.0, 5.0)] == [4.0, 5.0]


def test_time_in_which_it_waits_for_a_cpu_does_not_count_but_for_a_quarter() -> None:
    patience = Patience(0.0, 5.0)
    assert patience.look(1.0, 5.5) == 0.5
    assert patience.look(2.0, 30.0) == 0.75
    assert patience.look(3.0, 30.0) == 1.75


def test_what_is_not_known_is_not_left_out() -> None:
    patience = Patience(0.0, 5.0)
    assert [patience.look(1.0), patience.look(2.0, 9.0), patience.look(3.0, 9.5)] == [1.0, 2.0, 2.5]


def test_two_seconds_between_two_looks_count_at_most() -> None:
    patience = Patience(0.0, 0.0)
    assert [patience.look(100.0, 0.0), patience.look(101.0, 0.0)] == [2.0, 3.0]


def test_a_question_is_over_at_its_bound_and_each_one_has_its_own_time() -> None:
    question = Question()
    question.bound = 3.0
    assert not question.is_over(100.0)
    question.asked = 100.5
    assert [question.is_over(now) for now in (101.0, 102.0, 103.0)] == [False, False, False]
    question.asked = 103.2
    assert [question.is_over(now) for now in (104.0, 105.0, 106.0)] == [False, False, False]
    assert question.is_over(106.2)


def test_a_question_to_a_process_without_a_cpu_is_over_later() -> None:
    question = Question()
    question.asked, question.bound = 0.0, 3.0
    looks = [question.is_over(float(now), float(now)) for now in range(1, 13)]
    assert looks == [False] * 8 + [True] * 4  # the first second, and a quarter of each other


def test_a_clock_leaves_out_the_time_in_which_nobody_asks() -> None:
    at = iter([10.0, 11.0, 12.5, 112.5, 112.25, 113.0])
    clock = attended(lambda: next(at))
    assert [clock() for _ in range(5)] == [11.0, 12.5, 14.5, 14.5, 15.25]


LINUX = pytest.mark.skipif(sys.platform != "linux", reason="the figures are those of Linux")


@LINUX
def test_a_stopped_process_waits_for_no_cpu() -> None:
    with subprocess.Popen(["sleep", "60"]) as process:
        try:
            os.kill(process.pid, signal.SIGSTOP)
            os.waitpid(process.pid, os.WUNTRACED)  # it may run on for a moment
            waited = cpu_waits(process.pid)
            assert waited is not None
            assert cpu_waits(process.pid) == waited
        finally:
            process.kill()


@LINUX
def test_a_process_that_is_gone_has_no_figure() -> None:
    with subprocess.Popen(["true"]) as process:
        process.wait()
    assert cpu_waits(process.pid) is None


@LINUX
def test_processes_that_want_one_cpu_wait_for_it() -> None:
    code = "import os; os.sched_setaffinity(0, {0}); print(flush=True)\nwhile True: pass"
    busy = [
        subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) for _ in range(2)
    ]
    try:
        for process in busy:
            assert process.stdout is not None
            process.stdout.readline()
        before = [cpu_waits(process.pid) or 0.0 for process in busy]
        while any((cpu_waits(p.pid) or 0.0) < b + 0.05 for p, b in zip(busy, before, strict=True)):
            pass
    finally:
        for process in busy:
            process.kill()
            process.wait()
            assert process.stdout is not None
            process.stdout.close()
