"""``ray job submit``, as docs/deploy/jobs.md shows it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

pytest.importorskip("aiohttp_cors", reason='needs "ray[default]"')


@pytest.mark.ray
@pytest.mark.matrix
def test_a_submitted_program_runs_with_its_folder_and_its_environment(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.deploy.submitted", str(tmp_path)],
        cwd=ROOT,
        env={
            **{name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"},
            "PYTHONPATH": str(ROOT),
        },
        capture_output=True,
        text=True,
        timeout=290,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "result: hello job" in done.stdout
    assert "succeeded" in done.stdout
