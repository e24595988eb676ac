"""Chat messages as events: ``message-start``, blocks of content with deltas, ``message-finish``."""

from __future__ import annotations

import json
from collections.abc import Hashable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from langchain_core.messages import BaseMessage

__all__ = ("MessageEvents", "role_of")

Data = dict[str, Any]
Block = dict[str, Any]

_ROLES = {
    "ai": "ai",
    "AIMessageChunk": "ai",
    "human": "human",
    "HumanMessageChunk": "human",
    "system": "system",
    "SystemMessageChunk": "system",
}
_CHUNKS = ("tool_call_chunk", "server_tool_call_chunk")
_TOOL_CALLS = ("tool_call", "invalid_tool_call", "tool_call_chunk")
_PAYLOADS = frozenset({"data", "base64", "output", "transcript"})
"""Fields that only the finish of a block carries, because they can be large."""
_METADATA = {
    "ls_provider": "provider",
    "ls_model_name": "model",
    "ls_model_type": "model_type",
    "thread_id": "thread_id",
    "langgraph_node": "langgraph_node",
    "langgraph_step": "langgraph_step",
}


def role_of(message: BaseMessage) -> str | None:
    """Return the role of a message on the channel; None for one that the channel does not show.

    Results of tools are events of the channel ``tools``.
    """
    return _ROLES.get(message.type)


class MessageEvents:
    """The events of one message, from its chunks or from the whole message.

    Each event carries the message's id twice: as ``id``, by which Python's client tells messages
    apart that are streamed at the same time, and as ``run_id``, by which JavaScript's client does.
    All blocks finish with the message, because providers interleave the chunks of parallel tool
    calls.
    """

    def __init__(self, message_id: str) -> None:
        self.id = message_id
        self._blocks: dict[Hashable, tuple[int, Block]] = {}
        self._usage: dict[str, Any] | None = None
        self._response: dict[str, Any] = {}

    def start(self, message: BaseMessage, metadata: Mapping[str, Any]) -> Data:
        """Return the first event.

        Args:
            message: The whole message, or its first chunk.
            metadata: What mode ``messages`` has beside the message.
        """
        shown = {
            name: metadata[key]
            for key, name in _METADATA.items()
            if isinstance(metadata.get(key), str | int | float | bool)
        }
        response = message.response_metadata
        for key, name in (("model_provider", "provider"), ("model_name", "model")):
            if isinstance(response.get(key), str):
                shown[name] = response[key]
        data = self._data("message-start", role=role_of(message) or "ai")
        if shown:
            data["metadata"] = shown
        return data

    def feed(self, message: BaseMessage) -> Iterator[Data]:
        """Yield the events of a chunk, or of a whole message."""
        for key, block in _blocks(message):
            known = self._blocks.get(key)
            if known is None:
                index = len(self._blocks)
                self._blocks[key] = (index, dict(block))
                yield self._data("content-block-start", index=index, content=_skeleton(block))
            else:
                index = known[0]
                _merge(known[1], block)
            delta = _delta(block)
            if delta is not None:
                yield self._data("content-block-delta", index=index, delta=delta)
        usage = getattr(message, "usage_metadata", None)
        if usage:
            self._usage = _sum(self._usage or {}, usage)
        self._response.update(message.response_metadata)

    def finish(self) -> Iterator[Data]:
        """Yield the last events: each block as a whole, and ``message-finish``."""
        for index, block in self._blocks.values():
            yield self._data("content-block-finish", index=index, content=_whole(block))
        data = self._data("message-finish")
        if self._usage:
            data["usage"] = self._usage
        if self._response:
            data["metadata"] = dict(self._response)
        yield data

    def fail(self, reason: str, code: str) -> Data:
        """Return the last event of a message that has no end."""
        return self._data("error", message=reason, code=code)

    def _data(self, event: str, **fields: Any) -> Data:
        return {"event": event, "id": self.id, "run_id": self.id, **fields}


