"""Split of a ``ToolNode``'s work into parts, one per tool call."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from distgraph import placement
from distgraph._internal.missing import MISSING
from distgraph.contract.spec import Part, PartOptions

__all__ = ("ToolPart", "ToolSplit")


@dataclass(frozen=True)
class ToolPart:
    """The input of a worker for one tool call.

    Attributes:
        call: Dict with ``name``, ``args`` and ``id``.
        kind: Form of the node's input that contained the call.
        state: The state, if the input contains the state and the tool reads the state.
    """

    call: dict[str, Any]
    kind: Any
    state: Any = MISSING


@dataclass(frozen=True)
class ToolSplit:
    """Splits the node's input by tool calls. The driver holds the object, which contains no tool.

    Attributes:
        names: The node's tools, in order.
        messages_key: Key of the state that holds the messages.
        how: Options of the calls of each tool.
        stateful: Tools that read the state.
        other: Options of calls of unknown tools. None: such calls need no worker.
    """

    names: tuple[str, ...]
    messages_key: str
    how: Mapping[str, PartOptions]
    stateful: frozenset[str]
    other: PartOptions | None = None

    def parts(self, value: Any) -> Sequence[Part] | None:
        """Return a part for each tool call in the node's state."""
        return self._parts(value, sent=False)

    def sent_parts(self, value: Any) -> Sequence[Part] | None:
        """Return a part for each tool call in the argument of a ``Send``.

        A state in it is the one that the tools are to see, whatever the graph's is.
        """
        return self._parts(value, sent=True)

    def name_sent(self, value: Any) -> str:
        """Return the name of the tool that the argument of a ``Send`` calls, "" for several."""
        from distgraph.prebuilt.tool_calls import find_calls

        try:
            calls = find_calls(value, self.messages_key).calls
        except ValueError:
            return ""
        return str(calls[0]["name"]) if len(calls) == 1 else ""

    def _parts(self, value: Any, *, sent: bool) -> Sequence[Part] | None:
        from distgraph.prebuilt.tool_calls import find_calls

        try:
            found = find_calls(value, self.messages_key)
        except ValueError:
            return None  # the node itself raises the error, on a worker
        sent = found.state is not None and (sent or found.kind == "tool_calls")
        parts = []
        for call in found.calls:
            name = call["name"]
            if not self._runs(name):
                continue
            asks = name in self.stateful or name not in self.names
            state = found.state if asks and sent else MISSING
            parts.append(Part(ToolPart(call, found.kind, state), name, asks and not sent))
        return parts or None

    def _runs(self, name: str) -> bool:
        return name in self.how or self.other is not None

    def options(self, key: str) -> PartOptions:
        """Return the options of the calls of a tool."""
        return self.how.get(key) or self.other or PartOptions()

    def under(self, ray_options: Mapping[str, Any], node: str) -> ToolSplit:
        """Return the same split where the node has ``ray_options``: tools without their own have
        those.

        Raises:
            ValueError: They contradict what a tool has, or are not supported for it.
        """
        how = {name: _under(ray_options, own) for name, own in self.how.items()}
        for name, own in how.items():
            placement.resolve(own.ray_options, own.is_async, f"{node}.{name}")
        return replace(self, how=how)

    def timed_out(self, part: Part, seconds: float) -> Any:
        """Return the message to the model for a call that exceeded its timeout."""
        from distgraph.prebuilt.tool_errors import error_message

        return error_message(part.input.call, timeout_text(part.key, seconds))

    def join(self, value: Any, parts: Sequence[Part], results: Sequence[Any]) -> Any:
        """Return the node's return value: all tool messages as one update, in the order of the
        calls."""
        from distgraph.prebuilt.tool_calls import combined, find_calls, unknown_tool

        found = find_calls(value, self.messages_key)
        rest = iter(results)
        outputs = [
            next(rest) if self._runs(call["name"]) else unknown_tool(call, self.names)
            for call in found.calls
        ]
        return combined(outputs, found.kind, self.messages_key)


def _under(ray_options: Mapping[str, Any], own: PartOptions) -> PartOptions:
    options = {**ray_options, **own.ray_options}
    made = replace(own, ray_options=options)
    if own.other_form is None:
        return made
    other = replace(own.other_form, ray_options=placement.in_other_form(options, own.is_async))
    return replace(made, other_form=other)


def timeout_text(name: str, seconds: float) -> str:
    """Return the message to the model for a tool that exceeded its timeout."""
    return f"Error: tool '{name}' took longer than {seconds:g} s and was stopped."
