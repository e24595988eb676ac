"""Fixtures of the tests of LangGraph's graphs."""

from __future__ import annotations

from typing import Any

import pytest

from tests.langgraph_graphs.support import VERSION
from tests.support.backends import backend

__all__ = ("backend",)

_OF_1_2 = ("test_called_graphs.py", "test_vocabulary.py")
"""Modules that import names which LangGraph has since 1.2."""

collect_ignore = [] if VERSION >= (1, 2, 0) else list(_OF_1_2)


def pytest_report_header() -> list[str]:
    """Say which modules are left out, and why."""
    return [f"not collected: {name}, which needs LangGraph 1.2 or newer" for name in collect_ignore]


@pytest.fixture
def idle_langgraph(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make LangGraph's own engine fail wherever it is started in this process."""
    from langgraph.pregel import Pregel, _loop, _runner

    def refuse(*args: Any, **kwargs: Any) -> None:
        raise AssertionError("LangGraph's engine was started")

    for method in ("invoke", "ainvoke", "stream", "astream"):
        monkeypatch.setattr(Pregel, method, refuse)
    for loop in (_loop.SyncPregelLoop, _loop.AsyncPregelLoop, _runner.PregelRunner):
        monkeypatch.setattr(loop, "__init__", refuse)
