"""The description of the server's endpoints: ``/openapi.json``, and ``/docs``, a page of it.

Paths, methods and summaries are those of the routes and of their docstrings. What requests and
answers contain is in the tables of this module.
"""

from __future__ import annotations

import html
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields as fields_of
from typing import Any, NamedTuple, get_args

from starlette.routing import BaseRoute, Route

from distgraph.serve.event_protocol.subscriptions import CHANNELS
from distgraph.serve.http import field_schema
from distgraph.serve.records import Assistant, Cron, Run, RunStatus, Thread, ThreadStatus
from distgraph.serve.run_requests import CLIENT_MODES, RUN_FIELDS, MultitaskStrategy

__all__ = ("BODIES", "description", "page")

Schema = dict[str, Any]

TEXT: Schema = {"type": "string"}
FLAG: Schema = {"type": "boolean"}
OBJECT: Schema = {"type": "object"}
ANY: Schema = {}


def _one_of(*choices: str) -> Schema:
    return {"type": "string", "enum": list(choices)}


def _list(item: Schema) -> Schema:
    return {"type": "array", "items": item}


def _any(*schemas: Schema) -> Schema:
    return {"anyOf": list(schemas)}


def _null_too(schema: Schema) -> Schema:
    return _any(schema, {"type": "null"})


def _fields(schemas: Mapping[str, Schema], required: Iterable[str] = ()) -> Schema:
    needed = sorted(required)
    return {
        "type": "object",
        "properties": dict(schemas),
        **({"required": needed} if needed else {}),
    }


_NODES = _any(_one_of("*"), TEXT, _list(TEXT))
_MINUTES: Schema = {"type": "number", "description": "minutes"}
_CHECKPOINT = _fields(
    {"thread_id": TEXT, "checkpoint_ns": TEXT, "checkpoint_id": TEXT, "checkpoint_map": OBJECT}
)

_SCHEMAS: dict[str, Schema] = {
    "after_seconds": {"type": "number", "minimum": 0},
    "as_node": TEXT,
    "before": _any(TEXT, OBJECT),
    "channels": {**_list(_any(_one_of(*CHANNELS), TEXT)), "minItems": 1},
    "checkpoint": _CHECKPOINT,
    "checkpoint_during": FLAG,
    "checkpoint_id": TEXT,
    "command": _fields({"resume": ANY, "update": ANY, "goto": ANY}),
    "config": _fields(
        {
            "configurable": OBJECT,
            "recursion_limit": {"type": "integer"},
            "tags": _list(TEXT),
            "metadata": OBJECT,
        }
    ),
    "context": ANY,
    "depth": {"type": "integer", "minimum": 0},
    "durability": _one_of("sync", "async", "exit"),
    "end_time": {"type": "string", "format": "date-time"},
    "id": {"type": "integer", "minimum": 0},
    "if_not_exists": _one_of("reject", "create"),
    "input": ANY,
    "interrupt_after": _NODES,
    "interrupt_before": _NODES,
    "method": _one_of(
        "run.start", "input.respond", "subscription.subscribe", "subscription.unsubscribe"
    ),
    "multitask_strategy": _one_of(*get_args(MultitaskStrategy)),
    "namespace": _list(TEXT),
    "namespace_prefix": _list(TEXT),
    "namespaces": _list(_list(TEXT)),
    "on_completion": _one_of("delete", "keep"),
    "on_disconnect": _one_of("cancel", "continue"),
    "on_run_completed": _one_of("delete", "keep"),
    "params": OBJECT,
    "prefix": _list(TEXT),
    "since": {"type": "integer", "minimum": 0},
    "strategy": _one_of("delete", "keep_latest"),
    "stream_mode": _any(_one_of(*CLIENT_MODES), _list(_one_of(*CLIENT_MODES))),
    "stream_resumable": FLAG,
    "stream_subgraphs": FLAG,
    "strict_resume": FLAG,
    "subgraphs": FLAG,
    "suffix": _list(TEXT),
    "supersteps": _list(
        _fields(
            {"updates": _list(_fields({"values": ANY, "command": OBJECT, "as_node": TEXT}))},
            ["updates"],
        )
    ),
    "ttl": _any(_MINUTES, _fields({"ttl": _MINUTES, "strategy": _one_of("delete", "keep_latest")})),
    "value": OBJECT,
    "values": ANY,
    "webhook": {"type": "string", "format": "uri"},
}
"""Fields that have the same schema in each body; others are those of ``http.field_schema``."""


