"""Objects of other libraries that graphs are built of, and the modules that adapt them.

A library's front door registers its classes, each with the name of the module that adapts objects
of it. Nothing is imported before an object of such a class is met.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from typing import Any, Protocol, cast

from distgraph._internal.loaded import loaded

__all__ = ("Adapter", "adapter_of", "as_node", "register")


class Adapter(Protocol):
    """What a module that adapts a library's objects offers."""

    def as_node(self, value: Any, ray_options: Mapping[str, Mapping[str, Any]]) -> Any:
        """Return an action for ``add_node``. ``ray_options``: by tool, for a node of tools."""

    def as_graph(self, value: Any) -> Any:
        """Return an object as a distgraph compiled graph; None if it is no graph."""

    def as_channel(self, value: Any, typ: Any, where: str) -> Any:
        """Return the distgraph channel for a channel, or a channel class, of the library.

        Args:
            value: What stands in an annotation ``Annotated[typ, value]``.
            typ: The annotated type.
            where: State key and schema, for errors.

        Raises:
            UnsupportedError: There is none that does the same.
        """


_ADAPTERS: dict[tuple[str, str], str] = {}


def register(home: str, name: str, adapter: str) -> None:
    """Register a class, by the module and the name where it is found, for a module that adapts it.

    ``adapter``: the module's name. It is imported when an object of the class is met.
    """
    _ADAPTERS[home, name] = adapter


def adapter_of(value: Any) -> Adapter | None:
    """Return who adapts an object of a registered class, or a class derived from one.

    None for any other object.
    """
    for (home, name), adapter in _ADAPTERS.items():
        cls = loaded(home, name)
        # by its bases: graphs of ours are registered as LangGraph's, and are not adapted
        if cls is not None and cls in (value if isinstance(value, type) else type(value)).__mro__:
            return cast("Adapter", import_module(adapter))
    return None


def as_node(value: Any, ray_options: Mapping[str, Mapping[str, Any]] | None = None) -> Any:
    """Return the action that a node runs for an object; any other object as it is."""
    adapter = adapter_of(value)
    return value if adapter is None else adapter.as_node(value, ray_options or {})