def _blocks(message: BaseMessage) -> Iterator[tuple[Hashable, Block]]:
    """Yield the blocks of a message, each with what tells it apart from the others.

    Chunks of tool calls come from ``tool_call_chunks``: ``content_blocks`` of a message's last
    chunk has parsed calls in their place, and a part of the arguments is no JSON.
    """
    chunks = getattr(message, "tool_call_chunks", None) or ()
    for position, block in enumerate(message.content_blocks):
        if chunks and block.get("type") in _TOOL_CALLS:
            continue
        index = block.get("index")
        kind = str(block.get("type"))
        yield (kind, position if index is None else ("index", index)), dict(block)
    for position, chunk in enumerate(chunks):
        index = chunk.get("index")
        yield (
            ("tool_call_chunk", position if index is None else ("index", index)),
            {**chunk, "type": "tool_call_chunk"},
        )
    if not message.type.endswith("Chunk"):
        for position, call in enumerate(getattr(message, "invalid_tool_calls", None) or ()):
            yield ("invalid_tool_call", position), {**call, "type": "invalid_tool_call"}


def _skeleton(block: Block) -> Block:
    """Return a block as its first event shows it: what deltas and the finish add is empty."""
    kind = block.get("type")
    if kind == "text":
        return {**_small(block, "text", "annotations"), "text": ""}
    if kind == "reasoning":
        return {**_small(block, "reasoning"), "reasoning": ""}
    if kind in _CHUNKS:
        return {"id": None, "name": None, **_small(block, "args"), "args": ""}
    if kind in ("tool_call", "server_tool_call"):
        return {**_small(block, "args"), "args": {}}
    if kind == "non_standard":
        return {**_small(block, "value"), "value": {}}
    return _small(block)


def _small(block: Block, *without: str) -> Block:
    left_out = _PAYLOADS.union(without)
    return {key: value for key, value in block.items() if key not in left_out}


def _delta(block: Block) -> Data | None:
    kind = block.get("type")
    if kind == "text":
        return {"type": "text-delta", "text": block["text"]} if block.get("text") else None
    if kind == "reasoning":
        text = block.get("reasoning")
        return {"type": "reasoning-delta", "reasoning": text} if text else None
    if kind in _CHUNKS:
        return {"type": "tool-call-delta", "args": block["args"]} if block.get("args") else None
    if block.get("data"):
        delta = {"type": "data-delta", "data": block["data"]}
        return {**delta, "encoding": "base64"} if block.get("encoding") == "base64" else delta
    return None


def _merge(whole: Block, part: Block) -> None:
    """Add a chunk's block to what is known of the block."""
    grows = {"text": "text", "reasoning": "reasoning"}.get(str(part.get("type")))
    if part.get("type") in _CHUNKS:
        grows = "args"
    elif grows is None and "data" in part:
        grows = "data"
    for key, value in part.items():
        if value is None or key == "type":
            continue
        if key == grows:
            whole[key] = (whole.get(key) or "") + value
        elif key == "extras" and isinstance(value, dict):
            whole[key] = {**(whole.get(key) or {}), **value}
        else:
            whole[key] = value


def _whole(block: Block) -> Block:
    if block.get("type") not in _CHUNKS:
        return dict(block)
    rest = {
        key: value
        for key, value in block.items()
        if key not in ("type", "args", "index") and value is not None
    }
    kind = str(block["type"]).removesuffix("_chunk")
    text = block.get("args") or "{}"
    named = {"id": block.get("id") or "", "name": block.get("name") or "", **rest}
    try:
        arguments = json.loads(text)
    except ValueError:
        arguments = None
    if isinstance(arguments, dict):
        return {"type": kind, **named, "args": arguments}
    return {
        "type": "invalid_tool_call",
        **named,
        "args": text,
        "error": "the arguments of the call are no JSON object",
    }


def _sum(usage: Mapping[str, Any], more: Mapping[str, Any]) -> dict[str, Any]:
    total = dict(usage)
    for key, value in more.items():
        if isinstance(value, Mapping):
            total[key] = _sum(total.get(key) or {}, value)
        elif isinstance(value, int):
            total[key] = (total.get(key) or 0) + value
    return total
