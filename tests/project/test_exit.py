"""A program that has come to its end is over, whatever it has left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

WAYS = [
    "the_end",
    "a_break",
    "left_open",
    "left_open_in_a_cycle",
    "left_open_on_a_loop",
    "left_open_at_the_end_of_a_loop",
    "readers_in_daemon_threads",
    "interrupted_batch",
    "timed_out",
]

ON_RAY = ["left_open_of_all_kinds", "interrupted_batch"]
"""Each takes seconds: the start of a Ray of its own."""


def end(backend: str, way: str, seconds: float = 100) -> tuple[int, list[str], str]:
    """Run a program of ``exits.py``: its exit code, its lines, and its standard error.

    Raises: AssertionError, where it has not ended after ``seconds``.
    """
    env = {**os.environ, "PYTHONPATH": str(ROOT), "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0"}
    env.pop("RAY_ADDRESS", None)
    with subprocess.Popen(
        [sys.executable, "-X", "faulthandler", "-m", "tests.project.exits", backend, way],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=ROOT,
        env=env,
        text=True,
    ) as program:
        try:
            out, err = program.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            program.send_signal(signal.SIGABRT)  # faulthandler: where its threads are
            out, err = program.communicate()
            raise AssertionError(f"{way} on {backend} does not end: {out}\n{err}") from None
    return program.returncode, out.splitlines(), err


@pytest.mark.parametrize("way", WAYS)
def test_a_program_ends(way: str) -> None:
    code, lines, err = end("local", way)
    assert (code, lines) == (0, ["last line"]), err


def test_an_error_in_the_loop_ends_the_program() -> None:
    code, lines, err = end("local", "an_error_in_the_loop")
    assert (code, lines) == (1, [])
    assert err.splitlines()[-1] == "LookupError: of the caller"


@pytest.mark.skipif(
    (3, 12) <= sys.version_info < (3, 12, 2),
    reason="no thread starts there at the end",
)
def test_a_program_ends_with_its_threads() -> None:
    code, lines, err = end("local", "a_run_in_a_thread")
    assert (code, lines) == (0, ["last line", "then quick"]), err


@pytest.mark.ray
@pytest.mark.parametrize("way", ON_RAY)
def test_a_program_ends_on_ray(way: str) -> None:
    code, lines, err = end("ray", way)
    assert code == 0, err
    assert "last line" in lines
