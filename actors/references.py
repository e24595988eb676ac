"""Ray's references: objects in its store, and actors. They travel beside pickles, through Ray."""

from __future__ import annotations

import ray
from ray.actor import ActorHandle

from distgraph.serde import references

__all__: tuple[str, ...] = ()

references.register(ray.ObjectRef)
references.register(ActorHandle)
