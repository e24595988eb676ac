"""Split of the work of LangGraph's ``ToolNode``. The driver imports no LangChain for it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from distgraph.contract.spec import Part, PartOptions
from distgraph.prebuilt.split import ToolSplit

__all__ = ("NodeToolSplit",)


@dataclass(frozen=True)
class NodeToolSplit:
    """Splits by tool calls. A single call that is placed as its node is runs with the node."""

    tools: ToolSplit
    plain: frozenset[str]
    """Synchronous tools without options of their own."""

    def parts(self, value: Any) -> Sequence[Part] | None:
        """Return a part for each tool call in the node's state, None to run the node whole."""
        return self._placed(self.tools.parts(value))

    def sent_parts(self, value: Any) -> Sequence[Part] | None:
        """Return a part for each tool call in the argument of a ``Send``, or None."""
        return self._placed(self.tools.sent_parts(value))

    def name_sent(self, value: Any) -> str:
        """Return the name of the tool that the argument of a ``Send`` calls."""
        return self.tools.name_sent(value)

    def _placed(self, parts: Sequence[Part] | None) -> Sequence[Part] | None:
        if not parts or parts[0].input.kind == "list":
            return None
        if len(parts) == 1 and parts[0].key in self.plain:
            return None
        return parts

    def options(self, key: str) -> PartOptions:
        """Return the options of the calls of a tool."""
        return self.tools.options(key)

    def timed_out(self, part: Part, seconds: float) -> Any:
        """Return the message to the model for a call that exceeded its timeout."""
        return self.tools.timed_out(part, seconds)

    def join(self, value: Any, parts: Sequence[Part], results: Sequence[Any]) -> Any:
        """Return the node's return value: all tool messages as one update, in the order of the
        calls."""
        return self.tools.join(value, parts, results)
