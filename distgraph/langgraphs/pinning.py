"""Nodes and tools of an agent that share live state, and therefore must run in one process.

LangChain's ``ShellToolMiddleware`` keeps a running shell in a private, untracked state key: its
hooks and its tool need the process in which the shell is.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, get_args, get_type_hints

__all__ = ("pinned_parts",)

AFFINITY: Mapping[str, Any] = {"affinity": "run"}

_NO_STATE = (
    "builtins",
    "typing",
    "types",
    "datetime",
    "decimal",
    "uuid",
    "collections",
    "langgraph",
)
"""Packages whose classes hold data or mark a key: a key of such a type does not pin its nodes."""


def pinned_parts(graph: Any) -> dict[str, Mapping[str, Any]]:
    """Return the ``ray_options`` of nodes and tools that share live state.

    Keys are ``node`` and ``node:tool``.
    """
    owners = {key: owner for key, node in graph.nodes.items() if (owner := _owner(node.bound))}
    live = {key: owner for key, owner in owners.items() if _has_live_state(owner)}
    if not live:
        return {}
    tools = {tool.name for owner in live.values() for tool in getattr(owner, "tools", ())}
    found = dict.fromkeys(live, AFFINITY)
    for key, node in graph.nodes.items():
        names = tools & set(getattr(node.bound, "tools_by_name", ()))
        found.update({f"{key}:{name}": AFFINITY for name in names})
    return found


def _owner(bound: Any) -> Any:
    """Return the middleware whose method a node runs, None for another node."""
    for form in ("func", "afunc"):
        owner = getattr(getattr(bound, form, None), "__self__", None)
        if owner is not None and hasattr(owner, "state_schema"):
            return owner
    return None


def _has_live_state(middleware: Any) -> bool:
    try:
        hints = get_type_hints(middleware.state_schema, include_extras=True)
    except (NameError, TypeError):
        return False
    for hint in hints.values():
        parts = list(_parts(hint))
        if any(map(_is_untracked, parts)) and any(map(_is_live, parts)):
            return True
    return False


def _is_untracked(part: Any) -> bool:
    return getattr(part, "__name__", type(part).__name__) == "UntrackedValue"


def _is_live(part: Any) -> bool:
    return isinstance(part, type) and part.__module__.partition(".")[0] not in _NO_STATE


def _parts(hint: Any) -> Iterator[Any]:
    """Yield an annotation's types and what ``Annotated`` adds to them."""
    yield hint
    for part in (*get_args(hint), *getattr(hint, "__metadata__", ())):
        yield from _parts(part)
