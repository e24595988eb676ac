"""Location of checkpoint savers, stores and caches, and access for drivers and workers.

Everything is imported when it is first asked for, and LangGraph's own packages only where one of
them exists.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from distgraph.persistence.opening import (
        cache_for_driver,
        open_resource,
        saver_for_driver,
        set_reach,
    )
    from distgraph.persistence.placing import Placed, check, place
    from distgraph.persistence.port import SaverPort
    from distgraph.persistence.reach import Reach

_NAMES = {
    "Placed": "placing",
    "Reach": "reach",
    "SaverPort": "port",
    "cache_for_driver": "opening",
    "check": "placing",
    "open_resource": "opening",
    "place": "placing",
    "saver_for_driver": "opening",
    "set_reach": "opening",
}

__all__ = (
    "Placed",
    "Reach",
    "SaverPort",
    "cache_for_driver",
    "check",
    "open_resource",
    "place",
    "saver_for_driver",
    "set_reach",
)


def __getattr__(name: str) -> Any:
    module = _NAMES.get(name)
    if module is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{module}"), name)
