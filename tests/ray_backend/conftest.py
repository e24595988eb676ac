"""The engine that the tests of this folder run on."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.cluster import wait_for_free_cpus
from tests.support.engines import Engine


@pytest.fixture
def on_ray(ray_session: Any, monkeypatch: pytest.MonkeyPatch) -> Engine:
    """distgraph on the session's Ray, with all of its CPUs free. Lost attempts are errors."""
    monkeypatch.setenv("DISTGRAPH_MAX_ATTEMPTS", "1")
    wait_for_free_cpus()
    return Engine("ray")
