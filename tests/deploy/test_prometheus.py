"""Ray's endpoint for Prometheus shows the metrics of a run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

pytest.importorskip("opencensus.stats", reason='needs "ray[default]"')


@pytest.mark.ray
@pytest.mark.matrix
def test_the_metrics_of_a_run_are_offered_to_prometheus() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tests.deploy.metrics_program"],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), "DISTGRAPH_METRICS": "0.5"},
        capture_output=True,
        text=True,
        timeout=280,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["ray_distgraph_runs_started_total graph=g"] == 3
    assert found["ray_distgraph_runs_ended_total graph=g status=done"] == 3
    assert found["ray_distgraph_steps_total graph=g"] == 3
    assert found["ray_distgraph_attempts_total graph=g node=write status=ok"] == 3
    assert found["ray_distgraph_attempt_seconds_count graph=g node=write"] == 3
    assert found["ray_distgraph_attempt_wait_seconds_count graph=g node=write"] == 3
    assert found["ray_distgraph_worker_events_total"] == 150
    assert found["ray_distgraph_stream_events_total"] >= 153  # and the ends of three runs
    assert found["ray_distgraph_runs"] == 0
    assert found["ray_distgraph_attempts_queued"] == 0