def _field(name: str, own: Mapping[str, Schema]) -> Schema:
    for known in (own, _SCHEMAS):
        if name in known:
            return known[name]
    return field_schema(name)


class Body(NamedTuple):
    """What the body of a request contains."""

    fields: tuple[str, ...]
    required: tuple[str, ...] = ()
    is_list: bool = False
    """Whether it is a list of such objects."""
    own: Mapping[str, Schema] = {}
    """Fields with another schema than elsewhere."""

    def schema(self) -> Schema:
        """Return its JSON schema."""
        known = {name: _field(name, self.own) for name in self.fields}
        found = _fields(known, self.required)
        return _list(found) if self.is_list else found


_RUN = tuple(sorted(RUN_FIELDS))
_PAGE = ("limit", "offset", "sort_by", "sort_order", "select")
_FOUND_ASSISTANTS = ("graph_id", "name", "metadata")
_FOUND_THREADS = ("ids", "metadata", "values", "status")
_FOUND_CRONS = ("assistant_id", "thread_id", "enabled", "metadata")
_ASSISTANT = ("graph_id", "name", "config", "context", "metadata", "description")
_CRON = tuple(
    sorted(
        RUN_FIELDS - {"on_completion", "after_seconds"}
        | {"schedule", "timezone", "end_time", "enabled", "on_run_completed"}
    )
)
_THREAD_STATUS = {"status": _one_of(*get_args(ThreadStatus))}
_IF_EXISTS = {"if_exists": _one_of("raise", "do_nothing")}

