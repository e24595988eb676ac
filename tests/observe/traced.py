"""A graph with a subgraph, tools and a retry, and a program that runs it on Ray with spans.

As a program, every process of the cluster appends its spans to a file.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Sequence
from typing import Annotated, Any

from langchain_core.messages import AIMessage, AnyMessage
from langchain_core.tools import tool
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter, SpanExportResult
from typing_extensions import TypedDict

from distgraph import START, Runtime, StateGraph, ToolNode, add_messages
from distgraph.types import RetryPolicy

FILE = "SPANS_FILE"


class State(TypedDict, total=False):
    messages: Annotated[list[AnyMessage], add_messages]
    tries: int


@tool
def shout(text: str) -> str:
    """Say it loudly."""
    with trace.get_tracer("user").start_as_current_span("lungs"):
        return text.upper()


@tool
def fail(text: str) -> str:
    """Always fail."""
    raise ValueError(f"cannot {text}")


def think(state: State) -> State:
    calls = [
        {"name": name, "args": {"text": "hi"}, "id": f"call-{name}"} for name in ("shout", "fail")
    ]
    return {"messages": [AIMessage("", tool_calls=calls)]}


async def act(state: State) -> State:
    with trace.get_tracer("user").start_as_current_span("hands"):
        return {}


def flaky(state: State, runtime: Runtime[None]) -> State:
    if runtime.execution_info.node_attempt == 1:
        raise ConnectionError("again")
    return {"tries": 2}


def graph(backend: str) -> Any:
    child = StateGraph(State).add_node("act", act).add_edge(START, "act").compile(backend=backend)
    builder = StateGraph(State).add_node(think).add_node("sub", child)
    builder.add_node("tools", ToolNode([shout, fail], handle_tool_errors=True))
    retry = RetryPolicy(initial_interval=0.01, max_attempts=2)
    builder.add_node("flaky", flaky, retry_policy=retry)
    builder.add_edge(START, "think").add_edge("think", "sub").add_edge("sub", "tools")
    return builder.add_edge("tools", "flaky").compile(backend=backend, name="g")


TREE = [
    "request",
    "request > run g",
    "request > run g > step 1",
    "request > run g > step 1 > node think",
    "request > run g > step 2",
    "request > run g > step 2 > graph sub",
    "request > run g > step 2 > graph sub > step 1",
    "request > run g > step 2 > graph sub > step 1 > node act",
    "request > run g > step 2 > graph sub > step 1 > node act > hands",
    "request > run g > step 3",
    "request > run g > step 3 > node tools",
    "request > run g > step 3 > node tools",
    "request > run g > step 3 > node tools > tool fail",
    "request > run g > step 3 > node tools > tool shout",
    "request > run g > step 3 > node tools > tool shout > lungs",
    "request > run g > step 4",
    "request > run g > step 4 > node flaky",
    "request > run g > step 4 > node flaky",
]
"""The spans of a run of the graph inside of a request."""


def paths(spans: Iterable[dict[str, Any]]) -> list[str]:
    """Return the path of each span, sorted."""
    found = {span["id"]: span for span in spans}

    def path(span: dict[str, Any]) -> str:
        if span["parent"] is None:
            return str(span["name"])
        return f"{path(found[span['parent']])} > {span['name']}"

    return sorted(map(path, found.values()))


def plain(span: ReadableSpan) -> dict[str, Any]:
    """Return what tests look at of a span."""
    return {
        "name": span.name,
        "id": f"{span.context.span_id:016x}",
        "trace": f"{span.context.trace_id:032x}",
        "parent": None if span.parent is None else f"{span.parent.span_id:016x}",
        "status": span.status.status_code.name,
        "error": span.status.description,
        "attributes": dict(span.attributes or {}),
        "pid": os.getpid(),
    }


class FileExporter(SpanExporter):
    """Appends spans to a file that all processes share."""

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        with open(os.environ[FILE], "a", encoding="utf-8") as file:
            for span in spans:
                file.write(json.dumps(plain(span)) + "\n")
        return SpanExportResult.SUCCESS


def set_up() -> None:
    """Export the spans of this process."""
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(FileExporter()))
    trace.set_tracer_provider(provider)


def main(file: str) -> None:
    import ray

    os.environ[FILE] = file
    set_up()
    ray.init(
        address="local",
        num_cpus=2,
        include_dashboard=False,
        log_to_driver=False,
        logging_level="ERROR",
        runtime_env={"worker_process_setup_hook": "tests.observe.traced.set_up"},
    )
    with trace.get_tracer("test").start_as_current_span("request"):
        graph("ray").invoke({})


if __name__ == "__main__":
    main(sys.argv[1])
