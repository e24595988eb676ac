"""Ray is started by the first run, wherever that is."""

import os
import pathlib
import subprocess
import sys

import pytest

pytestmark = pytest.mark.ray

ROOT = pathlib.Path(__file__).parents[2]


def test_a_ray_that_a_short_lived_thread_started_outlives_it():
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    env.pop("RAY_ADDRESS", None)
    done = subprocess.run(
        [sys.executable, str(pathlib.Path(__file__).with_name("first_in_a_thread.py"))],
        env=env,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=80,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == [
        "{'n': 1}",
        *(str([{"n": i + 1} for i in range(size)]) for size in (1, 3, 8, 2, 1, 5)),
        "[{'n': 1}, {'n': 2}, {'n': 3}]",
        "{'n': 10}",
        "{'-1'}",  # ports of the dashboard's agent
        "[]",
    ]
    assert "Traceback" not in done.stderr
