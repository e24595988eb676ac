"""What SIGTERM does in a worker, and in a process that a node forks from it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no os.fork")

PROGRAM = """
import os, signal
from distgraph.concurrency.interrupting import Terminated, expect_termination

WHEN = {when!r}

def struck():
    os.kill(os.getpid(), signal.SIGTERM)

if WHEN == "while it begins":
    os.register_at_fork(after_in_child=struck)
expect_termination()
child = os.fork()
if child == 0:
    if WHEN == "later":
        struck()
    os._exit(7)
_, status = os.waitpid(child, 0)
print(os.WTERMSIG(status) if os.WIFSIGNALED(status) else status, flush=True)
try:
    struck()
except Terminated as ended:
    print(ended.code)
"""


@pytest.mark.parametrize("when", ["while it begins", "later"])
def test_a_forked_process_ends_of_sigterm_and_a_worker_raises(when: str) -> None:
    program = PROGRAM.format(when=when)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout.split() == [str(int(signal.SIGTERM)), str(128 + signal.SIGTERM)], done.stderr
