"""Fixtures of the tests that run one graph on several engines, Ray among them."""

from __future__ import annotations

import faulthandler
import gc
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, TextIO

import pytest

from distgraph.engine.machine import Machine
from tests.support.differential import Differ
from tests.support.engines import DISTRIBUTED, REFERENCE, REFERENCE_AWAITS, Engine, selected
from tests.support.postgres import postgres

__all__ = ("postgres",)

RAY_TIMEOUT = 60
"""Seconds a test on Ray may take, the start of the session's Ray included."""

EXIT_TIMEOUT = 60
"""Seconds the process may take to end after the last test."""

MATRICES = ("clients", "differential", "ecosystem", "prebuilt", "seeds")
"""Folders whose cases on Ray are marked ``matrix``; by default these cases run in process only."""

PROGRAMS = (
    "docs",
    "durable/test_other_process.py",
    "func/test_example.py",
    "project",
    "ray_backend/test_attach.py",
    "ray_backend/test_first_run.py",
    "ray_backend/test_versions.py",
    "seeds/test_scripts.py",
    "serve/test_ray_serve.py",
)
"""Folders and files whose cases on Ray start a program with a Ray of its own, which takes 10 to 60
seconds. They are marked ``programs``; by default they run in process only."""

RAY_GROUP = "ray"
"""The tests that share the session's Ray. With ``-n 2 --dist loadgroup`` one process has them."""

_STDERR = pytest.StashKey[TextIO]()
_kept: list[TextIO] = []


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "ray: needs a local Ray, which is started once a session")
    config.addinivalue_line("markers", "xdist_group(name): tests that one process has to run")
    Machine.validates = True  # its invariants, after every event of the runs in this process
    with suppress(ImportError):  # not needed by the tests of LangGraph's oldest and newest versions
        from hypothesis import settings

        # an example may take its time on a busy machine
        settings.register_profile("distgraph", deadline=None)
        settings.load_profile("distgraph")
    config.stash[_STDERR] = os.fdopen(os.dup(2), "w")  # the real one: nothing is captured now


@pytest.hookimpl(tryfirst=True)  # before pytest deselects what ``-m`` leaves out
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    tests = Path(__file__).parent
    for item in items:
        is_on_ray = item.get_closest_marker("ray") is not None
        if is_on_ray or "ray_session" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.xdist_group(RAY_GROUP))
        if not is_on_ray:
            continue
        path = item.path.relative_to(tests)
        if path.parts[0] in MATRICES:
            item.add_marker(pytest.mark.matrix)
        if path.parts[0] in PROGRAMS or path.as_posix() in PROGRAMS:
            item.add_marker(pytest.mark.programs)


def pytest_collection_finish() -> None:
    """Keep the collected tests out of garbage collection: it would look at them each time."""
    gc.collect()
    gc.freeze()


@pytest.hookimpl(trylast=True)
def pytest_unconfigure(config: pytest.Config) -> None:
    """From here on the process ends, or tells what keeps it and fails."""
    faulthandler.dump_traceback_later(EXIT_TIMEOUT, exit=True, file=config.stash[_STDERR])
    _kept.append(config.stash[_STDERR])


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


_THEIRS = (REFERENCE, DISTRIBUTED) if REFERENCE_AWAITS else ()


@pytest.fixture(params=_engines("local", "ray", *_THEIRS))
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
