"""Reaching a Ray cluster: the one that is initialized, the one that is named, or a local one."""

from __future__ import annotations

import logging
import os
import re
import socket
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import AuthenticationError

from actors import agent_stub, ray_messages
from actors.cluster import cluster_size, cpus
from distgraph import status
from distgraph.concurrency.forking import in_forked_process
from distgraph.concurrency.threads import daemon
from distgraph.errors import UnsupportedClusterError

logger = logging.getLogger("distgraph")

_REACH = 10.0
"""Seconds for the head of a cluster to accept a connection."""


_EAGER = {
    "RAY_raylet_client_connect_timeout_milliseconds": "20",
    "RAY_raylet_client_num_connect_attempts": "500",
}
"""For the raylet: it tries for 10 s, as by default, but 500 times instead of 10 times."""

_KNOWN = ("2.60.",)
"""Versions of Ray whose raylet is known to serve with the stand-in for its dashboard's agent.
Others start the agent itself."""

_forked_from: int | None = None
"""The process that used Ray, and from which this one was forked."""


@in_forked_process
def _note_fork() -> None:
    global _forked_from
    if ray.is_initialized():
        _forked_from = os.getppid()


def refuse_fork() -> None:
    """Refuse to use Ray where it cannot answer.

    Raises:
        UnsupportedClusterError: This process was forked from one that uses Ray.
    """
    if _forked_from is not None:
        raise UnsupportedClusterError(
            f"process {os.getpid()} was forked from process {_forked_from}, which uses Ray, and "
            "Ray does not work in a forked process. Start the process another way: "
            'multiprocessing.get_context("spawn"), ProcessPoolExecutor(mp_context=...), a server '
            "that loads the program in each of its processes (gunicorn without --preload). Or "
            "fork before the first run and before ray.init"
        )


def ensure_ray() -> None:
    """Initialize Ray if it is not initialized, and refuse a cluster that cannot execute runs.

    An initialized Ray is used as it is. Otherwise ``RAY_ADDRESS`` names the cluster; without it a
    local Ray is started, and said so once: in the log and as a status line.

    Raises:
        UnsupportedClusterError: This process is connected by Ray Client, there is no cluster at
            ``RAY_ADDRESS``, the cluster refuses the token of this process, or this process was
            forked from one that uses Ray.
    """
    refuse_fork()
    try:
        _refuse_client()
        if not ray.is_initialized():
            _start_or_join(os.environ.get("RAY_ADDRESS"))
    finally:
        status.ended("ray", None)
    ray_messages.shorten()


def _start_or_join(address: str | None) -> None:
    if address and address.startswith("ray://"):
        raise _client_error(f"RAY_ADDRESS={address}")
    if address == "local":
        address = None
    status.started("ray", f"joining {address}" if address else "starting a local Ray")
    if address:
        _knock(address)
        _show_token(address)
    options: dict[str, Any] = {"logging_level": logging.ERROR}
    if address:
        options["address"] = address
    else:  # without an address Ray would join whatever cluster was started on this machine last
        options |= {"address": "local", "include_dashboard": False}
    try:
        _init(options)
    except AuthenticationError as error:
        raise _token_refused(address or "local", error) from error
    except (ConnectionError, ValueError) as error:
        if not address:
            raise
        raise _no_cluster(address, error) from error
    except RuntimeError as error:
        if "ersion mismatch" not in str(error):
            raise
        raise UnsupportedClusterError(
            f"this process and the cluster at {address} do not fit: {error}. Install the same "
            "versions of Python and Ray here and on every node"
        ) from error
    if address:
        size = cluster_size()
        status.ended("ray", f"joined {address}: {size}")
        logger.info("connected to the Ray cluster at %s: %s", address, size)
    else:
        status.ended("ray", f"started a local Ray ({status.counted(cpus(), 'CPU')})")
        logger.info(
            "started a local Ray with %d CPUs; call ray.init(...) before the first run, or set "
            "RAY_ADDRESS, to run on a cluster",
            cpus(),
        )


def _init(options: dict[str, Any]) -> None:
    """Call ``ray.init`` in a thread that lives as long as the process.

    A local Ray ends with the thread that started it: its processes ask the system for a signal at
    that thread's death. A run may be the first in a thread that ends soon, as in ``batch``.
    """
    if threading.current_thread() is threading.main_thread():
        _call_init(options)
        return
    started: Future[None] = Future()

    def keep() -> None:
        try:
            _call_init(options)
        except BaseException as error:
            started.set_exception(error)
            return
        started.set_result(None)
        threading.Event().wait()

    daemon(keep, "distgraph-ray").start()
    started.result()


def _call_init(options: dict[str, Any]) -> None:
    if options.get("address") == "local":
        with _quick_start():
            ray.init(**options)
    else:
        ray.init(**options)


