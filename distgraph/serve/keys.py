"""The keys of ``langgraph.json``: which have an effect, and messages about those without one.

Source: the schema of ``langgraph-cli`` (MIT), and LangGraph's documentation of ``langgraph.json``.
"""

from __future__ import annotations

import platform
from collections.abc import Iterator, Mapping
from typing import Any

from distgraph._internal.mistakes import nearest
from distgraph.serve.errors import ProjectError

__all__ = ("KEYS", "check_keys")

Effect = str | bool | Mapping[str, Any]
"""True: the key has its effect. A text: it has none, and the text says why. A mapping: its keys."""

_IMAGE = "it describes the image that langgraph-cli builds, and distgraph builds none"
_NOTHING_THERE = True  # what it switches off is not there

KEYS: Mapping[str, Effect] = {
    "$schema": True,
    "graphs": True,
    "dependencies": True,
    "env": True,
    "python_version": True,
    "node_version": _IMAGE,
    "api_version": _IMAGE,
    "base_image": _IMAGE,
    "image_distro": _IMAGE,
    "pip_config_file": _IMAGE,
    "pip_installer": _IMAGE,
    "keep_pkg_tools": _IMAGE,
    "dockerfile_lines": _IMAGE,
    "source": _IMAGE,
    "ui": "components of a UI are not served",
    "ui_config": "components of a UI are not served",
    "encryption": True,  # refused
    "priority": "runs start in the order in which they were made",
    "auth": {
        "path": True,
        "disable_studio_auth": True,
        "openapi": True,
        "cache": "authenticate is called for each request",
    },
    "store": {
        "path": True,
        "index": {"dims": True, "embed": True, "fields": True},
        "ttl": {"refresh_on_read": True, "default_ttl": True, "sweep_interval_minutes": True},
    },
    "checkpointer": {
        "path": True,
        "ttl": {
            "strategy": True,
            "default_ttl": True,
            "sweep_interval_minutes": True,
            "sweep_limit": True,
        },
        "serde": {
            "allowed_json_modules": True,
            "allowed_msgpack_modules": True,
            "pickle_fallback": True,
        },
    },
    "http": {
        "app": True,
        "cors": {
            "allow_origins": True,
            "allow_origin_regex": True,
            "allow_methods": True,
            "allow_headers": True,
            "allow_credentials": True,
            "expose_headers": True,
            "max_age": True,
        },
        "configurable_headers": {
            "includes": True,
            "excludes": True,
            "include": True,  # as older versions name them
            "exclude": True,
        },
        "logging_headers": "headers are not logged",
        "middleware_order": True,
        "mount_prefix": True,
        "enable_custom_route_auth": True,
        "disable_assistants": True,
        "disable_threads": True,
        "disable_runs": True,
        "disable_store": True,
        "disable_meta": True,
        "disable_webhooks": True,
        "disable_mcp": True,
        "disable_a2a": _NOTHING_THERE,
        "disable_ui": _NOTHING_THERE,
    },
    "webhooks": {
        "env_prefix": True,
        "headers": True,
        "url": {
            "require_https": True,
            "allowed_domains": True,
            "allowed_ports": True,
            "max_url_length": True,
            "disable_loopback": _NOTHING_THERE,
        },
    },
}


def check_keys(given: Mapping[str, Any]) -> list[str]:
    """Return what is to be said of keys that have no effect.

    Raises:
        ProjectError: A key that must not be ignored, or the value of one that has keys is no
            object.
    """
    if given.get("encryption"):
        raise ProjectError(
            "encryption is not supported, and the server would save everything in plain text. "
            "Remove the key, and give a saver that encrypts as checkpointer.path"
        )
    found = list(_without_effect("", given, KEYS))
    wanted = given.get("python_version")
    if wanted and platform.python_version_tuple()[:2] != tuple(str(wanted).split(".")[:2]):
        found.append(
            f"python_version is {wanted}, and this is Python {platform.python_version()}: the "
            "server runs with the Python that starts it"
        )
    http = given.get("http")
    if isinstance(http, dict) and http.get("enable_custom_route_auth") is False:
        found.append(
            "http.enable_custom_route_auth: false has no effect: who asks is checked on the "
            "routes of http.app, too"
        )
    return found


def _without_effect(
    prefix: str, given: Mapping[str, Any], known: Mapping[str, Any]
) -> Iterator[str]:
    for key, value in given.items():
        name, effect = f"{prefix}{key}", known.get(key)
        if effect is None:
            yield f"the key {name} is unknown and has no effect.{nearest(key, known)}"
        elif isinstance(effect, str) and value:
            yield f"{name} has no effect: {effect}"
        elif isinstance(effect, Mapping) and value is not None:
            if not isinstance(value, dict):
                raise ProjectError(f"{name} must be an object, got {value!r}")
            yield from _without_effect(f"{name}.", value, effect)
