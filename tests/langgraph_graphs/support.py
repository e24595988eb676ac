"""LangGraph's graphs, beside themselves as distgraph runs them."""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

import pytest

from distgraph import distribute
from tests.support.differential import Build, Differ
from tests.support.engines import DISTRIBUTED, REFERENCE, REFERENCE_AWAITS, Engine

VERSION = tuple(int(n) for n in version("langgraph").split(".")[:3])

newest = pytest.mark.skipif(
    VERSION < (1, 2, 22), reason="chunks are compared with those of LangGraph 1.2.22 and newer"
)
"""Older versions stream other shapes than the newest, whose shapes are ours."""

reference_awaits = pytest.mark.skipif(
    not REFERENCE_AWAITS, reason="on this Python the reference's async nodes lack their context"
)


class Distributed(Engine):
    """LangGraph's names; what they build is run by distgraph."""

    def __init__(self, backend: str, **options: Any) -> None:
        super().__init__(DISTRIBUTED)
        self.backend = backend
        self.options = options

    def compile(self, builder: Any, **options: Any) -> Any:
        compiled = builder if hasattr(builder, "get_graph") else builder.compile(**options)
        return distribute(compiled, backend=self.backend, **self.options)


class Reference(Engine):
    """LangGraph itself; takes a builder, or what is compiled already."""

    def __init__(self) -> None:
        super().__init__(REFERENCE)

    def compile(self, builder: Any, **options: Any) -> Any:
        return builder if hasattr(builder, "get_graph") else builder.compile(**options)


def same(backend: str, build: Build, input: Any, **options: Any) -> Any:
    """Assert that a graph streams the same from LangGraph and from ``distribute``."""
    return Differ(Reference(), Distributed(backend)).stream(build, input, **options)
