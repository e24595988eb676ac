"""JSON schemas of Kubernetes' resource definitions (``CustomResourceDefinition``)."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import yaml

__all__ = ("FOLDER", "given", "schema_of")

Schema = dict[str, Any]

FOLDER = os.environ.get("KUBERAY_CRDS")
"""Folder with KubeRay's definitions, ``ray.io_*.yaml``: 3 MB, which this repository does not carry.
The workflow of a release fetches them."""


def given(folder: str | None = FOLDER) -> dict[str, Schema]:
    """Return the schemas of the definitions in a folder, by kind; none without a folder."""
    if not folder:
        return {}
    found = {}
    for file in sorted(Path(folder).glob("ray.io_*.yaml")):
        definition = yaml.safe_load(file.read_text(encoding="utf-8"))
        found[str(definition["spec"]["names"]["kind"])] = schema_of(definition)
    assert {"RayCluster", "RayJob", "RayService"} <= set(found), f"{folder} has {sorted(found)}"
    return found


def schema_of(definition: dict[str, Any], version: str = "v1") -> Schema:
    """Return the schema of a definition. A field that it does not have is refused, as ``kubectl
    apply`` does."""
    (schema,) = (
        each["schema"]["openAPIV3Schema"]
        for each in definition["spec"]["versions"]
        if each["name"] == version and each["served"]
    )
    closed: Schema = _closed(schema)
    return closed


def _closed(schema: Any) -> Any:
    if isinstance(schema, list):
        return [_closed(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    found = {key: _closed(value) for key, value in schema.items()}
    open_to_all = schema.get("x-kubernetes-preserve-unknown-fields", False)
    if isinstance(schema.get("properties"), dict) and not open_to_all:
        found.setdefault("additionalProperties", False)
    return found
