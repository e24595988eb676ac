"""What a node changes in its process is set back, and what stays is named."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from tests.conftest import hear_interrupts

CHANGES = {
    "the working directory": ("os.chdir('/')", "os.getcwd()"),
    "a variable": ("os.environ['HOME'] = 'x'", "os.environ.get('HOME')"),
    "a variable that is deleted": ("del os.environ['HOME']", "os.environ.get('HOME')"),
    "the umask": ("os.umask(0o777)", "umask()"),
    "a signal handler": (
        "signal.signal(signal.SIGUSR1, lambda *_: None)",
        "signal.getsignal(signal.SIGUSR1)",
    ),
    "Python's own handler": (
        "signal.signal(signal.SIGINT, signal.SIG_IGN)",
        "signal.getsignal(signal.SIGINT)",
    ),
    "an alarm": ("signal.alarm(1000)", "signal.getitimer(signal.ITIMER_REAL)[0] > 0"),
    "a closed file": ("os.close(1)", "identity(1)"),
    "all of the first files closed": ("os.closerange(0, 3)", "[identity(n) for n in range(3)]"),
    "a file put in the place of another": (
        "os.close(2); os.open('/dev/null', os.O_WRONLY)",
        "identity(2)",
    ),
    "redirected output": ("sys.stdout = io.StringIO()", "id(sys.stdout)"),
}

PROGRAM = """
import io, os, signal, sys
from distgraph.worker.process_state import Tidying

def umask():
    found = os.umask(0)
    os.umask(found)
    return found

def identity(number):
    try:
        return os.fstat(number).st_ino
    except OSError:
        return None

report = os.dup(2)
tidying = Tidying()
before = {look}
try:
    with tidying:
        {change}
        assert ({look}) != before, "nothing was changed"
        {then}
except KeyError:
    pass
tidying.tidy()
after = {look}
os.write(report, b"as before" if after == before else f"{{before}} {{after}}".encode())
"""


def run(change: str, look: str, then: str = "pass") -> str:
    program = textwrap.dedent(PROGRAM.format(change=change, look=look, then=then))
    env = {**os.environ, "HOME": "/root"}
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, env=env, timeout=60, check=False
    )
    return done.stderr.decode()


@pytest.mark.parametrize("what", CHANGES)
def test_it_is_set_back(what: str) -> None:
    assert run(*CHANGES[what]) == "as before"


def test_the_tests_hear_interrupts_that_were_ignored_when_they_began() -> None:
    """Commands in the background of a shell ignore them."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        hear_interrupts()
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, before)


def test_it_is_set_back_when_the_node_fails() -> None:
    assert run(*CHANGES["the working directory"], then="raise KeyError") == "as before"


def test_new_variables_stay() -> None:
    said = run("os.environ['NEW_ONE'] = 'x'", "os.environ.get('NEW_ONE')")
    assert said == "None x"


def test_a_process_that_nobody_changed_is_left_alone(caplog: pytest.LogCaptureFixture) -> None:
    from distgraph.worker.process_state import Tidying

    handler = signal.getsignal(signal.SIGINT)
    tidying = Tidying()
    with caplog.at_level("INFO", "distgraph"):
        for _ in range(2):  # the second time, what is known of the process still counts
            with tidying:
                pass
            tidying.tidy()
    assert caplog.messages == [] and signal.getsignal(signal.SIGINT) is handler


def test_what_code_has_changed_is_set_back_before_the_next_code_at_the_latest(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from distgraph.worker.process_state import Tidying

    monkeypatch.chdir(tmp_path)
    (tmp_path / "other").mkdir()
    tidying = Tidying()
    with tidying:
        os.chdir("other")
    with tidying:
        assert Path.cwd() == tmp_path


def test_what_the_owner_of_the_process_changes_stays(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Ray prepares a process between two leases."""
    from distgraph.worker.process_state import Tidying

    monkeypatch.chdir(tmp_path)
    (tmp_path / "other").mkdir()
    tidying = Tidying()
    with tidying:
        pass
    tidying.tidy()
    os.chdir("other")
    tidying.begin()
    with tidying:
        pass
    tidying.tidy()
    assert Path.cwd() == tmp_path / "other"
