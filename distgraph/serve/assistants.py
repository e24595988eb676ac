"""Endpoints of assistants."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any
from uuid import UUID

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from distgraph.serve.access import Action
from distgraph.serve.conditions import Filters
from distgraph.serve.database import Conflict
from distgraph.serve.errors import RequestError
from distgraph.serve.graphs import Graph, assistant_id_of
from distgraph.serve.http import answer, body_of, nothing, page_of, paged, selected
from distgraph.serve.records import Assistant, new_id, now

if TYPE_CHECKING:
    from distgraph.serve.server import Server

__all__ = ("AssistantEndpoints",)

_FIELDS = ("graph_id", "name", "config", "context", "metadata", "description")


class AssistantEndpoints:
    """Endpoints of assistants.

    Args:
        server: The server.
    """

    def __init__(self, server: Server) -> None:
        self._server = server

    def routes(self) -> list[BaseRoute]:
        """Return the routes."""
        one = "/assistants/{assistant_id}"
        return [
            Route("/assistants", self.create, methods=["POST"]),
            Route("/assistants/search", self.search, methods=["POST"]),
            Route("/assistants/count", self.count, methods=["POST"]),
            Route(one, self.get, methods=["GET"]),
            Route(one, self.change, methods=["PATCH"]),
            Route(one, self.delete, methods=["DELETE"]),
            Route(one + "/graph", self.graph, methods=["GET"]),
            Route(one + "/schemas", self.schemas, methods=["GET"]),
            Route(one + "/subgraphs", self.subgraphs, methods=["GET"]),
            Route(one + "/subgraphs/{namespace}", self.subgraphs, methods=["GET"]),
            Route(one + "/versions", self.versions, methods=["POST"]),
            Route(one + "/latest", self.latest, methods=["POST"]),
        ]

    async def create(self, request: Request) -> Response:
        """Create an assistant."""
        body = await body_of(request)
        graph_id = self._known_graph(body.get("graph_id"))
        assistant_id = _assistant_id(body.get("assistant_id"))
        if_exists = body.get("if_exists") or "raise"
        if if_exists not in ("raise", "do_nothing"):
            raise RequestError(422, f"if_exists must be raise or do_nothing, got {if_exists!r}")
        given = _given(body)
        value: dict[str, Any] = {
            "assistant_id": assistant_id,
            **given,
            "graph_id": graph_id,
            "metadata": dict(given.get("metadata", {})),
        }
        filters = await self._server.access.authorize(request, "assistants", "create", value)
        stamp = now()
        assistant = Assistant(
            assistant_id=assistant_id,
            graph_id=graph_id,
            name=given.get("name") or "Untitled",
            created_at=stamp,
            updated_at=stamp,
            config=given.get("config", {}),
            context=given.get("context", {}),
            metadata=value["metadata"],
            description=given.get("description"),
        )
        try:
            await self._server.registry.assistants.add(assistant)
        except Conflict:
            known = await self._server.registry.assistants.get(assistant_id, filters)
            if if_exists == "raise" or known is None:
                raise RequestError(
                    409, f"Assistant with ID {assistant_id} already exists"
                ) from None
            return answer(known.shown())
        return answer(assistant.shown())

    async def search(self, request: Request) -> Response:
        """Answer with the assistants that fit."""
        body = await body_of(request)
        page = page_of(body, Assistant)
        found, total = await self._find(request, body, page)
        shown = [selected(assistant.shown(), body.get("select")) for assistant in found]
        return paged(shown, total, page)

    async def count(self, request: Request) -> Response:
        """Answer with the number of assistants that fit."""
        body = await body_of(request)
        _, total = await self._find(request, body, page_of({"limit": 1}, Assistant))
        return answer(total)

    async def _find(
        self, request: Request, body: dict[str, Any], page: Any
    ) -> tuple[list[Assistant], int]:
        value = {**body, "metadata": dict(body.get("metadata") or {})}
        filters = await self._server.access.authorize(request, "assistants", "search", value)
        return await self._server.registry.assistants.search(
            page,
            graph_id=body.get("graph_id"),
            name=body.get("name"),
            metadata=value["metadata"],
            filters=filters,
        )

    async def get(self, request: Request) -> Response:
        """Answer with an assistant."""
        return answer((await self._assistant(request, "read")).shown())

    async def change(self, request: Request) -> Response:
        """Make a new version of an assistant."""
        body = await body_of(request)
        given = _given(body)
        if "graph_id" in given:
            self._known_graph(given["graph_id"])
        assistant = await self._assistant(request, "update", given)
        if "metadata" in given:
            given["metadata"] = {**assistant.metadata, **given["metadata"]}
        changes = {key: given[key] for key in _FIELDS if key in given}
        changed = await self._server.registry.assistants.change(assistant.assistant_id, changes)
        return answer(changed.shown())

    async def delete(self, request: Request) -> Response:
        """Delete an assistant with its versions; a graph's own stays."""
        assistant = await self._assistant(request, "delete")
        if assistant.metadata.get("created_by") == "system":
            raise RequestError(
                409, f"the assistant of graph {assistant.graph_id!r} itself cannot be deleted"
            )
        await self._server.registry.assistants.delete(assistant.assistant_id)
        return nothing()

    async def versions(self, request: Request) -> Response:
        """Answer with the versions of an assistant, newest first."""
        assistant = await self._assistant(request, "read")
        body = await body_of(request)
        page = page_of(body, Assistant)
        found, total = await self._server.registry.assistants.versions(
            assistant.assistant_id, page, body.get("metadata")
        )
        return paged([version.shown() for version in found], total, page)

    async def latest(self, request: Request) -> Response:
        """Make a version the current one."""
        assistant = await self._assistant(request, "update")
        version = (await body_of(request)).get("version")
        if not isinstance(version, int):
            raise RequestError(422, f"version must be a number, got {version!r}")
        chosen = await self._server.registry.assistants.set_version(assistant.assistant_id, version)
        if chosen is None:
            raise RequestError(404, f"the assistant has no version {version}")
        return answer(chosen.shown())

    # --- graphs -----------------------------------------------------------------------------------

    async def graph(self, request: Request) -> Response:
        """Answer with the nodes and edges of an assistant's graph."""
        assistant = await self._assistant(request, "read")
        given = request.query_params.get("xray", "false").lower()
        xray: bool | int = int(given) if given.isdigit() else given == "true"
        async with self._server.graphs.opened(assistant.graph_id, _config(assistant)) as graph:
            return answer(graph.get_graph(xray=xray).to_json())

    async def schemas(self, request: Request) -> Response:
        """Answer with the JSON schemas of an assistant's graph."""
        assistant = await self._assistant(request, "read")
        async with self._server.graphs.opened(assistant.graph_id, _config(assistant)) as graph:
            return answer({"graph_id": assistant.graph_id, **_schemas(graph)})

    async def subgraphs(self, request: Request) -> Response:
        """Answer with the JSON schemas of the subgraphs of an assistant's graph."""
        assistant = await self._assistant(request, "read")
        namespace = request.path_params.get("namespace")
        recurse = request.query_params.get("recurse", "false").lower() in ("true", "1")
        async with self._server.graphs.opened(assistant.graph_id, _config(assistant)) as graph:
            found = {
                name: _schemas(inner)
                for name, inner in graph.get_subgraphs(namespace=namespace, recurse=recurse)
            }
        return answer(found)

    # --- common -----------------------------------------------------------------------------------

    def _known_graph(self, graph_id: Any) -> str:
        if not isinstance(graph_id, str) or not graph_id:
            raise RequestError(422, f"graph_id is required: a string, got {graph_id!r}")
        if graph_id not in self._server.graphs:
            raise RequestError(
                404,
                f"Graph '{graph_id}' not found. Expected one of: {sorted(self._server.graphs)}",
            )
        return graph_id

    async def _assistant(
        self, request: Request, action: Action, value: dict[str, Any] | None = None
    ) -> Assistant:
        """Return the assistant of a path, by its id or the name of its graph."""
        name = str(request.path_params["assistant_id"])
        known = name in self._server.graphs
        assistant_id = assistant_id_of(name) if known else _assistant_id(name)
        value = {} if value is None else value
        value["assistant_id"] = assistant_id
        filters: Filters = await self._server.access.authorize(request, "assistants", action, value)
        found = await self._server.registry.assistants.get(assistant_id, filters)
        if found is None or found.graph_id not in self._server.graphs:
            raise RequestError(404, f"Assistant with ID {assistant_id} not found")
        return found