BODIES: dict[str, Body] = {
    "POST /assistants": Body(
        (*_ASSISTANT, "assistant_id", "if_exists"), ("graph_id",), own=_IF_EXISTS
    ),
    "POST /assistants/search": Body((*_FOUND_ASSISTANTS, *_PAGE)),
    "POST /assistants/count": Body(_FOUND_ASSISTANTS),
    "PATCH /assistants/{assistant_id}": Body(_ASSISTANT),
    "POST /assistants/{assistant_id}/versions": Body(("metadata", "limit", "offset")),
    "POST /assistants/{assistant_id}/latest": Body(("version",), ("version",)),
    "POST /threads": Body(
        ("thread_id", "metadata", "if_exists", "ttl", "graph_id", "supersteps"), own=_IF_EXISTS
    ),
    "POST /threads/search": Body((*_FOUND_THREADS, *_PAGE, "extract"), own=_THREAD_STATUS),
    "POST /threads/count": Body(_FOUND_THREADS, own=_THREAD_STATUS),
    "POST /threads/prune": Body(("thread_ids", "strategy"), ("thread_ids",)),
    "PATCH /threads/{thread_id}": Body(("metadata", "ttl")),
    "POST /threads/{thread_id}/copy": Body(()),
    "POST /threads/{thread_id}/state": Body(("values", "as_node", "checkpoint", "checkpoint_id")),
    "POST /threads/{thread_id}/state/checkpoint": Body(
        ("checkpoint", "subgraphs"), ("checkpoint",)
    ),
    "POST /threads/{thread_id}/history": Body(("limit", "before", "metadata", "checkpoint")),
    "POST /threads/{thread_id}/commands": Body(("id", "method", "params"), ("id", "method")),
    "POST /threads/{thread_id}/stream/events": Body(
        ("channels", "namespaces", "depth", "since"), ("channels",)
    ),
    **{
        f"POST {path}": Body(_RUN, ("assistant_id",))
        for start in ("", "/threads/{thread_id}")
        for path in (f"{start}/runs", f"{start}/runs/stream", f"{start}/runs/wait")
    },
    "POST /runs/batch": Body(_RUN, ("assistant_id",), is_list=True),
    "POST /runs/cancel": Body(
        ("status", "thread_id", "run_ids"), own={"status": _one_of("pending", "running", "all")}
    ),
    "POST /threads/{thread_id}/runs/{run_id}/cancel": Body(()),
    "POST /runs/crons": Body(_CRON, ("assistant_id", "schedule")),
    "POST /threads/{thread_id}/runs/crons": Body(_CRON, ("assistant_id", "schedule")),
    "PATCH /runs/crons/{cron_id}": Body(tuple(f for f in _CRON if f != "assistant_id")),
    "POST /runs/crons/search": Body((*_FOUND_CRONS, *_PAGE)),
    "POST /runs/crons/count": Body(_FOUND_CRONS),
    "PUT /store/items": Body(
        ("namespace", "key", "value", "index", "ttl"),
        ("namespace", "key", "value"),
        own={
            "index": _any({"type": "boolean"}, _list(TEXT)),
            "ttl": _MINUTES,
        },
    ),
    "POST /mcp": Body(
        ("jsonrpc", "id", "method", "params"),
        ("jsonrpc", "method"),
        own={
            "jsonrpc": _one_of("2.0"),
            "id": _any(TEXT, {"type": "integer"}),
            "method": TEXT,
        },
    ),
    "DELETE /store/items": Body(("namespace", "key"), ("namespace", "key")),
    "POST /store/items/search": Body(("namespace_prefix", "filter", "limit", "offset", "query")),
    "POST /store/namespaces": Body(("prefix", "suffix", "max_depth", "limit", "offset")),
}
"""Bodies of requests, by method and path. A field may also be null, which stands for its absence;
fields that are not listed have no effect."""

_MODES = _list(_one_of(*CLIENT_MODES))
_QUERIES: dict[str, dict[str, Schema]] = {
    "GET /assistants/{assistant_id}/graph": {"xray": _any(FLAG, {"type": "integer"})},
    "GET /assistants/{assistant_id}/subgraphs": {"recurse": FLAG},
    "GET /assistants/{assistant_id}/subgraphs/{namespace}": {"recurse": FLAG},
    "GET /threads/{thread_id}": {"include": _one_of("ttl")},
    "GET /threads/{thread_id}/state": {"subgraphs": FLAG},
    "GET /threads/{thread_id}/state/{checkpoint_id}": {"subgraphs": FLAG},
    "GET /threads/{thread_id}/history": {"limit": field_schema("limit"), "before": TEXT},
    "GET /threads/{thread_id}/stream": {
        "stream_mode": _list(_one_of("run_modes", "lifecycle", "state_update"))
    },
    "GET /threads/{thread_id}/runs": {
        "limit": field_schema("limit"),
        "offset": field_schema("offset"),
        "status": _one_of(*get_args(RunStatus)),
        "select": _list(TEXT),
    },
    "GET /threads/{thread_id}/runs/{run_id}/join": {"cancel_on_disconnect": FLAG},
    "GET /threads/{thread_id}/runs/{run_id}/stream": {
        "stream_mode": _MODES,
        "cancel_on_disconnect": FLAG,
    },
    "POST /threads/{thread_id}/runs/{run_id}/cancel": {
        "wait": FLAG,
        "action": _one_of("interrupt", "rollback"),
    },
    "POST /runs/cancel": {"action": _one_of("interrupt", "rollback")},
    "GET /store/items": {"namespace": TEXT, "key": TEXT},
}
"""Parameters of the query, by method and path."""

_RESUMED = frozenset(
    {"GET /threads/{thread_id}/stream", "GET /threads/{thread_id}/runs/{run_id}/stream"}
)
"""Streams that begin behind the header ``Last-Event-ID``."""

