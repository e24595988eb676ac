"""``langgraph.json``: the graphs of an application, and how they are served."""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import json
import logging
import os
import re
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

from distgraph._internal import settings
from distgraph._internal.mistakes import nearest
from distgraph.serve.errors import ProjectError, RequestError
from distgraph.serve.expiry import Expiry, time_to_live
from distgraph.serve.headers import HeaderRules
from distgraph.serve.keys import check_keys
from distgraph.serve.webhooks import Webhooks

__all__ = ("GraphSource", "HttpSettings", "Project", "load_object", "read_project")

logger = logging.getLogger("distgraph")


@dataclass(frozen=True, slots=True)
class GraphSource:
    """Where a graph of the application is."""

    graph_id: str
    path: str
    """``./file.py:name`` or ``package.module:name``."""
    description: str | None = None


@dataclass(frozen=True, slots=True)
class HttpSettings:
    """The key ``http`` of ``langgraph.json``."""

    app: str | None = None
    """The user's own ASGI application, ``./file.py:name``."""
    cors: Mapping[str, Any] | None = None
    mount_prefix: str = ""
    auth_first: bool = False
    """Whether who asks is checked before the middleware of ``app``."""
    disabled: frozenset[str] = frozenset()
    """What is switched off: the groups of endpoints ``assistants``, ``threads``, ``runs``,
    ``store`` and ``meta``, and ``webhooks``."""
    headers: HeaderRules | None = None
    """Which headers of a request are in its run's config; None: no header."""


@dataclass(frozen=True, slots=True)
class Project:
    """What ``langgraph.json`` says."""

    folder: Path
    graphs: tuple[GraphSource, ...]
    env: Mapping[str, str] = field(default_factory=dict, repr=False)
    auth: Mapping[str, Any] = field(default_factory=dict)
    http: HttpSettings = field(default_factory=HttpSettings)
    store: Mapping[str, Any] = field(default_factory=dict)
    checkpointer: Mapping[str, Any] = field(default_factory=dict)
    expiry: Expiry = field(default_factory=Expiry)
    webhooks: Webhooks = field(default_factory=Webhooks)
    import_paths: tuple[Path, ...] = ()
    """Folders of ``dependencies``, from which the graphs' modules import."""

    def enter(self) -> None:
        """Set the environment variables that are not set yet, and the import paths.

        The environment of the process wins over ``env``.

        Raises:
            ProjectError: A setting of distgraph is not allowed.
        """
        for name, value in self.env.items():
            os.environ.setdefault(name, value)
        try:
            settings.check()
        except ValueError as error:
            raise ProjectError(str(error)) from None
        for path in reversed((self.folder, *self.import_paths)):
            if str(path) not in sys.path:
                sys.path.insert(0, str(path))


def read_project(file: str | Path) -> Project:
    """Read ``langgraph.json``.

    Raises:
        ProjectError: The file is missing or wrong; names the key and the remedy.
    """
    path = Path(file).resolve()
    if path.is_dir():
        path /= "langgraph.json"
    try:
        text = path.read_text(encoding="utf-8")
    except OSError:
        raise ProjectError(
            f"there is no {path}. Give the path of a langgraph.json, such as "
            '{"dependencies": ["."], "graphs": {"agent": "./agent.py:graph"}}'
        ) from None
    try:
        given = json.loads(text)
    except ValueError as error:
        raise ProjectError(f"{path} is no JSON: {error}") from None
    if not isinstance(given, dict):
        raise ProjectError(f"{path} must be a JSON object, got {type(given).__name__}")
    try:
        for told in check_keys(given):
            logger.warning("%s: %s", path, told)
    except ProjectError as error:
        raise ProjectError(f"{path}: {error}") from None
    checkpointer = _object(path, given, "checkpointer")
    http = _object(path, given, "http")
    folder = path.parent
    return Project(
        folder=folder,
        graphs=_graphs(path, given.get("graphs")),
        env=_env(path, given.get("env")),
        auth=_object(path, given, "auth"),
        http=_http(path, http),
        store=_object(path, given, "store"),
        checkpointer=checkpointer,
        expiry=_expiry(path, _object(path, checkpointer, "ttl")),
        webhooks=_webhooks(path, given, disabled=bool(http.get("disable_webhooks"))),
        import_paths=_dependencies(path, given.get("dependencies", ["."])),
    )


