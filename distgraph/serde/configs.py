"""Run configs on their way to another process: to a saver that lives there, or in an event.

A saver reads plain values of a config: the thread, the checkpoint, metadata. LangGraph puts live
objects of the running task beside them, such as callbacks and the runtime. These stay in their
process: a ``Stayed`` takes the place of each, and is replaced when a config comes back.
"""

from __future__ import annotations

import datetime
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from distgraph.serde import pickling

__all__ = ("Stayed", "Trip", "plain_configs")

_CONF = "configurable"
_PLAIN = frozenset({str, int, float, bool, bytes, type(None), uuid.UUID, datetime.datetime})
_SECTIONS = frozenset({_CONF, "metadata"})
"""Parts of a config whose values are looked at one by one."""


@dataclass(frozen=True, slots=True)
class Stayed:
    """Takes the place of an object that is in the process of the caller only."""

    id: str
    kind: str
    """Qualified name of the object's class."""


@dataclass(slots=True)
class Trip:
    """One call of a saver in another process: the objects that stay here while the arguments are
    sent."""

    _stayed: dict[str, Any] = field(default_factory=dict)

    def leave(self, args: Sequence[Any], kwargs: Mapping[str, Any]) -> tuple[Any, dict[str, Any]]:
        """Return the arguments with every config reduced to what can travel."""
        return (
            tuple(self.reduced(arg) if _is_config(arg) else arg for arg in args),
            {k: self.reduced(v) if _is_config(v) else v for k, v in kwargs.items()},
        )

    def come_back(self, result: Any) -> Any:
        """Return a saver's result with the objects that stayed in its configs.

        A saver may return the config of an earlier call. What stayed then is left out.
        """
        if _is_config(result):
            return self._restored(result)
        if hasattr(result, "parent_config") and isinstance(result, tuple):
            parts = {"config": result.config, "parent_config": result.parent_config}  # type: ignore[attr-defined]
            changed = {k: self._restored(v) for k, v in parts.items() if _is_config(v)}
            return result._replace(**changed)  # type: ignore[attr-defined]
        if type(result) is list:
            return [self.come_back(item) for item in result]
        return result

    def reduced(self, config: Mapping[str, Any]) -> dict[str, Any]:
        """Return a config reduced to what can travel."""
        return {
            key: {name: self._travelling(name, item) for name, item in value.items()}
            if key in _SECTIONS and isinstance(value, Mapping)
            else self._travelling(key, value)
            for key, value in config.items()
        }

    def _travelling(self, key: str, value: Any) -> Any:
        if _is_plain(value):
            return value
        # by name: LangGraph's own objects are of the task, also those that could be copied
        of_the_task = key == "callbacks" or str(key).startswith("__")
        if not of_the_task and not pickling.reason(value):
            return value
        name = uuid.uuid4().hex
        self._stayed[name] = value
        return Stayed(name, f"{type(value).__module__}.{type(value).__qualname__}")

    def _restored(self, config: Mapping[str, Any]) -> dict[str, Any]:
        restored = {}
        for key, value in config.items():
            if key in _SECTIONS and isinstance(value, Mapping):
                restored[key] = self._found(value)
            else:
                restored.update(self._found({key: value}))
        return restored

    def _found(self, values: Mapping[str, Any]) -> dict[str, Any]:
        return {
            key: self._stayed[value.id] if isinstance(value, Stayed) else value
            for key, value in values.items()
            if not isinstance(value, Stayed) or value.id in self._stayed
        }


def plain_configs(payload: Any) -> Any:
    """Return the payload of an event with configs and metadata reduced to what can travel."""
    if not isinstance(payload, dict):
        return payload
    trip = Trip()
    return {
        key: plain_configs(value)
        if key == "payload"  # of mode "debug"
        else trip.reduced({key: value})[key]
        if key == "metadata"
        else trip.reduced(value)
        if _is_config(value)
        else value
        for key, value in payload.items()
    }


def _is_config(value: Any) -> bool:
    return isinstance(value, dict) and isinstance(value.get(_CONF), Mapping)


def _is_plain(value: Any) -> bool:
    cls = type(value)
    if cls in _PLAIN:
        return True
    if cls is list or cls is tuple:
        return all(map(_is_plain, value))
    return cls is dict and all(map(_is_plain, value)) and all(map(_is_plain, value.values()))
