"""Requests and answers, compared with what ``/openapi.json`` says of them."""

from __future__ import annotations

import json
import re
from typing import Any

import httpx
import jsonschema


class Described:
    """The description of a server's endpoints.

    Args:
        document: What ``/openapi.json`` answers.
    """

    def __init__(self, document: dict[str, Any]) -> None:
        self._components = _closed(document["components"])
        self._operations = [
            (
                re.compile(re.sub(r"\{[^}]+\}", "[^/]+", path) + "$"),
                path.count("{"),
                {method.upper(): operation for method, operation in methods.items()},
            )
            for path, methods in document["paths"].items()
        ]
        # a path without a name for a part wins over one that has it
        self._operations.sort(key=lambda each: each[1])

    def operation(self, method: str, path: str) -> dict[str, Any]:
        for pattern, _, methods in self._operations:
            if pattern.match(path) and method in methods:
                found: dict[str, Any] = methods[method]
                return found
        raise AssertionError(f"{method} {path} is not described")

    def check(
        self,
        method: str,
        path: str,
        body: Any,
        status: int,
        answer: Any,
        query: tuple[str, ...] = (),
        kind: str = "application/json",
    ) -> None:
        """Check that a request and its answer are as they are described."""
        operation = self.operation(method, path)
        named = {each["name"] for each in operation.get("parameters", ()) if each["in"] == "query"}
        assert set(query) <= named, (method, path, query)
        if body:
            assert "requestBody" in operation, (method, path, body)
            content = operation["requestBody"]["content"]
            self._validate(_closed(content["application/json"]["schema"]), body)
        if status == 202:
            return
        response = operation["responses"][str(status)]
        if status != 204:
            assert kind in response["content"], (method, path, kind)
        if kind == "application/json" and status != 204:
            self._validate(_closed(response["content"][kind]["schema"]), answer)

    def _validate(self, schema: Any, value: Any) -> None:
        jsonschema.validate(value, {**schema, "components": self._components})

    def watch(self, client: httpx.Client) -> None:
        """Check each request of a client, and the answers that are no streams."""

        def on_response(response: httpx.Response) -> None:
            request = response.request
            kind = response.headers.get("content-type", "").split(";")[0]
            answer = None
            if kind == "application/json":
                response.read()
                answer = response.json() if response.content.strip() else None
            content = request.read()
            self.check(
                request.method,
                request.url.path,
                json.loads(content) if content else None,
                response.status_code,
                answer,
                tuple(request.url.params),
                kind,
            )

        client.event_hooks["response"].append(on_response)


def _closed(schema: Any) -> Any:
    """Return a schema whose objects with named properties have no others."""
    if isinstance(schema, list):
        return [_closed(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    found = {key: _closed(value) for key, value in schema.items()}
    if "properties" in found and "type" in found:
        found.setdefault("additionalProperties", False)
    return found
