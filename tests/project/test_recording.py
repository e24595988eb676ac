"""The animation that the recording of two runs is drawn as."""

from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

from benchmarks.recording import PAUSE, Call, Recorded, animation

SVG = "{http://www.w3.org/2000/svg}"
KEPT = Path(__file__).parents[2] / "docs" / "images" / "recording.svg"

SLOW = Recorded("slow <1>", 20.0, (Call("search", 0.0, 10.0), Call("model", 10.0, 20.0)), (19.0,))
FAST = Recorded("fast", 5.0, (Call("search", 0.0, 5.0),), (4.0, 5.0))


def test_both_runs_are_shown_on_one_clock() -> None:
    image = ElementTree.fromstring(animation([SLOW, FAST], seconds=17.0))
    calls = [r for r in image.iter(f"{SVG}rect") if r.get("class") == "call"]
    assert [(r.get("x"), r.get("width")) for r in calls] == [
        ("10.0", "215.0"),
        ("225.0", "215.0"),
        ("460.0", "107.5"),
    ]
    moves = [r.find(f"{SVG}animate") for r in calls]
    # 20 s are shown in 17 s, and the pause makes the whole 20 s again
    assert PAUSE == 3.0
    assert [m.get("keyTimes") for m in moves if m is not None] == [
        "0;0.0000;0.4250;1",
        "0;0.4250;0.8500;1",
        "0;0.0000;0.2125;1",
    ]
    assert {m.get("dur") for m in moves if m is not None} == {"20s"}
    done = [t for t in image.iter(f"{SVG}text") if t.get("class") == "done"]
    assert [t.text for t in done] == ["done in 20.0 s, 1 tokens", "done in 5.0 s, 2 tokens"]


def test_the_clock_ends_with_the_longest_run() -> None:
    image = ElementTree.fromstring(animation([SLOW, FAST], seconds=17.0))
    clock = [t for t in image.iter(f"{SVG}text") if t.get("class") == "clock"]
    assert (clock[0].text, clock[1].text, clock[-1].text) == ("0.0 s", "0.6 s", "20.0 s")
    # without animation, an image shows the end
    assert [t.text for t in clock if t.get("opacity") is None] == ["20.0 s"]


def test_the_recording_of_the_documentation_is_one_small_image_of_both_engines() -> None:
    text = KEPT.read_text(encoding="utf-8")
    assert len(text) < 1_000_000
    titles = [t.text for t in ElementTree.fromstring(text).iter(f"{SVG}text")]
    assert "LangGraph: 1 process" in titles
    assert any(t is not None and t.startswith("distgraph: ") for t in titles)
    assert "http" not in text.replace("http://www.w3.org/2000/svg", "")
