"""Values that the engine computes for a node instead of reading a channel.

Annotate a key of the state with one of them: ``is_last_step: IsLastStep``.
"""

from __future__ import annotations

from typing import Annotated, Literal

__all__ = ("IsLastStep", "RemainingSteps", "is_managed", "managed_kind")

ManagedKind = Literal["is_last_step", "remaining_steps"]


class IsLastStepManager:
    """Marks a key that is True in the last superstep that ``recursion_limit`` allows."""

    kind: ManagedKind = "is_last_step"


class RemainingStepsManager:
    """Managed value: the number of supersteps left before the recursion limit, this one
    included."""

    kind: ManagedKind = "remaining_steps"


IsLastStep = Annotated[bool, IsLastStepManager]
"""True in the last superstep before ``GraphRecursionError``."""

RemainingSteps = Annotated[int, RemainingStepsManager]
"""Supersteps left before ``GraphRecursionError``, this one included."""


def managed_kind(marker: object) -> ManagedKind | None:
    """Return the kind of a marker found in ``Annotated``, of either library."""
    if marker is IsLastStepManager or marker is RemainingStepsManager:
        return marker.kind
    if isinstance(marker, type) and marker.__module__.startswith("langgraph.managed"):
        return {
            "IsLastStepManager": IsLastStepManager.kind,
            "RemainingStepsManager": RemainingStepsManager.kind,
        }.get(marker.__name__)
    return None


def is_managed(marker: object) -> bool:
    """Return whether a marker found in ``Annotated`` is a managed value of LangGraph's, any one."""
    return isinstance(marker, type) and any(
        cls.__name__ == "ManagedValue" and cls.__module__.startswith("langgraph.managed")
        for cls in marker.__mro__
    )