def _object(path: Path, given: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = given.get(key)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise ProjectError(f"{path}: {key} must be an object, got {value!r}")
    return value


def _graphs(path: Path, given: Any) -> tuple[GraphSource, ...]:
    if not isinstance(given, dict) or not given:
        raise ProjectError(
            f"{path}: graphs must name at least one graph, such as "
            '{"graphs": {"agent": "./agent.py:graph"}}'
        )
    return tuple(_graph(path, graph_id, where) for graph_id, where in given.items())


def _graph(path: Path, graph_id: str, where: Any) -> GraphSource:
    description = None
    if isinstance(where, dict):
        description, where = where.get("description"), where.get("path")
    if not isinstance(where, str) or ":" not in where:
        raise ProjectError(
            f"{path}: graphs.{graph_id} must be 'file.py:name' or 'package.module:name', "
            f"got {where!r}"
        )
    if re.search(r"\.[cm]?[jt]sx?:", where):
        raise ProjectError(
            f"{path}: graphs.{graph_id} is a JavaScript graph ({where}); distgraph serves graphs "
            "in Python. Remove it from graphs"
        )
    return GraphSource(graph_id, where, description)


def _env(path: Path, given: Any) -> dict[str, str]:
    if given is None:
        return {}
    if isinstance(given, dict):
        return {str(name): str(value) for name, value in given.items()}
    if not isinstance(given, str):
        raise ProjectError(f"{path}: env must be a file or an object, got {given!r}")
    file = path.parent / given
    if not file.is_file():
        raise ProjectError(f"{path}: env names {given!r}, and there is no file {file}")
    from dotenv import dotenv_values

    return {name: value for name, value in dotenv_values(file).items() if value is not None}


def _http(path: Path, given: Mapping[str, Any]) -> HttpSettings:
    prefix = given.get("mount_prefix") or ""
    if prefix and not str(prefix).startswith("/"):
        raise ProjectError(f"{path}: http.mount_prefix must begin with /, got {prefix!r}")
    order = given.get("middleware_order") or "middleware_first"
    if order not in ("auth_first", "middleware_first"):
        raise ProjectError(
            f"{path}: http.middleware_order must be auth_first or middleware_first, got {order!r}"
        )
    disabled = {
        key.removeprefix("disable_")
        for key, value in given.items()
        if key.startswith("disable_") and value
    }
    return HttpSettings(
        app=given.get("app"),
        cors=given.get("cors"),
        mount_prefix=str(prefix).rstrip("/"),
        auth_first=order == "auth_first",
        disabled=frozenset(disabled),
        headers=_headers(path, given.get("configurable_headers")),
    )


def _headers(path: Path, given: Any) -> HeaderRules | None:
    if given is None:
        return None
    try:
        return HeaderRules.of(given)
    except ValueError as error:
        raise ProjectError(f"{path}: http.configurable_headers.{error}") from None


def _webhooks(path: Path, given: Mapping[str, Any], *, disabled: bool) -> Webhooks:
    try:
        return Webhooks.of(_object(path, given, "webhooks"), disabled=disabled)
    except ValueError as error:
        raise ProjectError(f"{path}: webhooks.{error}") from None


def _expiry(path: Path, given: Mapping[str, Any]) -> Expiry:
    expiry = Expiry()
    try:
        default = time_to_live({"ttl": given.get("default_ttl"), "strategy": given.get("strategy")})
        interval = time_to_live(given.get("sweep_interval_minutes"))
        limit = int(given.get("sweep_limit") or expiry.sweep_limit)
    except (RequestError, TypeError, ValueError) as error:
        raise ProjectError(f"{path}: checkpointer.ttl: {error}") from None
    return Expiry(default, interval.minutes if interval else expiry.sweep_interval_minutes, limit)


def _dependencies(path: Path, given: Any) -> tuple[Path, ...]:
    if not isinstance(given, list):
        raise ProjectError(f"{path}: dependencies must be a list, got {given!r}")
    paths = []
    for dependency in map(str, given):
        if dependency.startswith((".", "/")):
            folder = (path.parent / dependency).resolve()
            if not folder.exists():
                raise ProjectError(
                    f"{path}: dependencies names {dependency!r}, and there is no {folder}"
                )
            if folder.is_dir():
                # a package of src layout, and a folder that is a package itself
                source = folder / "src"
                paths += [source] if source.is_dir() else []
                paths += [folder.parent] if (folder / "__init__.py").exists() else [folder]
            continue
        name = re.split(r"[\s\[<>=!~;@]", dependency, maxsplit=1)[0]
        try:
            importlib.metadata.distribution(name)
        except importlib.metadata.PackageNotFoundError:
            raise ProjectError(
                f"{path}: dependencies names {dependency!r}, which is not installed: "
                f"pip install {dependency!r}"
            ) from None
    return tuple(dict.fromkeys(paths))


# --- loading --------------------------------------------------------------------------------------


def load_object(project: Project, where: str, what: str) -> Any:
    """Import what ``file.py:name`` or ``package.module:name`` names.

    Args:
        project: The project, which has been entered.
        where: The name.
        what: The key of ``langgraph.json``, for errors.

    Raises:
        ProjectError: There is no such file, module or name, or its import fails.
    """
    source, _, name = where.rpartition(":")
    if not source:
        raise ProjectError(f"{what} must be 'file.py:name' or 'package.module:name', got {where!r}")
    try:
        module = (
            _from_file(project, source, what)
            if source.endswith(".py") or "/" in source
            else importlib.import_module(source)
        )
    except ProjectError:
        raise
    except Exception as error:
        raise ProjectError(
            f"{what}: the import of {source} failed: {type(error).__name__}: {error}"
        ) from error
    try:
        return getattr(module, name)
    except AttributeError:
        names = [n for n in vars(module) if not n.startswith("_")]
        raise ProjectError(f"{what}: {source} has no {name!r}.{nearest(name, names)}") from None


def _from_file(project: Project, source: str, what: str) -> ModuleType:
    file = (project.folder / source).resolve()
    if not file.is_file():
        raise ProjectError(f"{what} names {source}, and there is no file {file}")
    for folder in (*project.import_paths, project.folder):
        try:
            parts = file.relative_to(folder).with_suffix("").parts
        except ValueError:
            continue
        if parts and all(part.isidentifier() for part in parts):
            # by its ordinary name: it imports its neighbours, and workers import it
            module = importlib.import_module(".".join(parts))
            if getattr(module, "__file__", None) and Path(str(module.__file__)).resolve() == file:
                return module
    name = "distgraph_served_" + re.sub(r"\W", "_", source.removesuffix(".py").strip("./"))
    if name in sys.modules:
        return sys.modules[name]
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    try:
        spec.loader.exec_module(module)
    except BaseException:
        del sys.modules[name]
        raise
    return module
