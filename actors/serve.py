"""``distgraph serve`` on Ray Serve: stateless ingress replicas around the ASGI application.

A replica does no work of graphs: runs are detached, their nodes are tasks of the cluster, and every
replica reads every run from its broker. Streams go from the broker into the replica that has the
request; no ``DeploymentHandle`` is between them.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import RayTaskError
from ray.experimental.internal_kv import _internal_kv_get, _internal_kv_put

from actors.connect import ensure_ray
from actors.sessions import current_detached
from distgraph._internal.settings import SETTINGS
from distgraph.concurrency.threads import daemon
from distgraph.errors import MissingExtraError
from distgraph.serve.access import VARIABLES, access_of, check_host
from distgraph.serve.errors import ProjectError
from distgraph.serve.project import Project, read_project
from distgraph.serve.server import Settings

try:
    from ray import serve
except ImportError as error:
    raise MissingExtraError(
        "distgraph serve needs Ray Serve: pip install 'distgraph[serve]'"
    ) from error

logger = logging.getLogger("distgraph")

__all__ = ("APPLICATION", "ReplicaOptions", "app", "deploy", "serve_forever")

APPLICATION = "distgraph"
"""Name of the Serve application."""

_ARGUMENTS = frozenset({"project", "database", "replicas", "autoscaling", "open_to_all", "version"})
"""What a Serve config file may give."""

_REQUESTS = 1000
"""Requests, streams above all, that a replica has at once."""

_STREAMS = 100
"""Requests, streams above all, for which replicas are added beyond: an event loop is then busy."""

_FORWARDED = sorted({*VARIABLES, *SETTINGS} - {"DISTGRAPH_BACKEND"})
"""Settings of this process that replicas get: their machines may have another environment."""

_REPLICA_ENV = {"RAY_SERVE_RUN_USER_CODE_IN_SEPARATE_THREAD": "0"}
"""Settings of Ray Serve for replicas. The application never blocks its event loop, so it can be
that of the replica: each part of a stream would otherwise go from one thread to another."""

_SERVED_BY = b"distgraph-served-by"
"""Key of the cluster under which the command that serves the application has its mark."""

_ENDING = 5.0
"""Seconds that a replica has to end; its streams are then cut, and clients reconnect."""


@dataclass(frozen=True, slots=True)
class ReplicaOptions:
    """How many replicas there are."""

    replicas: int = 1
    most: int = 0
    """Where it is more than ``replicas``, replicas are added up to this number for open streams,
    and removed again."""
    autoscaling: dict[str, Any] | None = None
    """``autoscaling_config`` of Ray Serve, in place of ``replicas``."""

    def __str__(self) -> str:
        if self.most > self.replicas:
            return f"{self.replicas} to {self.most} replicas"
        return "1 replica" if self.replicas == 1 else f"{self.replicas} replicas"

    def scale(self) -> dict[str, Any]:
        """Return the options of a deployment."""
        if self.autoscaling:
            return {"autoscaling_config": self.autoscaling}
        if self.most <= self.replicas:
            return {"num_replicas": self.replicas}
        config = {
            "min_replicas": self.replicas,
            "max_replicas": self.most,
            "target_ongoing_requests": _STREAMS,
        }
        return {"autoscaling_config": config}


class _Ingress:
    """One replica. Its event loop does JSON and sockets only."""

    def __init__(self, project: str, settings: dict[str, Any]) -> None:
        self._project = project
        self._settings = Settings(**settings)
        daemon(_warm, "distgraph-warm").start()

    def __serve_build_asgi_app__(self) -> Any:
        from distgraph.serve.app import application

        return application(read_project(self._project), self._settings)


def _warm() -> None:
    """Start the driver and the broker of this replica's runs, before the first run asks for
    them."""
    try:
        current_detached()
    except Exception:  # the first run reports it
        logger.warning("the driver of this replica's runs did not start", exc_info=True)


def deploy(project: Project, file: Path, settings: Settings, options: ReplicaOptions) -> Any:
    """Return the Serve application of a project.

    Raises:
        ProjectError: Files of SQLite cannot be shared by the machines of the cluster.
    """
    nodes: list[dict[str, Any]] = ray.nodes()  # type: ignore[no-untyped-call]
    machines = {node["NodeManagerHostname"] for node in nodes if node["Alive"]}
    if settings.database is None and len(machines) > 1:
        raise ProjectError(
            f"the cluster has {len(machines)} machines, which cannot share SQLite files: give "
            "--database postgresql://… or set DATABASE_URI"
        )
    path = os.pathsep.join(
        dict.fromkeys(
            [
                *map(str, (project.folder, *project.import_paths)),
                *os.environ.get("PYTHONPATH", "").split(os.pathsep),
            ]
        )
    ).strip(os.pathsep)
    env = _environment(project)
    ingress: Any = serve.ingress()(_Ingress)
    deployment: Any = serve.deployment(
        ingress,
        name="ingress",
        max_ongoing_requests=_REQUESTS,
        graceful_shutdown_timeout_s=_ENDING,
        graceful_shutdown_wait_loop_s=0.5,
        # a line of each request would also go through the log monitor to the command's terminal
        logging_config={"enable_access_log": False},
        ray_actor_options={
            "num_cpus": 0,
            "runtime_env": {"env_vars": {**env, "PYTHONPATH": path}},
        },
        **options.scale(),
    )
    return deployment.bind(str(file), asdict(settings))


def _environment(project: Project) -> dict[str, str]:
    """Return the environment of replicas; that of this process wins over other settings."""
    given = {**_REPLICA_ENV, **project.env}
    env = {name: os.environ.get(name, value) for name, value in given.items()}
    return env | {name: os.environ[name] for name in _FORWARDED if name in os.environ}


def app(arguments: dict[str, Any]) -> Any:
    """Return the Serve application, for ``import_path: actors.serve:app`` of a Serve config file.

    Args:
        arguments: ``project``: path of ``langgraph.json``; ``database``: URI of PostgreSQL, default
            ``DATABASE_URI``; ``replicas``, or ``autoscaling``: an ``autoscaling_config``;
            ``open_to_all``: true where a proxy before the server asks who its clients are;
            ``version``: another one makes ``serve deploy`` replace the replicas.

    Raises:
        ProjectError: An argument is unknown, or the project cannot be served.
    """
    unknown = arguments.keys() - _ARGUMENTS
    if unknown:
        raise ProjectError(
            f"args of actors.serve:app: {', '.join(sorted(unknown))} unknown; choose from "
            f"{', '.join(sorted(_ARGUMENTS))}"
        )
    file = Path(str(arguments.get("project", "langgraph.json"))).resolve()
    project = read_project(file)
    project.enter()
    if not arguments.get("open_to_all", False):
        check_host("0.0.0.0", access_of(project))  # what a cluster's proxies listen on
    database = arguments.get("database") or os.environ.get("DATABASE_URI") or None
    settings = Settings(backend="ray", database=database, sole=False)
    options = ReplicaOptions(
        int(arguments.get("replicas", 1)), autoscaling=arguments.get("autoscaling")
    )
    return deploy(project, file, settings, options)


def serve_forever(
    project: Project,
    file: Path,
    settings: Settings,
    options: ReplicaOptions,
    *,
    host: str,
    port: int,
) -> int:
    """Serve until SIGINT or SIGTERM; detached runs go on. Return the exit code.

    Where the cluster serves the application already, it is upgraded: replicas are replaced one
    after another. The command that served it before then ends without taking it down.

    Raises:
        ProjectError: The project cannot be served.
    """
    ensure_ray()
    application = deploy(project, file, settings, options)
    mine = os.urandom(16)
    _internal_kv_put(_SERVED_BY, mine, overwrite=True)
    # at INFO, a proxy logs every route of the application in one line of 4,000 characters
    logging.getLogger("ray.serve").setLevel(logging.WARNING)
    try:
        serve.start(
            proxy_location="HeadOnly",
            http_options={"host": host, "port": port},
            logging_config={"log_level": "WARNING"},
        )
    except RayTaskError as error:
        if "Failed to bind" not in str(error):
            raise
        if not serve.status().applications:
            # else it keeps this port, whatever the next command names
            serve.shutdown()  # type: ignore[no-untyped-call]
        raise ProjectError(
            f"the head of the cluster cannot listen on {host}:{port}. Give another --port, or end "
            "the program that uses this one"
        ) from None
    serve.run(application, name=APPLICATION, route_prefix=project.http.mount_prefix or "/")
    sys.stderr.write(f"distgraph serve: {host}:{port}, {options}\n")
    ended = threading.Event()
    for name in (signal.SIGINT, signal.SIGTERM):
        signal.signal(name, lambda *_: ended.set())
    while not ended.wait(1.0):
        pass
    if _internal_kv_get(_SERVED_BY) == mine:  # else a later command serves it
        serve.delete(APPLICATION)
    return 0
