"""Status lines: where they appear, what they say, and how they are silenced."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest

from distgraph import status

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def fresh(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DISTGRAPH_STATUS", raising=False)
    monkeypatch.setattr(status, "_wanted", None)
    monkeypatch.setattr(status, "_noted", set())
    monkeypatch.setattr(status, "_steps", {})


def test_nothing_is_shown_where_standard_error_is_no_terminal(capsys) -> None:
    status.note("a line")
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("how", ["variable", "function"])
def test_a_line_is_shown_elsewhere_on_request(how: str, capsys, monkeypatch) -> None:
    if how == "variable":
        monkeypatch.setenv("DISTGRAPH_STATUS", "on")
    else:
        status.show_status(True)
    status.note("a line")
    assert capsys.readouterr().err == "distgraph: a line\n"


@pytest.mark.parametrize("how", ["variable", "function"])
def test_a_terminal_shows_no_line_where_they_are_off(how: str, capsys, monkeypatch) -> None:
    monkeypatch.setattr(status, "_is_terminal", lambda: True)
    if how == "variable":
        monkeypatch.setenv("DISTGRAPH_STATUS", "off")
    else:
        status.show_status(False)
    status.note("a line")
    assert capsys.readouterr().err == ""


def test_a_line_is_shown_once(capsys) -> None:
    status.show_status(True)
    for _ in range(3):
        status.note("a line")
    assert capsys.readouterr().err == "distgraph: a line\n"


def test_what_a_program_prints_stands_between_the_start_and_the_result(capsys, monkeypatch) -> None:
    monkeypatch.setattr(status, "_is_terminal", lambda: True)
    status.started("ray", "starting a local Ray")
    status.started("ray", "starting a local Ray")  # the same step
    print("Its model: none", file=sys.stderr)
    status.ended("ray", "started a local Ray (2 CPUs)")
    status.ended("ray", None)  # it has ended
    shown = capsys.readouterr().err
    assert re.fullmatch(
        r"distgraph: starting a local Ray …\nIts model: none\n"
        r"distgraph: started a local Ray \(2 CPUs\) … 0\.\d s\n",
        shown,
    )


@pytest.mark.parametrize("address", [None, "local"])
def test_a_first_line_comes_before_ray_is_imported(address: str | None) -> None:
    """The program is stopped before the import: what the terminal shows by then is the line."""
    code = (
        "import sys\n"
        "class Stop:\n"
        "    def find_spec(self, name, path=None, target=None):\n"
        "        if name in ('ray', 'actors'): raise SystemExit(3)\n"
        "sys.meta_path.insert(0, Stop())\n"
        "from distgraph import START, StateGraph\n"
        "StateGraph(dict).add_node('n', len).add_edge(START, 'n').compile().invoke({})\n"
    )
    ours, theirs = pty.openpty()
    environment = {k: v for k, v in os.environ.items() if k != "DISTGRAPH_BACKEND"}
    environment.pop("RAY_ADDRESS", None)
    environment |= {} if address is None else {"RAY_ADDRESS": address}
    environment["PYTHONPATH"] = str(ROOT)
    done = subprocess.run([sys.executable, "-c", code], env=environment, stderr=theirs)
    os.close(theirs)
    shown = os.read(ours, 4096).decode()
    os.close(ours)
    assert done.returncode == 3
    assert shown == "distgraph: starting a local Ray …\r\n"


MACHINES = [{"CPU": 4.0, "memory": 100.0}, {"CPU": 8.0, "GPU": 1.0, "big": 2.0}]


@pytest.mark.parametrize(
    ("demand", "told"),
    [
        ({"CPU": 1}, None),
        ({"CPU": 8, "GPU": 1}, None),
        ({"CPU": 0, "TPU": 0}, None),
        ({"TPU": 1}, "TPU 1: no machine has one"),
        ({"CPU": 1, "GPU": 2}, "GPU 2: no machine has more than 1"),
        ({"CPU": 16}, "CPU 16: no machine has more than 8"),
        ({"GPU": 1, "memory": 50}, "GPU 1, memory 50: no machine has all of it"),
    ],
)
def test_what_no_machine_has_is_named(demand: dict[str, float], told: str | None) -> None:
    assert status.lacking(demand, MACHINES) == told


def test_without_machines_nothing_is_there() -> None:
    assert status.lacking({"CPU": 1}, []) == "CPU 1: no machine has one"


def test_the_size_of_a_cluster_in_words() -> None:
    assert status.cluster_size(3, 24.0, 2.0) == "3 machines, 24 CPUs, 2 GPUs"
    assert status.cluster_size(1, 1.0, 0.0) == "1 machine, 1 CPU"
