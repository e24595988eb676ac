"""The tool calls in a node's input, and the node's return value from their results."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from typing import Any, Literal

from langchain_core.messages import AIMessage, RemoveMessage, ToolMessage, convert_to_messages
from langchain_core.tools import base as _core

from distgraph.graph.message import REMOVE_ALL_MESSAGES
from distgraph.interop import own
from distgraph.prebuilt.tool_errors import error_message
from distgraph.types import Command, Send

__all__ = ("Calls", "combined", "find_calls", "normalised", "unknown_tool")

Kind = Literal["list", "dict", "tool_calls"]
"""Form of the node's input: messages, a state with messages, or tool calls."""

_BLOCKS: Any = getattr(_core, "TOOL_MESSAGE_BLOCK_TYPES", ("text", "image_url", "image", "json"))


@dataclass(frozen=True)
class Calls:
    """The tool calls in a node's input.

    Attributes:
        calls: Dicts with ``name``, ``args`` and ``id``.
        kind: Form of the input that contained the calls.
        state: The state in the input; None if the state must be read from the graph.
    """

    calls: Sequence[dict[str, Any]]
    kind: Kind
    state: Any


def find_calls(value: Any, messages_key: str) -> Calls:
    """Find the tool calls in a node's input.

    Raises:
        ValueError: There are no messages, or none is the model's.
    """
    if isinstance(value, list) and value and _is_call(value[-1]):
        return Calls(value, "tool_calls", None)
    if isinstance(value, Mapping) and value.get("__type") == "tool_call_with_context":
        return Calls([value["tool_call"]], "tool_calls", value.get("state"))
    kind: Kind = "dict"
    if isinstance(value, list):
        kind, messages = "list", value
    elif isinstance(value, Mapping):
        messages = value.get(messages_key) or []
    else:
        messages = getattr(value, messages_key, None) or []
    if not messages:
        raise ValueError(
            f"No message found in input: ToolNode expects messages under {messages_key!r}, a list "
            "of messages, or a list of tool calls"
        )
    for message in reversed(messages):
        if isinstance(message, AIMessage):
            return Calls(list(message.tool_calls), kind, value)  # type: ignore[arg-type]
    raise ValueError("No AIMessage found in input: only a model's message holds tool calls")


def _is_call(value: Any) -> bool:
    return isinstance(value, Mapping) and value.get("type") == "tool_call"


def unknown_tool(call: Mapping[str, Any], names: Sequence[str]) -> ToolMessage:
    """Return the tool message for a call of an unknown tool."""
    return error_message(
        call, f"Error: {call['name']} is not a valid tool, try one of [{', '.join(names)}]."
    )


def _content(output: Any) -> Any:
    if isinstance(output, str) or (
        isinstance(output, list)
        and all(isinstance(block, dict) and block.get("type") in _BLOCKS for block in output)
    ):
        return output
    try:
        return json.dumps(output, ensure_ascii=False)
    except Exception:
        return str(output)


def normalised(response: Any, call: Mapping[str, Any], kind: Kind, messages_key: str) -> Any:
    """Validate the result of a tool, and complete its messages.

    Returns: a ``ToolMessage``, a ``Command``, or a list of these.

    Raises:
        TypeError: The result has another type.
        ValueError: The result does not contain exactly one tool message for the call.
    """
    response = own(response)
    if isinstance(response, Command):
        return _command(response, call, kind, messages_key, answers=True)
    if isinstance(response, ToolMessage):
        response.content = _content(response.content)
        return response
    if not isinstance(response, list):
        raise TypeError(f"Tool {call['name']} returned unexpected type: {type(response)}")
    if not all(isinstance(item, (Command, ToolMessage)) for item in response):
        raise TypeError(
            f"Tool {call['name']} returned a list with invalid element types: expected all Command "
            "or ToolMessage"
        )
    count = sum(_answers(item, call, messages_key) for item in response)
    if count != 1:
        raise ValueError(
            f"Tool {call['name']} returned a list with {count} messages bound to tool_call_id "
            f"{call['id']!r}; expected exactly one terminating ToolMessage."
        )
    checked: list[Any] = []
    for item in response:
        if isinstance(item, Command):
            checked.append(_command(item, call, kind, messages_key, answers=False))
        else:
            item.content = _content(item.content)
            checked.append(item)
    return checked


def _answers(item: Any, call: Mapping[str, Any], messages_key: str) -> int:
    messages: Any = [item]
    if isinstance(item, Command):
        messages = item.update.get(messages_key, []) if isinstance(item.update, dict) else []
    return sum(isinstance(m, ToolMessage) and m.tool_call_id == call["id"] for m in messages)


def _command(
    command: Command[Any], call: Mapping[str, Any], kind: Kind, messages_key: str, *, answers: bool
) -> Command[Any]:
    """Validate a tool's command; ``answers``: the command must contain the tool message for the
    call."""
    update: Any = command.update
    if not isinstance(update, (dict, list)):
        return command
    if isinstance(update, dict) and kind == "list":
        raise ValueError(
            f"Tools can provide a dict in Command.update only when using dict with "
            f"'{messages_key}' key as ToolNode input, got: {update} for tool '{call['name']}'"
        )
    if isinstance(update, list) and kind != "list":
        raise ValueError(
            "Tools can provide a list of messages in Command.update only when using list of "
            f"messages as ToolNode input, got: {update} for tool '{call['name']}'"
        )
    update = deepcopy(update)
    command = Command(graph=command.graph, update=update, resume=command.resume, goto=command.goto)
    messages = convert_to_messages(
        update.get(messages_key, []) if isinstance(update, dict) else update
    )
    if messages == [RemoveMessage(id=REMOVE_ALL_MESSAGES)]:
        return command
    matching = [m for m in messages if isinstance(m, ToolMessage) and m.tool_call_id == call["id"]]
    for message in matching:
        message.name = call["name"]
    if answers and command.graph is None and not matching:
        example = '[ToolMessage("Success", tool_call_id=tool_call_id), ...]'
        if kind == "dict":
            example = f'{{"messages": {example}}}'
        raise ValueError(
            f"Expected to have a matching ToolMessage in Command.update for tool '{call['name']}', "
            f"got: {messages}. Every tool call (LLM requesting to call a tool) in the message "
            "history MUST have a corresponding ToolMessage. You can fix it by modifying the tool "
            f"to return `Command(update={example}, ...)`."
        )
    return command


def combined(outputs: Sequence[Any], kind: Kind, messages_key: str) -> Any:
    """Combine the results of the tools, in the order of the calls, into the node's return value."""
    flat: list[Any] = []
    for output in outputs:
        flat.extend(output if isinstance(output, list) else [output])
    if not any(isinstance(output, Command) for output in flat):
        return flat if kind == "list" else {messages_key: flat}
    returned: list[Any] = []
    sends: list[Any] = []
    for output in flat:
        if not isinstance(output, Command):
            returned.append([output] if kind == "list" else {messages_key: [output]})
        elif _only_sends(output):
            sends.extend(output.goto)  # type: ignore[arg-type]
        else:
            returned.append(output)
    if sends:
        # a node returns one command to its parent graph at most
        returned.append(Command(graph=Command.PARENT, goto=sends))
    return returned


def _only_sends(command: Command[Any]) -> bool:
    goto = command.goto
    return (
        command.graph == Command.PARENT
        and isinstance(goto, (list, tuple))
        and bool(goto)
        and all(isinstance(target, Send) for target in goto)
    )
