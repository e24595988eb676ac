"""The live view in a terminal, read from the screen of a pseudo-terminal."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pyte
import pytest

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

    def __init__(self, *command: str, lines: int = 24, columns: int = 100) -> None:
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
        }
        self.process = subprocess.Popen(
            command, stdin=write, stdout=write, stderr=write, env=environment, cwd=ROOT
        )
        os.close(write)

    def until(self, shown: Callable[[list[str]], bool], seconds: float = 60) -> list[str]:
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
    assert terminal.process.wait(timeout=30) == 0
    assert "chunk {'slow': {'x': 2}}" in lines
    (title,) = (n for n, line in enumerate(lines) if line.startswith("demo  "))
    assert " · done · 1 process on 1 machine" in lines[title]
    assert [line.split()[0] for line in lines[title + 2 : title + 4]] == ["quick", "slow"]
    assert [line.split()[2] for line in lines[title + 2 : title + 4]] == ["1/1", "1/1"]
    assert lines[-1].endswith("quick ×1, slow ×1")
    assert terminal.background("slow") == "default"