_REFERENCE = "#/components/schemas/"


def _shown(name: str) -> Schema:
    return {"$ref": _REFERENCE + name}


_COUNT: Schema = {"type": "integer"}
_RESULTS: dict[str, Schema | str] = {
    "POST /assistants": _shown("Assistant"),
    "POST /assistants/search": _list(_shown("Assistant")),
    "POST /assistants/count": _COUNT,
    "GET /assistants/{assistant_id}": _shown("Assistant"),
    "PATCH /assistants/{assistant_id}": _shown("Assistant"),
    "POST /assistants/{assistant_id}/versions": _list(_shown("Assistant")),
    "POST /assistants/{assistant_id}/latest": _shown("Assistant"),
    "POST /threads": _shown("Thread"),
    "POST /threads/search": _list(_shown("Thread")),
    "POST /threads/count": _COUNT,
    "GET /threads/{thread_id}": _shown("Thread"),
    "PATCH /threads/{thread_id}": _shown("Thread"),
    "POST /threads/{thread_id}/copy": _shown("Thread"),
    "GET /threads/{thread_id}/state": _shown("ThreadState"),
    "GET /threads/{thread_id}/state/{checkpoint_id}": _shown("ThreadState"),
    "POST /threads/{thread_id}/state/checkpoint": _shown("ThreadState"),
    "GET /threads/{thread_id}/history": _list(_shown("ThreadState")),
    "POST /threads/{thread_id}/history": _list(_shown("ThreadState")),
    "POST /runs": _shown("Run"),
    "POST /threads/{thread_id}/runs": _shown("Run"),
    "POST /runs/batch": _list(_shown("Run")),
    "GET /threads/{thread_id}/runs": _list(_shown("Run")),
    "GET /threads/{thread_id}/runs/{run_id}": _shown("Run"),
    "POST /runs/crons": _shown("Cron"),
    "POST /threads/{thread_id}/runs/crons": _shown("Cron"),
    "GET /runs/crons/{cron_id}": _shown("Cron"),
    "PATCH /runs/crons/{cron_id}": _shown("Cron"),
    "POST /runs/crons/search": _list(_shown("Cron")),
    "POST /runs/crons/count": _COUNT,
    "POST /store/items/search": _fields({"items": _list(_shown("Item"))}, ["items"]),
    "GET /store/items": _any(_shown("Item"), {"type": "null"}),
    "POST /store/namespaces": _fields({"namespaces": _list(_list(TEXT))}, ["namespaces"]),
    "POST /threads/{thread_id}/commands": _fields(
        {
            "type": _one_of("success", "error"),
            "id": _null_too({"type": "integer"}),
            "result": OBJECT,
            "meta": _fields({"applied_through_seq": {"type": "integer"}}),
            "error": TEXT,
            "message": TEXT,
        },
        ["type", "id"],
    ),
    **dict.fromkeys(
        (
            "POST /runs/stream",
            "POST /threads/{thread_id}/runs/stream",
            "POST /threads/{thread_id}/stream/events",
            *_RESUMED,
        ),
        "text/event-stream",
    ),
    "GET /metrics": "text/plain",
    "GET /docs": "text/html",
}
"""What an answer contains, or its content type; JSON of any kind where nothing is said."""

_NOTHING = frozenset({"DELETE", "PUT", "POST /runs/cancel"})
"""Methods, or one with a path, whose answers have no body."""


def _record(cls: type[Any], *hidden: str, **own: Schema) -> Schema:
    names = [each.name for each in fields_of(cls) if each.name not in hidden]
    return _fields(
        {name: own[name] if name in own else _null_too(_field(name, {})) for name in names}
    )