def _assistant_id(given: Any) -> str:
    if given is None:
        return new_id()
    try:
        return str(UUID(str(given)))
    except ValueError:
        raise RequestError(
            422, f"Invalid assistant ID: must be a UUID, or the name of a graph: {str(given)[:60]}"
        ) from None


def _given(body: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of an assistant that a body has. The context is the configurable too."""
    given = {key: body[key] for key in _FIELDS if body.get(key) is not None}
    for key in ("config", "context", "metadata"):
        if key in given and not isinstance(given[key], dict):
            raise RequestError(422, f"{key} must be an object, got {given[key]!r}"[:200])
    config, context = dict(given.get("config", {})), given.get("context")
    if context and config.get("configurable"):
        raise RequestError(
            400, "give the configuration as context or as config.configurable, not as both"
        )
    if context:
        given["config"] = {**config, "configurable": dict(context)}
    elif config.get("configurable"):
        given["context"] = dict(config["configurable"])
    return given


def _config(assistant: Assistant) -> dict[str, Any]:
    return {"configurable": {}, **assistant.config}


def _schemas(graph: Graph) -> dict[str, Any]:
    return {
        "input_schema": _schema(graph.get_input_jsonschema),
        "output_schema": _schema(graph.get_output_jsonschema),
        "state_schema": _schema(lambda: _state_schema(graph)),
        "config_schema": _schema(lambda: graph.get_context_jsonschema() or {}),
        "context_schema": _schema(graph.get_context_jsonschema),
    }


def _schema(make: Callable[[], Any]) -> Any:
    """Return a JSON schema; null for a schema that has none."""
    with suppress(Exception):
        return make()
    return None


def _state_schema(graph: Graph) -> Any:
    from distgraph.graph.jsonschema import json_schema

    with suppress(KeyError, AttributeError):
        blueprint = graph.blueprint
        return json_schema(blueprint, blueprint.state_schema, graph.get_name("State"))
    return graph.get_output_jsonschema()
