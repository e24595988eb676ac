"""Savers, stores and caches in SQLite files: opened where the file is."""

from __future__ import annotations

import os
import sqlite3
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeout
from contextlib import contextmanager, suppress
from typing import Any
from urllib.parse import quote

from distgraph.concurrency.threads import daemon
from distgraph.errors import UnsupportedError
from distgraph.persistence.placing import Description, settings_of
from distgraph.persistence.sync_or_async import type_name

__all__ = ("check_threads", "describe", "open_described")

_BUSY = 30.0
"""Seconds that a write waits for another process which is writing to the file."""

_ANSWER = 5.0
"""Seconds that the thread of an ``aiosqlite`` connection has to say which file it has open."""


def describe(resource: Any) -> Description | None:
    """Return the file of a saver, store or cache, None where it has none of its own.

    Raises:
        UnsupportedError: Its connection is closed, or can only be used by another thread.
    """
    connection = _connection(resource)
    name = type_name(resource)
    path = _path(connection, name)
    # a file that was removed is only there for those who have it open
    if path is None or not os.path.exists(path):
        return None
    settings = {"path": path, **settings_of(resource)}
    return Description("file", name.removeprefix("Async"), path, settings)


def _connection(resource: Any) -> Any:
    return resource._conn if type_name(resource) == "SqliteCache" else resource.conn


def _path(connection: Any, name: str) -> str | None:
    try:
        if type(connection) is sqlite3.Connection:
            return _file_of(connection)
        if type(connection).__module__.startswith("aiosqlite"):
            return _file_of_async(connection, name)
    except sqlite3.ProgrammingError as error:
        if "thread" in str(error):
            raise _other_thread(name) from error
        raise _closed(name) from error
    return None


def _file_of(connection: sqlite3.Connection) -> str | None:
    for _, database, file in connection.execute("PRAGMA database_list").fetchall():
        if database == "main":
            return file or None
    return None


class _Answer(Future[Any]):
    """A future for threads, with the interface that ``aiosqlite`` expects."""

    def get_loop(self) -> _Answer:
        return self

    def call_soon_threadsafe(self, call: Callable[..., object], *args: Any) -> None:
        call(*args)


def _file_of_async(connection: Any, name: str) -> str | None:
    """Ask the connection's own thread, by the queue that its coroutines use."""
    if not getattr(connection, "_running", True):
        raise _closed(name)
    inner = getattr(connection, "_connection", None)
    if inner is None:  # not connected yet
        return None
    reply = _Answer()
    try:
        connection._tx.put_nowait((reply, lambda: _file_of(inner)))
        return reply.result(_ANSWER)  # type: ignore[no-any-return]
    except (AttributeError, FutureTimeout, TimeoutError):
        return None


def check_threads(resource: Any) -> None:
    """Refuse a connection that threads other than its own cannot use.

    Raises:
        UnsupportedError: It is one.
    """
    connection = _connection(resource)
    if type(connection) is not sqlite3.Connection:
        return
    failures: list[BaseException] = []

    def use() -> None:
        try:
            connection.cursor().close()
        except sqlite3.ProgrammingError as error:
            failures.append(error)

    thread = daemon(use, "distgraph-check")
    thread.start()
    thread.join()
    if failures:
        raise _other_thread(type_name(resource)) from failures[0]


def _other_thread(name: str) -> UnsupportedError:
    return UnsupportedError(
        f"{name}: its connection can only be used by the thread that made it, and runs use others. "
        "Open it with sqlite3.connect(path, check_same_thread=False), or by "
        f"{name}.from_conn_string(path)"
    )


def _closed(name: str) -> UnsupportedError:
    return UnsupportedError(
        f"{name}: its connection is closed. Compile and run the graph inside of "
        f"`with {name}.from_conn_string(...)`, or keep the connection open"
    )


class Connection(sqlite3.Connection):
    """A connection on which one thread can commit what several calls of a saver have written, at
    once. The system then waits for the disk once."""

    _together: int | None = None
    """The thread that does so now."""

    @contextmanager
    def together(self, lock: Any) -> Iterator[None]:
        """Commit behind the block what this thread writes in it. ``lock``: the saver's own.

        What is written when the block fails is committed as well, as the saver does.
        """
        self._together = threading.get_ident()
        try:
            yield
        finally:
            self._together = None
            with lock:
                self.commit()

    def commit(self) -> None:
        """Commit, or leave that to the end of the block."""
        if self._together != threading.get_ident():
            super().commit()


def open_described(opens: str, settings: dict[str, Any]) -> tuple[Any, Callable[[], None]]:
    """Open the file; returns the saver, store or cache, and what closes it."""
    path, options = settings["path"], {k: v for k, v in settings.items() if k != "path"}
    # never make a new file: it would be another one, on another machine or in another container
    if not os.path.exists(path):
        raise FileNotFoundError(f"there is no file {path} here")
    if opens == "SqliteCache":
        from langgraph.cache.sqlite import SqliteCache

        cache: Any = SqliteCache(path=path, serde=options["serde"])
        return cache, _closer(cache._conn)
    isolation: Any = {"isolation_level": None} if opens == "SqliteStore" else {}
    connection = sqlite3.connect(
        f"file:{quote(path)}?mode=rw",
        _BUSY,
        check_same_thread=False,
        factory=Connection,
        uri=True,
        **isolation,
    )
    made: Any
    if opens == "SqliteStore":
        from langgraph.store.sqlite import SqliteStore

        made = SqliteStore(connection, **options)
    else:
        from langgraph.checkpoint.sqlite import SqliteSaver

        made = SqliteSaver(connection, serde=options["serde"])
    return made, _closer(connection)


def _closer(connection: sqlite3.Connection) -> Callable[[], None]:
    def close() -> None:
        with suppress(sqlite3.Error):
            connection.close()

    return close