_INTERRUPTS = _list(_fields({"id": TEXT, "value": ANY}, ["id", "value"]))
_INTERNAL = ("next_number", "temporary", "version", "ttl", "ttl_strategy", "shortened_at")
_COMPONENTS: dict[str, Schema] = {
    "Assistant": _record(Assistant),
    "Thread": _record(
        Thread,
        *_INTERNAL,
        status=_THREAD_STATUS["status"],
        interrupts={"type": "object", "additionalProperties": _INTERRUPTS},
        error=_null_too(_shown("Failure")),
    ),
    "Run": _record(
        Run,
        "graph_id",
        "ordinal",
        "base",
        "last",
        "owner",
        "start_at",
        "ends",
        "error",
        status=_one_of(*get_args(RunStatus)),
        kwargs=OBJECT,
    ),
    "Cron": _record(Cron, "origin", payload=OBJECT, next_run_date=_null_too(TEXT)),
    "ThreadState": _fields(
        {
            "values": ANY,
            "next": _list(TEXT),
            "tasks": _list(OBJECT),
            "metadata": _null_too(OBJECT),
            "created_at": _null_too(TEXT),
            "checkpoint": _null_too(_CHECKPOINT),
            "parent_checkpoint": _null_too(_CHECKPOINT),
            "interrupts": _INTERRUPTS,
            "checkpoint_id": _null_too(TEXT),
            "parent_checkpoint_id": _null_too(TEXT),
        }
    ),
    "Item": _fields(
        {
            "namespace": _list(TEXT),
            "key": TEXT,
            "value": OBJECT,
            "created_at": TEXT,
            "updated_at": TEXT,
            "score": _null_too({"type": "number"}),
        }
    ),
    "Failure": _fields({"error": TEXT, "message": TEXT}),
    "Refusal": _fields({"detail": TEXT}, ["detail"]),
}


