"""The engine that the tests of this folder run on."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.cluster import wait_for_free_cpus
from tests.support.engines import Engine


@pytest.fixture
def on_ray(ray_session: Any) -> Engine:
    """distgraph on the session's Ray, with all of its CPUs free."""
    wait_for_free_cpus()
    return Engine("ray")
