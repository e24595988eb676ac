"""Fixtures of the tests of views."""

from __future__ import annotations

from typing import Any

import pytest

from tests.conftest import RAY_TIMEOUT
from tests.support.engines import selected

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
