"""Where runs execute: on Ray, or in this process."""

from __future__ import annotations

import os
import sys
from functools import lru_cache
from importlib import import_module
from typing import TYPE_CHECKING, Any

from distgraph import logs, status
from distgraph._internal import settings
from distgraph._internal.mistakes import nearest

if TYPE_CHECKING:
    from distgraph.backends.base import Backend

__all__ = ("resolve",)


def resolve(backend: str | Backend | None) -> Backend:
    """Return the backend of that name: "ray", "local", or what ``DISTGRAPH_BACKEND`` names.

    Raises:
        ValueError: There is no backend of that name, or a setting is not allowed.
    """
    settings.check()
    logs.configure()
    name = backend_name(backend)
    if not isinstance(name, str):
        return name
    if name == "ray":
        _tell_start()
    found: Backend = _module(name).backend()
    return found


@lru_cache(maxsize=2)
def _module(name: str) -> Any:
    return import_module("distgraph.backends.local" if name == "local" else "actors.backend")


def _tell_start() -> None:
    """Show that Ray starts, or is joined, before the import of Ray, which takes a second."""
    ray = sys.modules.get("ray")
    if ray is not None and getattr(ray, "is_initialized", bool)():
        return
    address = os.environ.get("RAY_ADDRESS", "local")
    here = address in ("", "local")
    status.started("ray", "starting a local Ray" if here else f"joining {address}")


def backend_name(backend: str | Backend | None) -> str | Backend:
    """Return what ``resolve`` would choose, without importing it."""
    if backend is None:
        return settings.setting("DISTGRAPH_BACKEND", "ray")
    if isinstance(backend, str) and backend not in ("ray", "local"):
        hint = nearest(backend, ("ray", "local"))
        raise ValueError(f"backend is {backend!r}; choose 'ray' or 'local'.{hint}")
    return backend
