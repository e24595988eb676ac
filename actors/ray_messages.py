"""Shows Ray's long messages in the caller's terminal as short lines on standard error."""

from __future__ import annotations

import glob
import logging
import os
import re
import sys
from typing import Any

import ray

from distgraph import status
from distgraph.ray_messages import DEATH, Log, shortened

__all__ = ("shorten",)

logger = logging.getLogger("distgraph.ray")

_OF_RAY = ("raylet", "autoscaler")
"""What Ray writes as the sender of its own messages, instead of a process id."""


def shorten() -> None:
    """Let Ray's long messages appear as short lines with the path of the log, from now on.

    A line is a status line where these are shown, else a warning in the log ``distgraph.ray``. The
    whole message is there too, at level ``DEBUG``. Output of nodes and what Ray prints otherwise
    stay as they are. Ray has no setting for this: with a Ray that prints in another way, nothing
    changes.
    """
    module: Any = sys.modules.get("ray._private.worker")
    original = getattr(module, "print_worker_logs", None)
    if not callable(original) or hasattr(original, "shortened"):
        return

    def print_worker_logs(data: dict[str, Any], *args: Any, **options: Any) -> Any:
        try:
            rest = _shown(data) if getattr(module, "_worker_logs_enabled", True) else data
        except Exception:  # a form that this code does not know: as Ray prints it
            rest = data
        if rest.get("lines"):
            return original(rest, *args, **options)
        return None

    print_worker_logs.shortened = original  # type: ignore[attr-defined]
    module.print_worker_logs = print_worker_logs
    for stream in ("stdout", "stderr"):
        _let_every_death_through(getattr(module, f"{stream}_deduplicator", None))


def _let_every_death_through(deduplicator: Any) -> None:
    """Let Ray print each death of a worker process at once.

    Ray takes two deaths for the same message, as it ignores words with numbers. It keeps a second
    death within its window until it has something else to print.
    """
    if not hasattr(deduplicator, "allow_re"):
        return
    allowed = [DEATH.pattern]
    if deduplicator.allow_re is not None:
        allowed.append(deduplicator.allow_re.pattern)
    deduplicator.allow_re = re.compile("|".join(f"(?:{pattern})" for pattern in allowed))


def _shown(data: dict[str, Any]) -> dict[str, Any]:
    """Show the short lines of a batch, and return the batch with the other lines."""
    if data.get("pid") not in _OF_RAY:
        return data
    rest, found = [], False
    for line in data["lines"]:
        short = shortened(line, _place)
        if short is None:
            rest.append(line)
            continue
        found = True
        logger.debug("%s", line)
        if short and not status.note(short):
            logger.warning("%s", short)
    # Ray separates its advice by empty lines
    return {**data, "lines": [line for line in rest if line.strip()] if found else rest}


def _place(log: Log) -> str:
    """Return the path of a log, or its name and machine where it is elsewhere."""
    folder = _folder()
    name = "raylet.err" if log.worker is None else f"worker-{log.worker}-*-{log.pid}.err"
    if log.ip is None or log.ip == _address():
        for path in glob.glob(os.path.join(folder, name)):
            # a process that printed nothing to stderr may have said something on stdout
            out = f"{path.removesuffix('err')}out"
            return path if os.path.getsize(path) or not os.path.exists(out) else out
        return os.path.join(folder, name)
    return f"{os.path.join(folder, name)} on {log.ip}"


def _node() -> Any:
    return ray._private.worker.global_worker.node


def _folder() -> str:
    return str(_node().get_logs_dir_path())


def _address() -> str:
    return str(_node().node_ip_address)
