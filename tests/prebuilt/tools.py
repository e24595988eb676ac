"""Tools that the tests call, for either engine where they ask for something of it."""

import asyncio
from typing import Annotated, Any, Literal

from langchain_core.messages import ToolMessage
from langchain_core.tools import BaseTool, InjectedToolCallId, StructuredTool, tool
from pydantic import BaseModel, Field

from tests.prebuilt.support import prebuilt
from tests.support.engines import Engine


@tool
def add(a: int, b: int) -> int:
    """Add two numbers."""
    return a + b


@tool
async def aadd(a: int, b: int) -> int:
    """Add two numbers, in a while."""
    await asyncio.sleep(0)
    return a + b


@tool
def fails(reason: str) -> str:
    """Fail."""
    raise LookupError(reason)


@tool
def blocks(n: int) -> list[dict[str, Any]]:
    """Answer in content blocks."""
    return [{"type": "text", "text": f"block {i}"} for i in range(n)]


@tool
def table(n: int) -> dict[str, Any]:
    """Answer with what is no text."""
    return {"rows": list(range(n)), "ü": "ö"}


@tool(response_format="content_and_artifact")
def chart(n: int) -> tuple[str, dict[str, Any]]:
    """Answer with an artifact besides."""
    return f"chart of {n}", {"points": list(range(n))}


class Query(BaseModel):
    """Search for something."""

    text: str = Field(min_length=3)
    limit: Literal[1, 2] = 1


search = StructuredTool.from_function(
    lambda text, limit: f"{limit} of {text}",
    name="search",
    description="Search.",
    args_schema=Query,
)


def plain(x: int = 3) -> str:
    """A function that is no tool yet."""
    return f"plain {x}"


class ByClass(BaseTool):
    """A tool by inheritance, which has a coroutine too."""

    name: str = "by_class"
    description: str = "Double."

    def _run(self, x: int) -> str:
        return str(2 * x)

    async def _arun(self, x: int) -> str:
        return str(2 * x)


class OnlySync(BaseTool):
    """A tool by inheritance that says it has no coroutine."""

    name: str = "only_sync"
    description: str = "Triple."

    def _run(self, x: int) -> str:
        return str(3 * x)

    async def _arun(self, x: int) -> str:
        raise NotImplementedError("no async")


def with_state(ns: Engine) -> list[Any]:
    """Tools that ask for the state, whole or a key of it."""
    markers = prebuilt(ns)

    @tool
    def whole(x: int, state: Annotated[Any, markers.InjectedState]) -> str:
        """Look at the state."""
        kind = "messages" if isinstance(state, list) else sorted(_keys(state))
        return f"{x} {kind}"

    @tool
    def key(x: int, foo: Annotated[str, markers.InjectedState("foo")]) -> str:
        """Look at a key."""
        return f"{x} {foo}"

    @tool
    def messages(x: int, messages: Annotated[list, markers.InjectedState("messages")]) -> str:
        """Look at the messages."""
        return f"{x} {len(messages)}"

    @tool
    def optional(x: int, bar: Annotated[str, markers.InjectedState("bar")] = "none") -> str:
        """Look at a key that may be missing."""
        return f"{x} {bar}"

    return [whole, key, messages, optional]


def _keys(state: Any) -> list[str]:
    keys = state if isinstance(state, dict) else type(state).model_fields
    return [key for key in keys if not key.startswith(("branch:", "__"))]


def with_runtime(ns: Engine) -> list[Any]:
    """Tools that ask for the run, or the store."""
    markers = prebuilt(ns)

    @tool
    def around(x: int, runtime: markers.ToolRuntime) -> str:
        """Look around."""
        names = [t.name for t in runtime.tools]
        state = sorted(_keys(runtime.state))
        return f"{x} {runtime.tool_call_id} {state} {runtime.context} {names}"

    @tool
    async def writes(x: int, runtime: markers.ToolRuntime) -> str:
        """Write to the stream."""
        runtime.stream_writer({"node": "tools", "x": x, "call": runtime.tool_call_id})
        return str(runtime.config["metadata"].get("langgraph_node"))

    @tool
    def stored(x: int, store: Annotated[Any, markers.InjectedStore()]) -> str:
        """Ask the store."""
        return f"{x} {store['y']}"

    return [around, writes, stored]


def with_commands(ns: Engine) -> list[Any]:
    """Tools that return commands."""
    Command, Send = ns.Command, ns.Send

    def answer(text: str, id: str) -> ToolMessage:
        return ToolMessage(text, tool_call_id=id)

    @tool
    def update(x: int, id: Annotated[str, InjectedToolCallId]) -> Any:
        """Update the state."""
        return Command(update={"foo": f"foo {x}", "messages": [answer("updated", id)]})

    @tool
    def silent(x: int) -> Any:
        """Update the state without an answer."""
        return Command(update={"foo": f"foo {x}"})

    @tool
    def as_list(x: int, id: Annotated[str, InjectedToolCallId]) -> Any:
        """Update a list state."""
        return Command(update=[answer("updated", id)])

    @tool
    def several(x: int, id: Annotated[str, InjectedToolCallId]) -> Any:
        """Return a list."""
        return [Command(update={"foo": f"foo {x}"}), answer(f"several {x}", id)]

    @tool
    def too_many(x: int, id: Annotated[str, InjectedToolCallId]) -> Any:
        """Answer twice."""
        return [answer("one", id), answer("two", id)]

    @tool
    def goes(x: int, id: Annotated[str, InjectedToolCallId]) -> Any:
        """Go elsewhere."""
        return Command(update={"messages": [answer("gone", id)]}, goto="other")

    @tool
    def hands_over(x: int) -> Any:
        """Send to the parent graph."""
        return Command(graph=Command.PARENT, goto=[Send("other", {"x": x})])

    @tool(response_format="content_and_artifact")
    def pair(x: int, id: Annotated[str, InjectedToolCallId]) -> Any:
        """Return a command beside an artifact."""
        return Command(update={"messages": [answer("pair", id)]}), {"x": x}

    return [update, silent, as_list, several, too_many, goes, hands_over, pair]
