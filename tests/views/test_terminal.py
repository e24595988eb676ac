"""The live view in a terminal, read from the screen of a pseudo-terminal."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyte
import pytest
from rich.console import Console

from distgraph.views.model import RunModel
from distgraph.views.terminal import picture
from tests.views.test_model import ended, queued, started

ROOT = Path(__file__).parents[2]

PROGRAM = """
import os, pathlib, sys, time
from typing import TypedDict
import distgraph
from distgraph.graph import START, StateGraph

class State(TypedDict):
    x: int

def quick(state):
    return {"x": 1}

def slow(state):
    gate = pathlib.Path(sys.argv[1])
    while not gate.exists():
        time.sleep(0.01)
    return {"x": 2}

builder = StateGraph(State).add_node(quick).add_node(slow)
builder.add_edge(START, "quick").add_edge("quick", "slow")
graph = builder.compile(name="demo")
for chunk in distgraph.progress(graph.stream({"x": 0}, stream_mode="updates")):
    print("chunk", chunk)
"""


class Terminal:
    """A program on a pseudo-terminal, and its screen."""

    def __init__(
        self, *command: str, lines: int = 24, columns: int = 100, **variables: str
    ) -> None:
        self.screen = pyte.Screen(columns, lines)
        self._stream = pyte.ByteStream(self.screen)
        self._read, write = pty.openpty()
        environment = {k: v for k, v in os.environ.items() if k not in ("NO_COLOR", "CI")}
        environment |= {
            "DISTGRAPH_BACKEND": "local",
            "PYTHONPATH": str(ROOT),
            "TERM": "xterm-256color",
            "COLUMNS": str(columns),
            "LINES": str(lines),
            **variables,
        }
        self.process = subprocess.Popen(
            command, stdin=write, stdout=write, stderr=write, env=environment, cwd=ROOT
        )
        os.close(write)

    def until(self, shown: Callable[[list[str]], bool], seconds: float = 280) -> list[str]:
        """Read until the screen is as wanted, or the program has ended; return its lines."""
        end = time.monotonic() + seconds
        while not shown(self.lines()):
            assert time.monotonic() < end, "\n".join(self.lines())
            try:
                self._stream.feed(os.read(self._read, 65536))
            except OSError:  # the program has ended
                break
        return self.lines()

    def lines(self) -> list[str]:
        return [line.rstrip() for line in self.screen.display if line.strip()]

    def background(self, word: str) -> str:
        """Return the background colour of a word in the line of the graph."""
        for row, line in enumerate(self.screen.display):
            if "→" in line and word in line:
                return str(self.screen.buffer[row][line.index(word)].bg)
        raise AssertionError(f"no graph with {word!r}")

    def close(self) -> None:
        self.process.kill()
        self.process.wait()
        os.close(self._read)


@pytest.fixture
def gate(tmp_path: Path) -> Path:
    return tmp_path / "gate"


@pytest.fixture
def terminal(tmp_path: Path, gate: Path) -> Iterator[Terminal]:
    script = tmp_path / "program.py"
    script.write_text(PROGRAM, encoding="utf-8")
    opened = Terminal(sys.executable, str(script), str(gate))
    yield opened
    opened.close()


def test_the_screen_shows_the_running_node_and_then_the_end(terminal: Terminal, gate: Path) -> None:
    def slow_runs(lines: list[str]) -> bool:
        return any(line.startswith("slow") and "1 running" in line for line in lines)

    lines = terminal.until(slow_runs)
    chunk = lines.index("chunk {'quick': {'x': 1}}")
    title = next(n for n, line in enumerate(lines) if line.startswith("demo  "))
    assert chunk < title, "what the program prints is above the view"
    assert "running" in lines[title] and "1 process on 1 machine" in lines[title]
    assert lines[title + 1].split() == ["quick", "→", "slow"]
    assert terminal.background("slow") == "green"
    assert terminal.background("quick") == "default"

    gate.touch()
    lines = terminal.until(lambda _: False)
    assert terminal.process.wait(timeout=280) == 0
    assert "chunk {'slow': {'x': 2}}" in lines
    (title,) = (n for n, line in enumerate(lines) if line.startswith("demo  "))
    assert " · done · 1 process on 1 machine" in lines[title]
    assert [line.split()[0] for line in lines[title + 2 : title + 4]] == ["quick", "slow"]
    assert [line.split()[2] for line in lines[title + 2 : title + 4]] == ["1/1", "1/1"]
    assert lines[-1].endswith("quick ×1, slow ×1")
    assert terminal.background("slow") == "default"


ON_RAY = """
import operator, pathlib, sys, time
from typing import Annotated, TypedDict
import distgraph
from distgraph.graph import START, StateGraph
from distgraph.types import Send

gate = pathlib.Path(sys.argv[1])

