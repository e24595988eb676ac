"""Code of a node that is the first to import LangChain or LangGraph still finds the node.

What they call finds the node by LangChain's context variable, which does not exist as the node
begins. Attempts set one of distgraph's then, and it becomes LangChain's as that is imported.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Sequence
from contextlib import suppress
from contextvars import ContextVar
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType
from typing import Any, Protocol

from distgraph._internal.loaded import loaded

__all__ = ("begun_before", "config_variable", "early")

_MODULE, _VARIABLE = "langchain_core.runnables.config", "var_child_runnable_config"


class Begun(Protocol):
    """An attempt that runs."""

    adopt: Callable[[Any], None] | None
    """Completes the config of the attempt, which is its argument."""


early: ContextVar[Any] = ContextVar("distgraph_child_config", default=None)
"""What becomes LangChain's variable."""

begun_before: set[Begun] = set()
"""Attempts that run, and began before LangChain was imported."""


def config_variable() -> Any:
    """Return the context variable in which LangChain looks for a config, or what becomes that."""
    variable = loaded(_MODULE, _VARIABLE)
    if variable is None and _finder not in sys.meta_path:
        sys.meta_path.insert(0, _finder)
        variable = loaded(_MODULE, _VARIABLE)  # another thread may have imported it just now
    return early if variable is None else variable


class _Finder(MetaPathFinder):
    """Sees to the module with LangChain's variable as it is imported."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != _MODULE:
            return None
        others = (finder for finder in list(sys.meta_path) if finder is not self)
        found = (finder.find_spec(fullname, path, target) for finder in others)
        spec = next((spec for spec in found if spec is not None), None)
        loader: Any = None if spec is None else spec.loader
        if loader is not None and hasattr(loader, "__dict__"):
            execute = loader.exec_module

            def execute_and_adopt(module: ModuleType) -> None:
                del loader.exec_module
                execute(module)
                _adopt(module)

            loader.exec_module = execute_and_adopt
        return spec


_finder = _Finder()


def _adopt(module: Any) -> None:
    """Make ``early`` LangChain's variable, and complete the configs of attempts that have begun."""
    setattr(module, _VARIABLE, early)
    with suppress(ImportError):
        importlib.import_module("langchain_core.callbacks.manager")
    for task in list(begun_before):
        if task.adopt is not None:
            task.adopt(task)
