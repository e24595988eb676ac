"""Location of checkpoint savers, stores and caches, and access for drivers and workers.

Everything is imported when it is first asked for, and LangGraph's own packages only where one of
them exists.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from distgraph._internal.lazy import lazy_names

if TYPE_CHECKING:
    from distgraph.persistence.opening import (
        cache_for_driver,
        open_resource,
        saver_for_driver,
        set_reach,
    )
    from distgraph.persistence.placed import Placed
    from distgraph.persistence.placing import check, place
    from distgraph.persistence.port import SaverPort
    from distgraph.persistence.remote_resources import Reach

_NAMES = {
    "Placed": "distgraph.persistence.placing",
    "Reach": "distgraph.persistence.remote_resources",
    "SaverPort": "distgraph.persistence.port",
    "cache_for_driver": "distgraph.persistence.opening",
    "check": "distgraph.persistence.placing",
    "open_resource": "distgraph.persistence.opening",
    "place": "distgraph.persistence.placing",
    "saver_for_driver": "distgraph.persistence.opening",
    "set_reach": "distgraph.persistence.opening",
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


if not TYPE_CHECKING:
    __getattr__, __dir__ = lazy_names(__name__, _NAMES)