class State(TypedDict, total=False):
    lengths: Annotated[list, operator.add]

def measure_the_length_of_a_word(word):
    print("measuring", word, flush=True)
    while not gate.exists():
        time.sleep(0.01)
    return {"lengths": [len(word)]}

builder = StateGraph(State).add_node("measure", measure_the_length_of_a_word)
words = ["one", "three"]
builder.add_conditional_edges(START, lambda state: [Send("measure", w) for w in words], ["measure"])
graph = builder.compile(name="lengths")
distgraph.connect()
print("its model: none", flush=True)
for chunk in distgraph.progress(graph.stream({})):
    print("chunk", chunk)
"""


@pytest.mark.ray
@pytest.mark.programs
def test_on_ray_a_wide_screen_has_whole_lines(tmp_path: Path, gate: Path) -> None:
    script = tmp_path / "program.py"
    script.write_text(ON_RAY, encoding="utf-8")
    program = sys.executable, str(script), str(gate)
    terminal = Terminal(*program, columns=200, DISTGRAPH_BACKEND="ray", RAY_ADDRESS="local")
    try:

        def runs(lines: list[str]) -> bool:
            return any(line.startswith("measure ") and " running" in line for line in lines)

        lines = terminal.until(runs)
        assert lines[:2] == ["distgraph: starting a local Ray …", "its model: none"]
        (title,) = (n for n, line in enumerate(lines) if line.startswith("lengths  "))
        started = next(n for n, line in enumerate(lines) if "started a local Ray (" in line)
        assert started < title, "a status line is above the view"
        assert lines[title + 1].strip() == "measure"
        gate.touch()
        lines = terminal.until(lambda _: False)
        assert terminal.process.wait(timeout=280) == 0
    finally:
        terminal.close()
    (title,) = (n for n, line in enumerate(lines) if line.startswith("lengths  "))
    assert " · done · " in lines[title]
    assert lines[title + 2].split()[0::2][:2] == ["measure", "2/2"]
    assert sum(line.startswith("chunk {'measure': {'lengths': [") for line in lines) == 2
    printed = [line for line in lines if "measuring" in line]
    assert printed and all(line.startswith("(nodes pid=") for line in printed)


def shown(run: RunModel, ranks: Any = (), lines: int | None = None) -> list[str]:
    """The lines of a picture, without a terminal."""
    console = Console(width=70, color_system=None, force_terminal=False)
    with console.capture() as captured:
        console.print(picture("demo", ranks, run.snapshot(102.0), lines=lines))
    return [line.rstrip() for line in captured.get().splitlines()]


def test_many_tasks_of_a_node_in_a_process_are_one_entry() -> None:
    run = RunModel(100.0)
    for task in range(500):
        run.take(queued(str(task), 100.0))
        run.take(started(str(task), 100.0))
    assert shown(run)[-1] == "a/7 1000.0 s work ×500"


def test_a_terminal_with_few_lines_shows_the_nodes_that_go_on() -> None:
    run = RunModel(100.0)
    for number in range(30):
        run.take(queued(str(number), 100.0, f"n{number:02}"))
        run.take(started(str(number), 100.0))
        if number != 20:
            run.take(ended(str(number), 100.0, 1.0))
    few = [line.split()[0] for line in shown(run, lines=12)]
    assert few[1:7] == ["n20", "n27", "n28", "n29", "and", "a/7"]
    assert shown(run, lines=12)[-1].split() == ["×1,", "n07", "×1,", "21", "more", "nodes"]
    assert len([line for line in shown(run) if line.startswith("n")]) == 30


NESTED = """
import sys
from typing import TypedDict
import distgraph
from distgraph.graph import START, StateGraph

class State(TypedDict):
    x: int

def quick(state):
    return {"x": 1}

graph = StateGraph(State).add_node(quick).add_edge(START, "quick").compile(name="demo")
for _ in distgraph.progress(graph.stream({"x": 0})):
    for _ in distgraph.progress(graph.copy({"name": "second"}).stream({"x": 0})):
        pass
"""


def test_a_second_view_prints_lines_above_the_picture_of_the_first(tmp_path: Path) -> None:
    script = tmp_path / "nested.py"
    script.write_text(NESTED, encoding="utf-8")
    opened = Terminal(sys.executable, str(script))
    try:
        lines = opened.until(lambda _: False)
        assert opened.process.wait(timeout=280) == 0
    finally:
        opened.close()
    assert lines[0] == "[   0.0 s] second: quick"
    ends = [n for n, line in enumerate(lines) if "] done in " in line]
    pictures = [n for n, line in enumerate(lines) if line.startswith("demo  ")]
    assert len(ends) == len(pictures) == 1
    assert ends[0] < pictures[0]
    assert " · done · " in lines[pictures[0]]
