"""The timeline of recorded attempts, as SVG, HTML and Chrome trace."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from xml.etree import ElementTree

import pytest

from distgraph.contract.progress import AttemptEnded
from distgraph.views.model import Attempt
from distgraph.views.timelines import Bar, Row, Step, Timeline
from tests.views.test_model import ended, model, queued, started

SVG = "{http://www.w3.org/2000/svg}"


def attempts() -> list[Attempt]:
    run = model(
        queued("p", 100.0, "plan <1>"),
        started("p", 101.0),
        ended("p", 101.0, 1.0),
        *(queued(task, 102.0, step=2) for task in "abc"),
        started("a", 102.0),
        started("b", 102.5, pid=8, host="b"),
        ended("a", 102.0, 2.0, "error", error="ValueError: no"),
        started("c", 104.0),
        AttemptEnded("b", 1, "lost", 106.0),
    )
    return run.attempts


def test_a_row_for_each_process_and_a_bar_for_each_attempt() -> None:
    timeline = Timeline.of(attempts(), begin=100.0, now=108.0)
    assert timeline.length == 8.0
    assert timeline.rows == (
        Row(
            "a",
            7,
            0,
            (
                Bar("plan <1>", 1.0, 2.0, 0.0, "ok", 1, "p"),
                Bar("work", 2.0, 4.0, 2.0, "error", 1, "a", "ValueError: no"),
                Bar("work", 4.0, 8.0, 2.0, "running", 1, "c"),
            ),
        ),
        Row("b", 8, 0, (Bar("work", 2.5, 6.0, 2.0, "lost", 1, "b"),)),
    )
    assert timeline.steps == (Step(1, 0.0, 2.0), Step(2, 2.0, 8.0))
    assert timeline.waiting == ((0.0, 1), (1.0, 0), (2.0, 2), (2.5, 1), (4.0, 0))


def test_attempts_at_the_same_time_in_one_process_have_lanes() -> None:
    run = model(
        *(queued(task, 100.0) for task in "abc"),
        started("a", 100.0),
        started("b", 101.0),
        ended("a", 100.0, 2.0),
        started("c", 102.0),
        ended("b", 101.0, 3.0),
        ended("c", 102.0, 1.0),
    )
    rows = Timeline.of(run.attempts).rows
    assert [(r.lane, [b.task_id for b in r.bars]) for r in rows] == [(0, ["a", "c"]), (1, ["b"])]


def test_the_svg_is_one_image_with_every_bar_step_and_wait() -> None:
    timeline = Timeline.of(attempts(), title="a & b", begin=100.0, now=108.0)
    image = ElementTree.fromstring(timeline.svg())
    rectangles = [r for r in image.iter(f"{SVG}rect") if r.get("class") == "attempt"]
    scale = 760 / 8.0
    assert [(r.get("x"), r.get("width")) for r in rectangles] == [
        (str(190 + 1.0 * scale), str(1.0 * scale)),
        (str(190 + 2.0 * scale), str(2.0 * scale)),
        (str(190 + 4.0 * scale), str(4.0 * scale)),
        (str(190 + 2.5 * scale), str(3.5 * scale)),
    ]
    titles = [r.findtext(f"{SVG}title") for r in rectangles]
    assert titles[0] == "plan <1>, attempt 1: ok, 1.000 s, waited 1.000 s"
    assert titles[1] == "work, attempt 1: error, 2.000 s, waited 0.000 s\nValueError: no"
    assert [r.get("fill") for r in rectangles[1::2]] == ["#d62728", "#d62728"]
    steps = [g.findtext(f"{SVG}text") for g in image.iter(f"{SVG}g")]
    assert steps == ["step 1", "step 2"]
    waits = [r for r in image.iter(f"{SVG}rect") if r.get("class") == "waiting"]
    counts = [r.findtext(f"{SVG}title") for r in waits]
    assert counts == ["1 waiting", "2 waiting", "1 waiting"]
    names = [t.text for t in image.iter(f"{SVG}text") if t.get("class") == "process"]
    assert names == ["a/7", "b/8"]
    assert "http" not in timeline.html().replace("http://www.w3.org/2000/svg", "")


def test_colours_of_an_error_s_text_leave_the_svg_an_image() -> None:
    run = model(queued("a", 100.0), ended("a", 100.0, 1.0, "error", error="\x1b[31mno\x00"))
    image = ElementTree.fromstring(Timeline.of(run.attempts).svg())
    (bar,) = (r for r in image.iter(f"{SVG}rect") if r.get("class") == "attempt")
    assert "no" in (bar.findtext(f"{SVG}title") or "").splitlines()[1]


def test_rows_of_many_attempts_at_once_are_thin() -> None:
    events = [
        event
        for task in range(500)
        for event in (queued(str(task), 100.0), ended(str(task), 100.0, 1.0))
    ]
    image = ElementTree.fromstring(Timeline.of(model(*events).attempts).svg())
    assert float(image.get("height", "0")) < 1400
    bars = [r for r in image.iter(f"{SVG}rect") if r.get("class") == "attempt"]
    assert len(bars) == 500
    assert {r.get("height") for r in bars} == {"1.92"}


def test_labels_of_many_supersteps_do_not_cover_each_other() -> None:
    events = [
        event
        for step in range(100)
        for event in (
            queued(f"t{step}", 100.0 + step, step=step),
            ended(f"t{step}", 100.0 + step, 1.0),
        )
    ]
    image = ElementTree.fromstring(Timeline.of(model(*events).attempts).svg())
    groups = [g for g in image.iter(f"{SVG}g") if g.get("class") == "step"]
    shown = [t for g in groups if (t := g.find(f"{SVG}text")) is not None]
    places = [float(t.get("x", "0")) for t in shown]
    assert len(groups) == 100
    assert min(b - a for a, b in pairwise(places)) >= 44
    assert len(shown) > 10


def test_the_chrome_trace_has_processes_bars_steps_and_waits() -> None:
    trace = Timeline.of(attempts(), title="t", begin=100.0, now=108.0).chrome_trace()
    events = json.loads(json.dumps(trace))["traceEvents"]
    names = {e["pid"]: e["args"]["name"] for e in events if e["name"] == "process_name"}
    assert names == {0: "run t", 1: "a/7", 2: "b/8"}
    bars = [(e["name"], e["pid"], e["ts"], e["dur"]) for e in events if e["ph"] == "X"]
    assert bars == [
        ("step 1", 0, 0, 2_000_000),
        ("step 2", 0, 2_000_000, 6_000_000),
        ("plan <1>", 1, 1_000_000, 1_000_000),
        ("work", 1, 2_000_000, 2_000_000),
        ("work", 1, 4_000_000, 4_000_000),
        ("work", 2, 2_500_000, 3_500_000),
    ]
    assert [(e["ts"], e["args"]["attempts"]) for e in events if e["ph"] == "C"] == [
        (0, 1),
        (1_000_000, 0),
        (2_000_000, 2),
        (2_500_000, 1),
        (4_000_000, 0),
    ]
    failed = next(e for e in events if e.get("args", {}).get("status") == "error")
    assert failed["args"] == {
        "status": "error",
        "attempt": 1,
        "task_id": "a",
        "waited_s": 0.0,
        "error": "ValueError: no",
    }


def test_an_empty_run_has_a_timeline() -> None:
    timeline = Timeline.of([])
    assert (timeline.rows, timeline.length) == ((), 0.0)
    ElementTree.fromstring(timeline.svg())


def test_the_suffix_of_a_file_is_its_format(tmp_path: Path) -> None:
    timeline = Timeline.of(attempts())
    for suffix, beginning in ((".svg", "<svg"), (".html", "<!doctype html>"), (".json", "{")):
        timeline.save(tmp_path / f"run{suffix}")
        assert (tmp_path / f"run{suffix}").read_text().startswith(beginning)
    with pytest.raises(ValueError, match=r"'run.png': a timeline is saved as .svg, .html or .json"):
        timeline.save(tmp_path / "run.png")
