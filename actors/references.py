"""Ray's references: objects in its store, and actors. They travel beside pickles, through Ray."""

from __future__ import annotations

import ray
from ray.actor import ActorHandle

from distgraph.serde import reducers

__all__: tuple[str, ...] = ()

reducers.register_reference(ray.ObjectRef)
reducers.register_reference(ActorHandle)
