"""Workflows that are written once and made for each engine."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from tests.support.engines import Engine


class Flow:
    """What the differential tests compile: ``make(ns, **options)`` returns the workflow."""

    def __init__(self, ns: Engine, make: Callable[..., Any]) -> None:
        self._ns = ns
        self._make = make

    def compile(self, *, backend: Any = None, **options: Any) -> Any:
        return self._make(self._ns.module("func"), self._ns, **options)


def flow(make: Callable[..., Any]) -> Callable[[Engine], Flow]:
    """Make a builder of a function ``make(func, ns, **options)``: ``func`` has task, entrypoint."""
    return functools.wraps(make)(lambda ns: Flow(ns, make))


def returned(future: Any) -> Any:
    """Return the result of a call in synchronous code."""
    return future.result(timeout=30)
