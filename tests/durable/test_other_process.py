"""What one process leaves on a thread, another one continues."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from langgraph.checkpoint.sqlite import SqliteSaver

from distgraph.types import Command
from tests.durable import errand

ROOT = Path(__file__).parents[2]


@pytest.fixture(params=["local", pytest.param("ray", marks=pytest.mark.ray)])
def start(request, tmp_path):
    """Starts the program in a process of its own; what is left of them is killed at the end."""
    started = []

    def run(what):
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.durable.errand", str(tmp_path / "db"), tmp_path, what],
            cwd=ROOT,
            env={**os.environ, "DISTGRAPH_BACKEND": request.param},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        started.append(process)
        return process

    yield run
    for process in started:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def open_saver(tmp_path):
    return SqliteSaver.from_conn_string(str(tmp_path / "db"))


def finished_tasks(tmp_path):
    """Return what the tasks of the running step have saved so far."""
    with open_saver(tmp_path) as saver:
        found = saver.get_tuple(errand.CONFIG)
    if found is None or found.metadata["step"] != 1:
        return set()
    return {v[0] for _, channel, v in found.pending_writes if channel == "log"}


def wait_for(condition, seconds=120.0):
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "it did not happen in time"
        time.sleep(0.05)


def times_run(folder, name):
    marks = folder / f"ran-{name}"
    return len(marks.read_text()) if marks.exists() else 0


@pytest.mark.timeout(400)
def test_a_killed_run_goes_on_where_it_was(start, tmp_path):
    killed = start("start")
    wait_for(lambda: (tmp_path / "db").exists())
    wait_for(lambda: finished_tasks(tmp_path) == {"a", "b"})
    wait_for(lambda: times_run(tmp_path, "c") == 1)
    killed.kill()
    killed.wait()
    second = start("go-on")
    wait_for(lambda: times_run(tmp_path, "c") == 2)
    (tmp_path / "go").touch()
    out, _ = second.communicate(timeout=150)
    assert out.strip().splitlines()[-1] == str({"log": ["in", "first", "a", "b", "c", "last"]})
    again = {name: times_run(tmp_path, name) for name in ("first", "a", "b", "c", "last")}
    assert again == {"first": 1, "a": 1, "b": 1, "c": 2, "last": 1}


@pytest.mark.timeout(400)
def test_eight_questions_are_answered_in_one_call_from_another_process(start, tmp_path, request):
    told, _ = start("ask").communicate(timeout=150)
    assert told.count("__interrupt__") == 8
    if start_backend(request) == "ray":
        request.getfixturevalue("ray_session")
    with open_saver(tmp_path) as saver:
        graph = errand.questions().compile(checkpointer=saver, backend=start_backend(request))
        pending = saver.get_tuple(errand.CONFIG).pending_writes
        open_questions = [
            q for _, channel, found in pending if channel == "__interrupt__" for q in found
        ]
        answers = {question.id: question.value.upper() for question in open_questions}
        assert len(answers) == 8
        result = graph.invoke(Command(resume=answers), errand.CONFIG)
    assert result == {"log": [f"ask{n}: ASK{n}" for n in range(8)]}


def start_backend(request):
    return request.node.callspec.params["start"]