@contextmanager
def _quick_start() -> Iterator[None]:
    """Let a local Ray start without what only a dashboard, an autoscaler or Prometheus reads.

    They take a fifth of the CPU seconds before the first event of a run, and ``ray.init`` waits for
    the dashboard's agent. Ray has no option to leave them out.

    ``ray.init`` also waits a second when the raylet connects to its own object store a moment too
    early, which happens in a third of all starts: it tries again sooner.
    """
    from ray._private import services
    from ray._private.node import Node

    def leave_out(self: Node, **options: Any) -> None:
        return None

    def command(component: str, *args: Any, **options: Any) -> list[str]:
        if component == "dashboard_agent" and ray.__version__.startswith(_KNOWN):
            return [sys.executable, "-S", "-E", agent_stub.__file__]
        found: list[str] = commands(component, *args, **options)
        return found

    builder = "_build_python_executable_command_memory_profileable"
    commands: Any = getattr(services, builder, None)
    with ExitStack() as stack:
        for name in ("start_api_server", "start_monitor"):
            stack.enter_context(_replaced(Node, name, leave_out))
        stack.enter_context(_replaced(services, builder, command))
        if not _EAGER.keys() & os.environ.keys():
            os.environ.update(_EAGER)
            for name in _EAGER:
                stack.callback(os.environ.pop, name, None)
        yield


@contextmanager
def _replaced(owner: Any, name: str, value: Any) -> Iterator[None]:
    """Replace an attribute, if this version of Ray has it."""
    original = getattr(owner, name, None)
    if original is None:
        yield
        return
    setattr(owner, name, value)
    try:
        yield
    finally:
        setattr(owner, name, original)


def _knock(address: str) -> None:
    """Check whether a server listens at an address: Ray retries for minutes and reports little."""
    found = re.fullmatch(r"\[?([^\[\]/]+?)\]?:(\d+)", address)
    if found is None:
        return
    try:
        socket.create_connection((found[1], int(found[2])), _REACH).close()
    except (OSError, OverflowError) as error:
        raise _no_cluster(address, error) from error


def _show_token(address: str) -> None:
    """Ask the head whether it accepts the token of this process; ``ray.init`` retries for 24 s.

    Raises:
        UnsupportedClusterError: It does not, or there is no token though ``RAY_AUTH_MODE`` asks
            for one.
    """
    if os.environ.get("RAY_AUTH_MODE") == "token" and not _has_token():
        raise _token_refused(address, "this process has no token")
    if re.fullmatch(r"\[?([^\[\]/]+?)\]?:(\d+)", address) is None:
        return
    answered: Future[None] = Future()

    def ask() -> None:
        try:
            from ray._raylet import GcsClient  # type: ignore[attr-defined]

            GcsClient(address=address)
        except BaseException as error:
            answered.set_exception(error)
        else:
            answered.set_result(None)

    daemon(ask, "distgraph-token").start()
    try:
        answered.result(_REACH)
    except AuthenticationError as error:
        raise _token_refused(
            address, str(error).split(". ")[0].removeprefix("RPC error: ")
        ) from None
    except Exception:  # whatever else is wrong, ray.init says
        return


def _has_token() -> bool:
    if os.environ.get("RAY_AUTH_TOKEN"):
        return True
    path = os.environ.get("RAY_AUTH_TOKEN_PATH") or Path.home() / ".ray" / "auth_token"
    return Path(path).is_file()


def _token_refused(address: str, why: object) -> UnsupportedClusterError:
    if _has_token() and os.environ.get("RAY_AUTH_MODE") != "token":
        return UnsupportedClusterError(
            f"the Ray cluster at {address} asks for an authentication token, which this process "
            "has and does not send. Set the environment variable RAY_AUTH_MODE=token"
        )
    return UnsupportedClusterError(
        f"the Ray cluster at {address} refuses the authentication token of this process ({why}). "
        "Set RAY_AUTH_MODE=token, and RAY_AUTH_TOKEN or RAY_AUTH_TOKEN_PATH to the token of the "
        "cluster (`ray get-auth-token` on its head shows it)"
    )


def _no_cluster(address: str, why: Exception) -> UnsupportedClusterError:
    return UnsupportedClusterError(
        f"there is no Ray cluster at RAY_ADDRESS={address} ({why}). Start one there "
        "(`ray start --head`), or name the address of another one. Without RAY_ADDRESS, programs "
        "run on a local Ray that starts by itself"
    )


def _refuse_client() -> None:
    client = sys.modules.get("ray.util.client")
    if client is not None and client.ray.is_connected():
        raise _client_error("This process is connected by Ray Client (ray://)")


def _client_error(what: str) -> UnsupportedClusterError:
    return UnsupportedClusterError(
        f"{what}, which cannot stream a run. Run the program on a machine of the cluster "
        "(`ray job submit`, or `ray attach` and start it there) with RAY_ADDRESS=auto"
    )
