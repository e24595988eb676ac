"""A chat model that follows a plan, whatever process it runs in."""

from __future__ import annotations

from typing import Any

from langchain_core.messages import AIMessage

from tests.support.models import CallingModel


class Steps(CallingModel):
    """Makes the calls of one step after the other, then answers with what the tools said."""

    steps: list[list[tuple[str, dict[str, Any]]]] = []
    tag: str = "root"

    def reply(self, messages: list[Any], **kwargs: Any) -> AIMessage:
        start = max((i for i, m in enumerate(messages) if m.type == "human"), default=-1)
        recent = messages[start + 1 :]
        made = sum(bool(m.tool_calls) for m in recent if isinstance(m, AIMessage))
        if made < len(self.steps):
            calls = [
                {"name": name, "args": args, "id": f"{self.tag}_{made}_{i}", "type": "tool_call"}
                for i, (name, args) in enumerate(self.steps[made])
            ]
            return AIMessage(content="", tool_calls=calls)
        said = [m.text for m in recent if m.type == "tool"]
        return AIMessage(content=f"{self.tag}: {said[-1] if said else 'done'}")