def description(
    routes: Sequence[BaseRoute],
    *,
    version: str,
    prefix: str = "",
    security: Mapping[str, Any] | None = None,
    more: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Return the OpenAPI description of the server.

    Args:
        routes: The server's routes.
        version: Version of the server.
        prefix: Path under which the routes are.
        security: ``securitySchemes`` and ``security``; None: everybody may ask.
        more: The description of the user's own application, whose paths are added.
    """
    paths: dict[str, dict[str, Any]] = {}
    for route in routes:
        if not isinstance(route, Route) or not route.include_in_schema:
            continue
        for method in sorted((route.methods or set()) - {"HEAD"}):
            one = paths.setdefault(prefix + route.path, {})
            one[method.lower()] = _operation(method, route)
    components: dict[str, Any] = {"schemas": dict(_COMPONENTS)}
    for name, given in ((more or {}).get("components") or {}).items():
        components[name] = {**given, **components.get(name, {})}
    paths |= {k: v for k, v in ((more or {}).get("paths") or {}).items() if k not in paths}
    made: dict[str, Any] = {
        "openapi": "3.1.0",
        "info": {"title": "distgraph serve", "version": version},
        "paths": paths,
        "components": components,
    }
    if security is not None:
        components["securitySchemes"] = {
            **components.get("securitySchemes", {}),
            **(security.get("securitySchemes") or {}),
        }
        made["security"] = list(security.get("security") or ())
    return made


def _operation(method: str, route: Route) -> dict[str, Any]:
    key = f"{method} {route.path}"
    parts = [part for part in route.path.split("/") if part]
    tag = "runs" if "runs" in parts else parts[0] if parts else "server"
    if "crons" in parts:
        tag = "crons"
    elif tag not in ("assistants", "threads", "runs", "store"):
        tag = "server"
    found: dict[str, Any] = {
        "tags": [tag],
        "summary": (route.endpoint.__doc__ or "").split("\n")[0].strip(),
        "operationId": "_".join((method.lower(), *(part.strip("{}") for part in parts))),
    }
    parameters = [
        {"name": name, "in": "path", "required": True, "schema": TEXT}
        for name in route.param_convertors
    ]
    parameters += [
        {"name": name, "in": "query", "required": False, "schema": schema}
        for name, schema in _QUERIES.get(key, {}).items()
    ]
    if key in _RESUMED:
        parameters.append(
            {"name": "Last-Event-ID", "in": "header", "required": False, "schema": TEXT}
        )
    if parameters:
        found["parameters"] = parameters
    body = BODIES.get(key)
    if body is not None and body.fields:
        found["requestBody"] = {
            "required": bool(body.required),
            "content": {"application/json": {"schema": body.schema()}},
        }
    refusal = {"application/json": {"schema": _shown("Refusal")}}
    found["responses"] = {
        **_success(method, key),
        "4XX": {"description": "The request is refused.", "content": refusal},
    }
    return found


def _success(method: str, key: str) -> dict[str, Any]:
    if method in _NOTHING or key in _NOTHING:
        return {"204": {"description": "Done."}}
    result = _RESULTS.get(key, ANY)
    kind, schema = ("application/json", result) if isinstance(result, dict) else (result, TEXT)
    return {"200": {"description": "The answer.", "content": {kind: {"schema": schema}}}}


# --- a page of it ---------------------------------------------------------------------------------

_STYLE = """body{font:15px/1.5 system-ui,sans-serif;max-width:60em;margin:2em auto;padding:0 1em}
code{background:#eee;border-radius:3px;padding:.1em .3em}h2{border-bottom:1px solid #ccc}
summary{cursor:pointer;padding:.3em 0}summary code{background:none;font-weight:600}
td{padding:.1em 1em .1em 0;vertical-align:top}b{display:inline-block;min-width:4.5em}"""


def page(document: Mapping[str, Any], source: str) -> str:
    """Return a description as a web page that loads nothing from elsewhere.

    Args:
        document: As ``description`` returns it.
        source: Where the description itself is.
    """
    by_tag: dict[str, list[str]] = {}
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            tag = (operation.get("tags") or ["other"])[0]
            by_tag.setdefault(str(tag), []).append(_shown_operation(method, path, operation))
    parts = [
        "<!doctype html><html lang='en'><meta charset='utf-8'>",
        f"<title>{_text(document['info']['title'])}</title><style>{_STYLE}</style>",
        f"<h1>{_text(document['info']['title'])} {_text(document['info']['version'])}</h1>",
        f"<p>The endpoints of this server, also as <a href='{_text(source)}'>OpenAPI</a>.</p>",
    ]
    for tag, operations in by_tag.items():
        parts += [f"<h2>{_text(tag)}</h2>", *operations]
    return "\n".join(parts) + "</html>\n"


def _shown_operation(method: str, path: str, operation: Mapping[str, Any]) -> str:
    rows = [
        (each["name"], f"{each['in']}, {_type(each['schema'])}")
        for each in operation.get("parameters", ())
        if "name" in each
    ]
    content = operation.get("requestBody", {}).get("content", {})
    schema = content.get("application/json", {}).get("schema", {})
    schema = schema.get("items", schema)
    required = schema.get("required", ())
    rows += [
        (name, _type(each) + (", required" if name in required else ""))
        for name, each in schema.get("properties", {}).items()
    ]
    table = "".join(
        f"<tr><td><code>{_text(name)}</code></td><td>{_text(kind)}</td></tr>" for name, kind in rows
    )
    return (
        f"<details><summary><b>{_text(method.upper())}</b> <code>{_text(path)}</code> "
        f"{_text(operation.get('summary', ''))}</summary><table>{table}</table></details>"
    )


def _type(schema: Mapping[str, Any]) -> str:
    if "anyOf" in schema:
        return " or ".join(_type(each) for each in schema["anyOf"])
    if "enum" in schema:
        return " | ".join(map(str, schema["enum"]))
    if schema.get("type") == "array":
        return f"list of {_type(schema.get('items', {}))}"
    return str(schema.get("type") or schema.get("$ref", "any").removeprefix(_REFERENCE))


def _text(value: Any) -> str:
    return html.escape(str(value))
