"""JSON schemas of Kubernetes' own objects, from the models of its official Python client.

KubeRay's resource definitions contain the definition of a pod as Kubernetes has it.
"""

from __future__ import annotations

from typing import Any

from kubernetes import client

__all__ = ("DEFINITIONS", "reference")

DEFINITIONS: dict[str, Any] = {}
"""The ``$defs`` that a schema with references needs."""


def reference(name: str) -> dict[str, Any]:
    """Return the schema of a model, such as ``V1PodTemplateSpec``. It refuses other fields."""
    if name not in DEFINITIONS:
        schema = getattr(client, name).model_json_schema(by_alias=True)
        DEFINITIONS.update(schema.pop("$defs", {}))
        DEFINITIONS[name] = schema
    return {"$ref": f"#/$defs/{name}"}
