"""Log records that say which run, thread, node and attempt they belong to; as JSON where asked for.

``DISTGRAPH_LOG=json`` makes each process of distgraph write its log records as JSON, one a line.
Programs with a logging configuration of their own add ``RunFields`` to a handler, and use
``JsonFormatter`` or a formatter of their own.
"""

from __future__ import annotations

import json
import logging
import socket
import sys
import time
from collections.abc import Mapping
from contextvars import ContextVar
from typing import Any

from distgraph._internal.current import current
from distgraph._internal.settings import setting

__all__ = (
    "FIELDS",
    "JsonFormatter",
    "RunFields",
    "configure",
    "driver_fields",
    "of_run",
    "run_fields",
)

FIELDS = ("run_id", "thread_id", "graph", "node", "step", "attempt")
"""Attributes that ``RunFields`` gives a record, as far as they are known."""

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
_HOST = socket.gethostname()

driver_fields: ContextVar[Mapping[str, Any] | None] = ContextVar("distgraph_log_run", default=None)
"""Fields of the run whose driver runs in this context; None in a node."""


def run_fields() -> Mapping[str, Any]:
    """Return the run, thread, node, superstep and attempt that this code belongs to.

    In a node all but ``graph`` are known; in a driver the node and its attempt are not.
    """
    of_driver = driver_fields.get()
    if of_driver is not None:
        return of_driver
    task: Any = current.get()
    if task is None:
        return {}
    request, shared = task.request, task.run.shared
    thread_id = shared.configurable.get("thread_id")
    return {
        "run_id": shared.run_id,
        **({} if thread_id is None else {"thread_id": str(thread_id)}),
        "node": "/".join((*request.graph_path, request.node)),
        "step": request.step,
        "attempt": request.shown_attempt,
    }


class of_run:
    """Gives these fields to the records of a block that drives a run."""

    __slots__ = ("_fields", "_token")

    def __init__(self, fields: Mapping[str, Any]) -> None:
        self._fields = fields

    def __enter__(self) -> None:
        self._token = driver_fields.set(self._fields)

    def __exit__(self, *exc_info: object) -> None:
        driver_fields.reset(self._token)


class RunFields(logging.Filter):
    """Gives each record the attributes of ``FIELDS`` that are known. Lets all records pass."""

    def filter(self, record: logging.LogRecord) -> bool:
        """Add the attributes; those that the record has stay as they are."""
        for name, value in run_fields().items():
            if not hasattr(record, name):
                setattr(record, name, value)
        return True


class JsonFormatter(logging.Formatter):
    """One JSON object a record: time, level, logger, message, host, pid, and what was added.

    ``extra`` of a logging call, and the attributes of ``RunFields``, become keys.
    """

    def format(self, record: logging.LogRecord) -> str:
        """Return the record as one line."""
        told: dict[str, Any] = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
            + f".{int(record.msecs):03d}Z",
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        told |= {
            key: value
            for key, value in vars(record).items()
            if key not in _STANDARD and not key.startswith("_")  # Ray adds some of its own
        }
        told |= {"host": _HOST, "pid": record.process}
        if record.exc_info:
            told["exception"] = self.formatException(record.exc_info)
        return json.dumps(told, default=repr, ensure_ascii=False)


def configure(root: logging.Logger | None = None) -> None:
    """Do what ``DISTGRAPH_LOG`` asks for in this process; again, it does nothing.

    The handlers of the root logger that write to a stream write JSON. Without one, one for standard
    error is added, and the level is INFO, or that of ``json:LEVEL``.

    Args:
        root: In place of the root logger.

    Raises:
        ValueError: The setting is neither empty, "off", "json" nor "json:LEVEL".
    """
    level: int | None = None
    level = setting("DISTGRAPH_LOG", level)
    if level is None:
        return
    root = logging.getLogger() if root is None else root
    streams = [h for h in root.handlers if isinstance(h, logging.StreamHandler)]
    if not streams:
        handler = logging.StreamHandler(sys.stderr)
        root.addHandler(handler)
        root.setLevel(level)
        streams = [handler]
    for handler in streams:
        if not isinstance(handler.formatter, JsonFormatter):
            handler.setFormatter(JsonFormatter())
            handler.addFilter(RunFields())
