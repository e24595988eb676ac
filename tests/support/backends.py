"""The backends that a test runs on, one after another."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.engines import selected

__all__ = ("backend",)

RAY_TIMEOUT = 60
"""Seconds a test on Ray may take, the start of the session's Ray included."""

_MARKS: dict[str, list[Any]] = {"ray": [pytest.mark.ray, pytest.mark.timeout(RAY_TIMEOUT)]}


@pytest.fixture(
    params=[
        pytest.param(name, marks=_MARKS.get(name, []))
        for name in ("local", "ray")
        if name in selected()
    ]
)
def backend(request: pytest.FixtureRequest) -> str:
    """The name of each backend in turn."""
    if request.param == "ray":
        request.getfixturevalue("ray_session")
    return str(request.param)
