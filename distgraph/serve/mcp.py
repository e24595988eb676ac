"""``/mcp``: the graphs as tools for clients of the Model Context Protocol.

Streamable HTTP without sessions: each request has its answer as JSON, and any replica answers. The
protocol is that of modelcontextprotocol.io, versions 2025-03-26 and 2025-06-18.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import TYPE_CHECKING, Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from distgraph.serve.encoding import as_json, request_json
from distgraph.serve.errors import RequestError
from distgraph.serve.http import answer
from distgraph.serve.meta import version_of
from distgraph.serve.records import Assistant, Page, Run
from distgraph.serve.run_requests import RunRequest
from distgraph.serve.sse import PADDING, StreamedResponse
from distgraph.serve.starting import start_run

if TYPE_CHECKING:
    from distgraph.serve.runs import RunEndpoints
    from distgraph.serve.server import Server

__all__ = ("McpEndpoints",)

_VERSIONS = ("2025-06-18", "2025-03-26")
_MOST = 1000
"""Tools of one page."""

_INVALID_REQUEST, _NO_METHOD, _INVALID_PARAMS = -32600, -32601, -32602

Message = Mapping[str, Any]


class _Fault(Exception):
    """A request that is answered with an error of JSON-RPC."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


class McpEndpoints:
    """The endpoint for clients of the Model Context Protocol.

    Args:
        server: The server.
        runs: Waits for runs.
    """

    def __init__(self, server: Server, runs: RunEndpoints) -> None:
        self._server = server
        self._runs = runs

    def routes(self) -> list[BaseRoute]:
        """Return the routes."""
        # no GET: there is no stream of messages that nobody has asked for
        return [
            Route("/mcp", self.call, methods=["POST"]),
            Route("/mcp/", self.call, methods=["POST"], include_in_schema=False),
        ]

    async def call(self, request: Request) -> Response | StreamedResponse:
        """Answer a message of the Model Context Protocol: initialize, tools/list, tools/call."""
        message = request_json(await request.body())
        if not isinstance(message, dict) or not isinstance(message.get("method"), str):
            is_answer = isinstance(message, dict) and ("result" in message or "error" in message)
            if is_answer:
                return Response(status_code=202)
            fault = _Fault(_INVALID_REQUEST, "the body is one JSON-RPC message with a method")
            return answer(_refused(None, fault), 400)
        if "id" not in message:
            return Response(status_code=202)  # a notification
        try:
            return await self._answer(request, message)
        except _Fault as fault:
            return answer(_refused(message["id"], fault))

    async def _answer(self, request: Request, message: Message) -> Response | StreamedResponse:
        method, params = message["method"], message.get("params") or {}
        if not isinstance(params, dict):
            raise _Fault(_INVALID_PARAMS, "params is a JSON object")
        if method == "tools/call":
            return await self._call_tool(request, message["id"], params)
        if method == "initialize":
            asked = params.get("protocolVersion")
            result: dict[str, Any] = {
                "protocolVersion": asked if asked in _VERSIONS else _VERSIONS[0],
                "capabilities": {"tools": {}},
                "serverInfo": {"name": "distgraph", "version": version_of("distgraph") or "0"},
            }
        elif method == "ping":
            result = {}
        elif method == "tools/list":
            result = await self._tools(request, params)
        else:
            raise _Fault(_NO_METHOD, f"{method} is not supported")
        return answer(_accepted(message["id"], result))

    # --- tools ------------------------------------------------------------------------------------

    async def _tools(self, request: Request, params: Mapping[str, Any]) -> dict[str, Any]:
        offset = str(params.get("cursor") or "0")
        if not offset.isdecimal():
            raise _Fault(_INVALID_PARAMS, "cursor is that of the last answer")
        value: dict[str, Any] = {"metadata": {}}
        filters = await self._server.access.authorize(request, "assistants", "search", value)
        page = Page(_MOST, int(offset), "assistant_id", descending=False)
        found, total = await self._server.registry.assistants.search(page, filters=filters)
        result: dict[str, Any] = {
            "tools": [
                await self._tool(each) for each in found if each.graph_id in self._server.graphs
            ]
        }
        if page.offset + len(found) < total:
            result["nextCursor"] = str(page.offset + len(found))
        return result

    async def _tool(self, assistant: Assistant) -> dict[str, Any]:
        async with self._server.graphs.opened(
            assistant.graph_id, {"configurable": {}, **assistant.config}
        ) as graph:
            schema = graph.get_input_jsonschema()
        is_own = assistant.metadata.get("created_by") == "system"
        return {
            "name": assistant.graph_id if is_own else assistant.assistant_id,
            "title": assistant.name,
            "description": assistant.description or f"Runs the graph {assistant.graph_id}.",
            "inputSchema": {"type": "object", **schema},
        }

    async def _call_tool(
        self, request: Request, id: Any, params: Mapping[str, Any]
    ) -> StreamedResponse:
        name, arguments = params.get("name"), params.get("arguments") or {}
        if not isinstance(name, str) or not isinstance(arguments, dict):
            raise _Fault(_INVALID_PARAMS, "name is a text, and arguments is a JSON object")
        wanted = RunRequest.parse({"assistant_id": name, "input": arguments})
        try:
            run = await start_run(self._server, request, None, wanted)
        except RequestError as error:
            if error.status >= 500:
                raise
            raise _Fault(_INVALID_PARAMS, f"tool {name[:60]!r}: {error.detail}") from None

        async def leave() -> None:
            await self._server.runner.cancel(run)

        return StreamedResponse(
            self._result(id, run),
            headers={"Content-Type": "application/json"},
            filler=PADDING,
            silence=self._server.settings.heartbeat,
            on_leave=leave,
        )

    async def _result(self, id: Any, run: Run) -> AsyncIterator[bytes]:
        result = await self._runs.result(run)
        failure = result.get("__error__") if isinstance(result, dict) else None
        if failure is not None:
            text, shown = f"{failure['error']}: {failure['message']}", {}
        else:
            text = as_json(result).decode()
            shown = {"structuredContent": result} if isinstance(result, dict) else {}
        content = [{"type": "text", "text": text}]
        yield as_json(_accepted(id, {"content": content, **shown, "isError": failure is not None}))


def _accepted(id: Any, result: Mapping[str, Any]) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": id, "result": dict(result)}


def _refused(id: Any, fault: _Fault) -> dict[str, Any]:
    error = {"code": fault.code, "message": fault.message}
    return {"jsonrpc": "2.0", "id": id, "error": error}
