"""Serve the graphs of a langgraph.json to LangGraph's clients. ``--local`` needs no Ray."""

from __future__ import annotations

import argparse
import os
import socket
import sys
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from distgraph.cli import codes
from distgraph.errors import MissingExtraError

if TYPE_CHECKING:
    from distgraph.serve.project import Project
    from distgraph.serve.server import Settings

__all__ = ("HELP", "add_arguments", "run", "settings_of")

HELP = "serve the graphs of a langgraph.json to LangGraph's clients"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of ``distgraph serve``."""
    parser.add_argument(
        "project",
        nargs="?",
        default="langgraph.json",
        help="langgraph.json, or its folder (default: ./langgraph.json)",
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on")
    parser.add_argument("--port", type=int, default=2024, help="port to listen on; 0 for any")
    parser.add_argument(
        "--local", action="store_true", help="serve without Ray: uvicorn and the local backend"
    )
    parser.add_argument(
        "--replicas",
        type=_replicas,
        default=(1, 1),
        metavar="N|MIN:MAX",
        help="processes that take requests; with MIN:MAX, as many as the streams that are open "
        "need (not with --local; default: 1)",
    )
    parser.add_argument(
        "--database",
        default=None,
        help="URI of a PostgreSQL database (default: DATABASE_URI, else SQLite files)",
    )
    parser.add_argument(
        "--api-key",
        default=None,
        metavar="KEY",
        help="key that clients send as x-api-key (better: DISTGRAPH_API_KEY, which no list of "
        "processes shows)",
    )


def _replicas(given: str) -> tuple[int, int]:
    """Return the least and the most replicas of ``N`` or ``MIN:MAX``."""
    least, colon, most = given.partition(":")
    try:
        found = int(least), int(most if colon else least)
    except ValueError:
        raise argparse.ArgumentTypeError(f"give N or MIN:MAX, got {given!r}") from None
    if not 1 <= found[0] <= found[1]:
        raise argparse.ArgumentTypeError(f"1 <= MIN <= MAX must hold, got {given!r}")
    return found


def settings_of(options: argparse.Namespace) -> Settings:
    """Return the settings of a command.

    Raises:
        ProjectError: The database is none of PostgreSQL's.
    """
    from distgraph.serve.errors import ProjectError
    from distgraph.serve.server import Settings

    database = options.database or os.environ.get("DATABASE_URI") or None
    if database is not None and not database.startswith(("postgres://", "postgresql://")):
        raise ProjectError(
            "--database and DATABASE_URI name a PostgreSQL database, postgresql://…, "
            f"got {database.partition(':')[0]}:…"
        )
    return Settings(
        backend="local" if options.local else "ray", database=database, sole=options.local
    )


def run(options: argparse.Namespace) -> int:
    """Serve until interrupted. Return the exit code: 1 where the project cannot be served.

    Raises:
        MissingExtraError: The extra ``serve`` is not installed.
    """
    try:
        import uvicorn

        from distgraph.serve.access import KEY_VARIABLE, access_of, check_host
        from distgraph.serve.app import application
        from distgraph.serve.errors import ProjectError
        from distgraph.serve.project import read_project
    except ImportError as error:
        raise MissingExtraError(
            f"the package {error.name!r} is missing: pip install 'distgraph[serve]'"
        ) from error
    try:
        project = read_project(options.project)
        project.enter()  # its environment may name the database and the key
        if options.api_key:
            os.environ[KEY_VARIABLE] = options.api_key
        check_host(options.host, access_of(project))
        settings = settings_of(options)
        if options.local or not os.environ.get("RAY_ADDRESS"):  # else the head's machine listens
            _check_port(options.host, options.port)
        if not options.local:
            return _on_ray(project, settings, options)
        app = application(project, settings)
    except ProjectError as error:
        sys.stderr.write(f"distgraph serve: {error}\n")
        return codes.FAILED
    config = uvicorn.Config(app, host=options.host, port=options.port, timeout_graceful_shutdown=3)
    server = uvicorn.Server(config)
    server.run()
    return 0 if server.started else codes.FAILED


def _check_port(host: str, port: int) -> None:
    """Refuse an address that this machine cannot listen on: Ray Serve says it in 70 lines.

    Raises:
        ProjectError: Another program listens there, or the address is not of this machine.
    """
    from distgraph.serve.errors import ProjectError

    try:
        family, kind, _, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        with socket.socket(family, kind) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as error:
        raise ProjectError(
            f"cannot listen on {host}:{port} ({error.strerror}). Give another --port, or end the "
            "program that uses this one"
        ) from error


def _on_ray(project: Project, settings: Settings, options: argparse.Namespace) -> int:
    ray_serve = import_module("actors.serve")
    file = Path(options.project).resolve()
    least, most = options.replicas
    replicas = ray_serve.ReplicaOptions(least, most)
    code: int = ray_serve.serve_forever(
        project, file, settings, replicas, host=options.host, port=options.port
    )
    return code
