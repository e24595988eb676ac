"""A run as plain lines."""

from __future__ import annotations

import io

from distgraph.contract.progress import RetryScheduled
from distgraph.views.lines import LineView, plain
from distgraph.views.model import RunModel
from tests.views.test_model import ended, queued, started


def test_the_lines_of_a_run() -> None:
    out = io.StringIO()
    view, run = LineView(out), RunModel(100.0)
    view.begin("search", [["plan"], ["work", "look"], ["write"]])
    run.take(queued("p", 100.0, "plan"))
    run.take(started("p", 100.5))
    view.draw(run.snapshot(101.0))
    view.draw(run.snapshot(101.5))
    run.take(ended("p", 100.5, 1.5))
    for task in "abc":
        run.take(queued(task, 102.0))
    run.take(started("a", 102.0))
    view.draw(run.snapshot(102.0))
    run.take(ended("a", 102.0, 2.0, "error", error="ValueError: no"))
    run.take(RetryScheduled("a", ("work",), 1.0, 104.0))
    run.take(started("b", 104.0, pid=8, host="b"))
    view.draw(run.snapshot(104.5))
    run.take(ended("b", 104.0, 1.0, pid=8, host="b"))
    run.take(queued("a", 105.0, attempt=2))
    run.take(started("a", 105.0, attempt=2))
    run.take(ended("a", 105.0, 1.0, attempt=2))
    run.take(started("c", 106.0))
    run.take(ended("c", 106.0, 0.5))
    run.token("write", "1", "done", 106.5)
    run.finish("done", 107.0)
    view.end(run.snapshot(999.0))
    assert out.getvalue().splitlines() == [
        "[   0.0 s] search: plan → work | look → write",
        "[   1.0 s] plan: 0 of 1 done, 1 running",
        "[   2.0 s] plan: 1 of 1 done in 1.5 s",
        "[   2.0 s] work: 0 of 3 done, 1 running, 2 waiting for a free CPU",
        "[   4.5 s] work: retries in 0.5 s after ValueError: no",
        "[   7.0 s] work: 3 of 3 done in 4.5 s, 1 retry",
        "[   7.0 s] process 7 on a: plan ×1 in 1.5 s, work ×3 in 3.5 s",
        "[   7.0 s] process 8 on b: work ×1 in 1.0 s",
        "[   7.0 s] done in 7.0 s, 4 tasks, 2 processes on 2 machines, 1 retry, 1 token, "
        "6.0 s of work",
    ]


def test_names_and_errors_are_one_line_without_colours() -> None:
    assert plain("new\nline\t\x1b[31mred\x1b[0m\x07") == "new line red"
    out = io.StringIO()
    view, run = LineView(out), RunModel(100.0)
    view.begin("a\nb", [["new\nline"]])
    run.take(queued("a", 100.0, "new\nline"))
    run.take(started("a", 100.0))
    view.draw(run.snapshot(101.0))
    assert out.getvalue().splitlines() == [
        "[   0.0 s] a b: new line",
        "[   1.0 s] new line: 0 of 1 done, 1 running",
    ]


def test_an_interrupted_task_is_no_done_one() -> None:
    out = io.StringIO()
    view, run = LineView(out), RunModel(100.0)
    run.take(queued("a", 100.0))
    run.take(ended("a", 100.0, 1.0, "interrupt"))
    run.finish("interrupted", 101.0)
    view.end(run.snapshot(101.0))
    assert out.getvalue().splitlines()[0] == (
        "[   1.0 s] work: 0 of 1 done in 1.0 s, 1 interrupted"
    )


def test_a_wait_is_repeated_every_ten_seconds() -> None:
    out = io.StringIO()
    view, run = LineView(out), RunModel(100.0)
    run.take(queued("a", 100.0, resources={"GPU": 1}))
    for at in range(101, 123):
        view.draw(run.snapshot(float(at)))
    assert out.getvalue().splitlines() == [
        "[   1.0 s] work: 0 of 1 done, 0 running, 1 waiting for a free GPU",
        "[  11.0 s] work: 0 of 1 done, 0 running, 1 waiting for a free GPU",
        "[  21.0 s] work: 0 of 1 done, 0 running, 1 waiting for a free GPU",
    ]


def test_no_line_is_printed_into_a_line_of_text() -> None:
    out, text = io.StringIO(), io.StringIO()
    view, run = LineView(out, text), RunModel(100.0)
    view.token("Hello ")
    run.take(queued("a", 100.0))
    view.draw(run.snapshot(101.0))
    assert out.getvalue() == ""
    view.token("world")
    run.finish("done", 102.0)
    view.end(run.snapshot(102.0))
    assert text.getvalue() == "Hello world\n"
    assert out.getvalue().splitlines()[0] == "[   2.0 s] work: 0 of 1 done in 0.0 s, 1 cancelled"
