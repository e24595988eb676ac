"""Nodes that wait for CPUs make a cluster grow, and it shrinks when they have run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.ray
@pytest.mark.matrix
def test_a_cluster_grows_for_waiting_nodes_and_shrinks_again() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.deploy.autoscaled"],
        cwd=ROOT,
        env={
            **{name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"},
            "PYTHONPATH": str(ROOT),
            "DISTGRAPH_STATUS": "off",
        },
        capture_output=True,
        text=True,
        timeout=290,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    seen = json.loads(done.stdout.splitlines()[-1])
    assert (seen["before"], seen["ran"], seen["end"]) == (1, 2, 1)
    assert seen["after"] in (2, 3)  # both nodes may run on the first machine that comes
