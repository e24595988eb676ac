"""Fixtures of the tests that run one graph on several engines, Ray among them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import Any

import pytest

from tests.support.differential import Differ
from tests.support.engines import DISTRIBUTED, REFERENCE, Engine, selected

RAY_TIMEOUT = 60
"""Seconds a test on Ray may take, the start of the session's Ray included."""


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "ray: needs a local Ray, which is started once a session")


def _engines(*wanted: str) -> list[Any]:
    marks = {"ray": [pytest.mark.ray, pytest.mark.timeout(RAY_TIMEOUT)]}
    return [
        pytest.param(name, id=name, marks=marks.get(name, []))
        for name in wanted
        if name in selected()
    ]


_OURS = _engines("local", "ray")


@pytest.fixture(scope="session")
def ray_session() -> Iterator[Any]:
    """The session's Ray: 2 CPUs on this machine, started when first asked for."""
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    import ray

    ray.init(
        address="local",
        num_cpus=2,
        resources={"desk": 1},
        include_dashboard=False,
        log_to_driver=False,
        logging_level="ERROR",
        object_store_memory=512 * 1024 * 1024,
    )
    yield ray
    ray.shutdown()


def _ready(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Engine:
    engine = Engine(request.param)
    if engine.name == "ray":
        request.getfixturevalue("ray_session")
    if not engine.is_reference:
        # child graphs are compiled without naming a backend
        backend = "local" if engine.name == DISTRIBUTED else engine.name
        monkeypatch.setenv("DISTGRAPH_BACKEND", backend)
    return engine


@pytest.fixture(params=_engines("langgraph", "local", "ray", DISTRIBUTED))
def engine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Engine:
    """Each engine in turn: for behaviour that is the same on the reference and on ours."""
    return _ready(request, monkeypatch)


@pytest.fixture(params=_OURS)
def ours(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Engine:
    """Each engine of distgraph in turn: for behaviour that the reference lacks."""
    return _ready(request, monkeypatch)


@pytest.fixture(params=[*_OURS, *_engines(DISTRIBUTED)] or _engines("langgraph"))
def differ(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Differ:
    """Compares the reference with each engine of distgraph in turn."""
    return Differ(Engine(REFERENCE), _ready(request, monkeypatch))
