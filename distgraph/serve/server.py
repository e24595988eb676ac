"""A server process: its project, its graphs, and what endpoints need."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from distgraph.serve.access import Access, access_of
from distgraph.serve.checkpoints import Checkpoints
from distgraph.serve.database import Conflict, open_database
from distgraph.serve.errors import ProjectError, RequestError
from distgraph.serve.expiry import ThreadExpiry
from distgraph.serve.graphs import Graphs, assistant_id_of
from distgraph.serve.handles import Handles
from distgraph.serve.project import Project, load_object
from distgraph.serve.records import Assistant, now
from distgraph.serve.registry import Registry
from distgraph.serve.runner import Runner
from distgraph.serve.scheduling import CronScheduler
from distgraph.serve.thread_log import ThreadLog
from distgraph.serve.watching import Changes

__all__ = ("Server", "Settings", "open_server")


@dataclass(frozen=True, slots=True)
class Settings:
    """How a server process runs."""

    backend: Literal["local", "ray"] = "local"
    database: str | None = None
    """URI of a PostgreSQL database; None for SQLite files."""
    folder: Path | None = None
    """Folder of the SQLite files; default: ``.distgraph`` beside ``langgraph.json``."""
    sole: bool = True
    """Whether this is the only server process."""
    heartbeat: float = 5.0
    """Seconds of silence after which a stream sends a heartbeat."""


@dataclass(slots=True)
class Server:
    """What endpoints need. One for each server process."""

    project: Project
    settings: Settings
    access: Access
    graphs: Graphs
    registry: Registry
    handles: Handles
    changes: Changes
    log: ThreadLog
    runner: Runner
    checkpoints: Checkpoints
    store: Any
    """A LangGraph store."""
    stack: AsyncExitStack
    serving: tuple[asyncio.Task[None], ...] = ()

    async def close(self) -> None:
        """End: runs of the local backend end, too; detached runs go on."""
        for task in self.serving:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
        await self.runner.close()
        await self.changes.close()
        await self.stack.aclose()
        self.registry.close()


async def open_server(project: Project, settings: Settings) -> Server:
    """Open the database, load the graphs, and take part in the work of the runs.

    Raises:
        ProjectError: ``langgraph.json`` names what cannot be loaded.
    """
    project.enter()
    project.webhooks.resolved_headers()  # a variable that is missing is told now
    stack = AsyncExitStack()
    folder = settings.folder or project.folder / ".distgraph"
    if settings.database is None:
        folder.mkdir(parents=True, exist_ok=True)
    saver = await _saver(project, settings, folder, stack)
    store = await _store(project, settings, folder, stack)
    graphs = Graphs(project, backend=settings.backend, checkpointer=saver, store=store)
    database = settings.database or str(folder / "registry.sqlite")
    registry = Registry(await asyncio.to_thread(open_database, database))
    await registry.set_up()
    await _add_assistants(registry, graphs)
    handles = Handles(registry, settings.backend)
    changes = Changes(registry, shared=not settings.sole)
    checkpoints = Checkpoints(saver)
    default = project.expiry.default
    if default is not None and default.strategy == "keep_latest":
        try:
            checkpoints.check_keeps_latest()
        except RequestError as error:
            raise ProjectError(f"checkpointer.ttl: {error.detail}") from None
    runner = Runner(
        registry,
        graphs,
        handles,
        changes,
        checkpoints,
        detached=settings.backend == "ray",
        sole=settings.sole,
        ttl=default,
        webhooks=project.webhooks,
    )
    server = Server(
        project=project,
        settings=settings,
        access=access_of(project),
        graphs=graphs,
        registry=registry,
        handles=handles,
        changes=changes,
        log=ThreadLog(registry, handles, changes),
        runner=runner,
        checkpoints=checkpoints,
        store=store,
        stack=stack,
    )
    server.log.settle = runner.follow
    await registry.seen(runner.owner)
    crons = CronScheduler(registry, runner)
    server.serving = (
        asyncio.ensure_future(runner.serve()),
        asyncio.ensure_future(crons.serve()),
        asyncio.ensure_future(ThreadExpiry(registry, checkpoints, project.expiry).serve()),
    )
    return server


async def _add_assistants(registry: Registry, graphs: Graphs) -> None:
    for graph_id, source in graphs.sources.items():
        stamp = now()
        with suppress(Conflict):
            await registry.assistants.add(
                Assistant(
                    assistant_id=assistant_id_of(graph_id),
                    graph_id=graph_id,
                    name=graph_id,
                    created_at=stamp,
                    updated_at=stamp,
                    metadata={"created_by": "system"},
                    description=source.description,
                )
            )


async def _saver(project: Project, settings: Settings, folder: Path, stack: AsyncExitStack) -> Any:
    where = project.checkpointer.get("path")
    if where:
        return await _own(project, where, "checkpointer.path", stack)
    serde = _serializer(project.checkpointer.get("serde"))
    if settings.database is not None:
        from langgraph.checkpoint.postgres.aio import AsyncPostgresSaver

        made: Any = AsyncPostgresSaver(await _pool(settings.database, stack), serde=serde)
        await made.setup()
        return made
    file = folder / "checkpoints.sqlite"
    if settings.backend == "local":
        from distgraph.serve.file_saver import open_file

        opened = await asyncio.to_thread(open_file, file, serde)
        stack.callback(opened.close)
        return opened
    from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver

    saver = AsyncSqliteSaver(await _file(file, stack), serde=serde)
    await saver.setup()
    return saver


def _serializer(given: Any) -> Any:
    """Return the serializer that ``checkpointer.serde`` describes; None for the saver's own."""
    if given is None:
        return None
    from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer

    options: dict[str, Any] = {"pickle_fallback": bool(given.get("pickle_fallback", True))}
    for key in ("allowed_json_modules", "allowed_msgpack_modules"):
        if key in given:
            value = given[key]
            options[key] = [tuple(each) for each in value] if isinstance(value, list) else value
    return JsonPlusSerializer(**options)


