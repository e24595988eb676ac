"""The backends that a test runs on, one after another."""

from __future__ import annotations

import pytest

from tests.support.engines import selected

__all__ = ("backend",)


@pytest.fixture(
    params=[
        pytest.param(name, marks=[pytest.mark.ray] if name == "ray" else [])
        for name in ("local", "ray")
        if name in selected()
    ]
)
def backend(request: pytest.FixtureRequest) -> str:
    """The name of each backend in turn."""
    if request.param == "ray":
        request.getfixturevalue("ray_session")
    return str(request.param)
