"""Ray's long messages about processes and machines as one short line each, with the log to read."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import NamedTuple

__all__ = ("DEATH", "LONGEST", "Log", "shortened")

LONGEST = 300
"""Characters of a message of Ray that is shown as it is, at most."""

DEATH = re.compile(r"A worker died or was killed while executing a task")
"""Finds the message about the death of a worker process."""

_SHOWN = 200
_FIELD = (
    r"(?:Lease|RayTask|Task|Worker|Node) ID:"
    r"|Worker (?:IP address|port|PID|exit type|exit detail):"
)
_OUT_OF_MEMORY = re.compile(
    r"(?P<count>\d+) (?:Workers \(tasks / actors\) killed due to memory pressure"
    r"|worker\(s\) were killed due to the node running low on memory)"
    r"(?:.*?, IP: (?P<ip>[^)\s]+)\))?",
    re.DOTALL,
)
_MEMORY_ADVICE = re.compile(r"Refer to the documentation on how to address the out of memory issue")
_MANY_PROCESSES = re.compile(
    r"(?P<count>\d+) \w+ worker processes have been started on node: \S+ with address: "
    r"(?P<ip>[\d.:a-f]*[\da-f])"
)
_REPEATED = re.compile(r"\[repeated (\d+)x across cluster\]")
_HEADER = re.compile(r"^\[\d{4}-\d\d-\d\d [^\]]*\] (?:\(\w+\) )?(?:[\w./]+:\d+: )?")


class Log(NamedTuple):
    """The log that explains a message."""

    worker: str | None
    """The id of the worker process whose log it is; None: the log of Ray's own process there."""
    pid: int | None
    ip: str | None
    """The machine, None where the message does not name it."""


def shortened(message: str, place: Callable[[Log], str]) -> str | None:
    """Return the short line for a message of Ray, None where the message is shown as it is.

    Args:
        message: What Ray would print, without its prefix.
        place: Returns where a log is, in words.

    Returns: The line; empty where the message only adds advice to an earlier one.
    """
    times = f" ({found[1]} times)" if (found := _REPEATED.search(message)) else ""
    if DEATH.search(message):
        return _death(message, place) + times
    if found := _OUT_OF_MEMORY.search(message):
        count, where = int(found["count"]), f" on {found['ip']}" if found["ip"] else ""
        return (
            f"{_processes(count)} killed{where}: the machine ran out of memory. Give nodes more "
            "with ray_options={'memory': ...}, or lower max_concurrency. Log: "
            + place(Log(None, None, found["ip"]))
            + times
        )
    if _MEMORY_ADVICE.search(message):
        return ""
    if found := _MANY_PROCESSES.search(message):
        return (
            f"Ray has started {found['count']} worker processes on {found['ip']}. Tasks with "
            "fractions of a CPU and actor pools need a process each" + times
        )
    if len(message) <= LONGEST:
        return None
    plain = " ".join(_HEADER.sub("", message).split())
    return f"Ray: {plain[:_SHOWN].rstrip()} … Log: {place(Log(None, None, None))}" + times


def _death(message: str, place: Callable[[Log], str]) -> str:
    worker, pid, ip = (_field(message, name) for name in ("ID", "PID", "IP address"))
    kind, detail = _field(message, "exit type"), _field(message, "exit detail")
    if "MEMORY" in kind or "running low on memory" in detail:
        why = "its machine ran out of memory"
    elif kind == "SYSTEM_ERROR":
        why = "it was killed, it crashed, or its code ended it"
    else:
        why = re.split(r"(?<=\w)\. ", detail)[0][:_SHOWN].rstrip(". ") or "Ray gives no reason"
    log = place(Log(worker or None, int(pid) if pid.isdigit() else None, ip or None))
    return f"worker process {pid or '?'} on {ip or '?'} died: {why}. Log: {log}"


def _field(message: str, name: str) -> str:
    found = re.search(rf"Worker {name}: (.*?)\s*(?={_FIELD}|$)", message, re.DOTALL)
    return found[1] if found else ""


def _processes(count: int) -> str:
    return "1 worker process was" if count == 1 else f"{count} worker processes were"