async def _store(project: Project, settings: Settings, folder: Path, stack: AsyncExitStack) -> Any:
    where = project.store.get("path")
    if where:
        return await _own(project, where, "store.path", stack)
    options: dict[str, Any] = {}
    index = project.store.get("index")
    if index:
        options["index"] = _index(project, index)
    ttl = project.store.get("ttl")
    if ttl:
        options["ttl"] = ttl
    if settings.database is not None:
        from langgraph.store.postgres.aio import AsyncPostgresStore

        made: Any = AsyncPostgresStore(await _pool(settings.database, stack), **options)
        await made.setup()
        await _sweeping(made, ttl, stack)
        return made
    from langgraph.store.sqlite.aio import AsyncSqliteStore

    connection = await _file(folder / "store.sqlite", stack, isolation_level=None)
    store = await stack.enter_async_context(AsyncSqliteStore(connection, **options))
    await store.setup()
    await _sweeping(store, ttl, stack)
    return store


async def _sweeping(store: Any, ttl: Any, stack: AsyncExitStack) -> None:
    """Delete items whose time has passed, as long as the server lives, where that is asked for."""
    if ttl and ttl.get("sweep_interval_minutes"):
        await store.start_ttl_sweeper()
        stack.push_async_callback(store.stop_ttl_sweeper, 1.0)


async def _file(path: Path, stack: AsyncExitStack, **options: Any) -> Any:
    import aiosqlite

    connection = await aiosqlite.connect(path, timeout=30.0, **options)
    await connection.execute("PRAGMA journal_mode=WAL")
    await connection.execute("PRAGMA synchronous=NORMAL")
    stack.push_async_callback(connection.close)
    return connection


async def _pool(uri: str, stack: AsyncExitStack) -> Any:
    from psycopg.rows import dict_row
    from psycopg_pool import AsyncConnectionPool

    pool: Any = AsyncConnectionPool(
        uri,
        kwargs={"autocommit": True, "prepare_threshold": 0, "row_factory": dict_row},
        min_size=0,
        max_size=8,
        open=False,
        check=AsyncConnectionPool.check_connection,
    )
    await pool.open()
    stack.push_async_callback(pool.close, 1.0)
    return pool


async def _own(project: Project, where: str, what: str, stack: AsyncExitStack) -> Any:
    """Return the user's own saver or store: an object, a factory, or a context manager."""
    made = load_object(project, where, what)
    if callable(made) and not hasattr(made, "aput"):
        try:
            made = made()
        except Exception as error:
            raise ProjectError(f"{what} ({where}): {type(error).__name__}: {error}") from error
    if asyncio.iscoroutine(made):
        made = await made
    if hasattr(made, "__aenter__"):
        return await stack.enter_async_context(made)
    if hasattr(made, "__enter__") and not hasattr(made, "put"):
        return stack.enter_context(made)
    return made


def _index(project: Project, given: Any) -> Any:
    """Return the index settings of a store; ``embed`` may name a function of the project."""
    index = dict(given)
    embed = index.get("embed")
    if isinstance(embed, str) and (".py:" in embed or embed.startswith(("./", "/"))):
        index["embed"] = load_object(project, embed, "store.index.embed")
    return index
