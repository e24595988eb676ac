"""The runtime of a tool whose schema does not say what it is."""

from typing import Annotated, Any

from langchain_core.tools import InjectedToolArg, tool
from pydantic import BaseModel
from pydantic.json_schema import SkipJsonSchema

from distgraph.prebuilt import ToolRuntime
from distgraph.prebuilt.injection import injected_args


class Args(BaseModel):
    text: str
    runtime: SkipJsonSchema[Any]


@tool(args_schema=Args)
def look(text: str, runtime: ToolRuntime) -> str:
    """Look."""
    return text


def test_the_functions_annotation_tells_what_the_schema_leaves_out() -> None:
    found = injected_args(look)
    assert (found.runtime, found.runtime_class, found.reads_state) == ("runtime", ToolRuntime, True)


@tool
def ask(text: str, runtime: Annotated[object | None, InjectedToolArg()] = None) -> str:
    """Ask, as the tools of langchain-mcp-adapters do."""
    return text


def test_the_name_is_enough_as_in_langgraph() -> None:
    found = injected_args(ask)
    assert (found.runtime, found.reads_state) == ("runtime", True)
