"""A pytest plugin for the copy of upstream's tests. It is copied beside them: it imports neither
distgraph's tests nor upstream's.

It leaves out excluded tests, fails a test in which upstream's engine was constructed, and writes
what happened as JSON lines: one object a test, and one a file that could not be collected.
"""

from __future__ import annotations

import json
import logging
import os
import re
from collections.abc import Iterator
from typing import Any

import pytest

SETTINGS = json.loads(os.environ["CONFORMANCE_SETTINGS"])
"""``results``: path of the JSON lines; ``backend``; ``quick``; ``excluded``: patterns of node ids,
``*`` standing for anything."""

_excluded = {
    pattern: re.compile(".*".join(map(re.escape, pattern.split("*"))) + r"(\[.*\])?")
    for pattern in SETTINGS["excluded"]
}
_constructed: list[str] = []


def _write(**entry: Any) -> None:
    with open(SETTINGS["results"], "a", encoding="utf-8") as file:
        file.write(json.dumps(entry) + "\n")


def _short(nodeid: str) -> str:
    return nodeid.removeprefix("tests/")


# --- what runs -----------------------------------------------------------------------------------


def _in_quick(item: pytest.Item) -> bool:
    """Return whether all of a test's parameters are in-memory ones."""
    callspec = getattr(item, "callspec", None)
    return callspec is None or not any("sqlite" in str(v) for v in callspec.params.values())


@pytest.hookimpl(trylast=True)  # what -k leaves out is not ours to count
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    kept, left = [], []
    for item in items:
        test = _short(item.nodeid)
        matching = [pattern for pattern, regex in _excluded.items() if regex.fullmatch(test)]
        if matching:
            _write(test=test, outcome="excluded", patterns=matching)
            left.append(item)
        elif SETTINGS["quick"] and not _in_quick(item):
            _write(test=test, outcome="left out")
            left.append(item)
        else:
            _write(test=test, outcome="collected")
            kept.append(item)
    items[:] = kept
    config.hook.pytest_deselected(items=left)


def pytest_collectreport(report: pytest.CollectReport) -> None:
    if report.failed:
        _write(file=_short(report.nodeid), outcome="not collected", error=_error(report))


# --- upstream's engine ---------------------------------------------------------------------------


def pytest_configure() -> None:
    from langchain_core.language_models import base
    from langgraph.pregel import Pregel

    # models name the installed langchain in their metadata; upstream's tests run without it
    base._get_langchain_version = lambda: None  # type: ignore[assignment]

    construct = Pregel.__init__

    def refuse(self: Any, *args: Any, **kwargs: Any) -> None:
        if _distributing:
            construct(self, *args, **kwargs)
            return
        _constructed.append(type(self).__name__)
        raise AssertionError(f"upstream's engine was constructed: {type(self).__name__}")

    Pregel.__init__ = refuse  # type: ignore[method-assign]


_distributing: list[bool] = []
"""Not empty while a graph of ``NodeBuilder`` nodes is constructed, only to be distributed."""


def DistributedPregel(*args: Any, **kwargs: Any) -> Any:
    """Return what distgraph makes of upstream's ``Pregel`` of these arguments."""
    from langgraph.pregel import Pregel

    from distgraph import distribute

    _distributing.append(True)
    try:
        return distribute(Pregel(*args, **kwargs))
    finally:
        _distributing.pop()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    _constructed.clear()
    result = yield
    # a test may have swallowed the error
    assert not _constructed, f"upstream's engine was constructed: {_constructed}"
    return result


# --- the backend ---------------------------------------------------------------------------------


@pytest.fixture(scope="session", autouse=True)
def _backend() -> Iterator[None]:
    if SETTINGS["backend"] != "ray":
        yield
        return
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    import ray

    ray.init(
        address="local",
        num_cpus=2,
        include_dashboard=False,
        log_to_driver=False,
        logging_level=logging.ERROR,
        object_store_memory=256 * 1024 * 1024,
    )
    yield
    ray.shutdown()


# --- what happened -------------------------------------------------------------------------------


def _error(report: Any) -> str:
    crash = getattr(report.longrepr, "reprcrash", None)
    text = crash.message if crash else report.longreprtext
    return str(text).strip()[:2000]


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    if report.failed:
        _write(
            test=_short(report.nodeid),
            outcome="failed",
            error=_error(report),
            duration=report.duration,
        )
    elif report.when == "call" or report.skipped:
        _write(test=_short(report.nodeid), outcome=report.outcome, duration=report.duration)
