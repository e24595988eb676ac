"""``progress``: passes a stream through unchanged, and shows the run meanwhile."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import AsyncIterable, AsyncIterator, Generator, Iterable, Iterator, Mapping
from importlib.util import find_spec
from typing import Any, Generic, Literal, Protocol, TextIO, TypeVar, overload

from distgraph.concurrency.threads import daemon
from distgraph.contract.progress import PROGRESS_MODE
from distgraph.contract.stream import END_MODE, StreamEvent
from distgraph.errors import MissingExtraError
from distgraph.invocation.run_stream import AsyncRunStream, RunStream
from distgraph.runs import AsyncRunEvents, NumberedChunk, RunEvents, RunHandle
from distgraph.views.layout import ranks
from distgraph.views.lines import LineView
from distgraph.views.model import LEFT, Attempt, RunModel, Snapshot
from distgraph.views.timelines import Timeline

__all__ = ("AsyncProgress", "Progress", "View", "progress", "timeline")

T = TypeVar("T")

View = Literal["auto", "terminal", "notebook", "lines", "none"]


class _Renderer(Protocol):
    interval: float
    """Seconds between two calls of ``draw``."""

    def begin(self, title: str, ranks: tuple[tuple[str, ...], ...]) -> None: ...
    def token(self, text: str) -> None: ...
    def draw(self, now: Snapshot) -> None: ...
    def end(self, now: Snapshot) -> None: ...


@overload
def progress(
    stream: RunHandle, *, view: View = ..., text: bool = ..., file: TextIO | None = ...
) -> Progress[NumberedChunk]: ...
@overload
def progress(
    stream: Iterable[T], *, view: View = ..., text: bool = ..., file: TextIO | None = ...
) -> Progress[T]: ...
@overload
def progress(
    stream: AsyncIterable[T], *, view: View = ..., text: bool = ..., file: TextIO | None = ...
) -> AsyncProgress[T]: ...
def progress(
    stream: RunHandle | Iterable[Any] | AsyncIterable[Any],
    *,
    view: View = "auto",
    text: bool = False,
    file: TextIO | None = None,
) -> Progress[Any] | AsyncProgress[Any]:
    """Iterate over a stream, and show its run: nodes, rates, processes, tokens, retries, waits.

    Chunks pass through unchanged and in order. The view shows more than the stream modes that the
    stream was made with: the run reports its attempts to the view, not to the caller. Tokens are
    counted where the stream has mode ``messages``. Of an iterable that is no stream of distgraph,
    only chunks and time are shown.

    Args:
        stream: What ``graph.stream(...)`` or ``graph.astream(...)`` returned, before its first
            chunk is requested; the handle of a run that was started with ``progress=True``, or
            what its ``events`` or ``aevents`` returned; or any other iterable.
        view: "terminal": a picture by ``rich`` (extra ``progress``). "notebook": a cell output.
            "lines": plain lines. "none": nothing is shown, but the run is recorded. "auto": the
            first of these that fits ``file``.
        text: Also show the text that models stream: in the view, or on stdout with "lines".
        file: Where terminal and lines are written. Default: stderr.

    Raises:
        RuntimeError: The run has started already, or is watched already.
        MissingExtraError: ``view="terminal"`` without ``rich``.
        ValueError: An unknown view.
        TypeError: ``stream`` is none of these, such as a graph or what ``invoke`` returned.
    """
    if isinstance(stream, RunHandle):
        stream = stream.events()
    if isinstance(stream, AsyncIterable):
        return AsyncProgress(stream, view, text, file)
    if isinstance(stream, Mapping) or not isinstance(stream, Iterable):
        raise TypeError(
            f"progress takes a stream, got {type(stream).__name__}: pass graph.stream(...), "
            "graph.astream(...) or the handle that graph.start(..., progress=True) returned"
        )
    return Progress(stream, view, text, file)


def timeline(run: RunHandle | Progress[Any] | AsyncProgress[Any] | Iterable[Attempt]) -> Timeline:
    """Return the timeline of a run, finished or running: what ran where, and when.

    Args:
        run: What ``progress`` returned, the handle of a run that was started with
            ``progress=True``, or attempts.

    Raises:
        UnsupportedError: The run of the handle was started without ``progress=True``.
        Truncated: The first events of the handle's run are no longer kept.
        TypeError: ``run`` is none of these, such as a stream.
    """
    if isinstance(run, RunHandle):
        return _timeline_of(run)
    if isinstance(run, _Watching):
        return run.timeline()
    given: Any = run
    if isinstance(given, Iterable) and not isinstance(given, RunStream):
        attempts = list(given)
        if all(isinstance(attempt, Attempt) for attempt in attempts):
            return Timeline.of(attempts)
    raise TypeError(
        f"timeline takes what progress(...) returned, a started run or attempts, got "
        f"{type(run).__name__}: write run = distgraph.progress(stream), then timeline(run)"
    )


def _timeline_of(handle: RunHandle) -> Timeline:
    info, events = handle._progress_so_far()
    model = RunModel(info.started_at)
    for event in events:
        if event.mode == PROGRESS_MODE:
            model.take(event.payload)
    ended = bool(events) and events[-1].mode == END_MODE
    now = None if ended else time.time()
    return Timeline.of(model.attempts, title=info.graph, begin=info.started_at, now=now)


class _RunView:
    """The model of a run, and the view of it. A thread draws it until ``end``.

    It knows nothing of who iterates over the stream, which so ends when nobody does any more.
    """

    def __init__(self, stream: Any, view: View, text: bool, file: TextIO | None) -> None:
        self._renderer = _renderer(view, text, sys.stderr if file is None else file)
        self._lock = threading.Lock()
        """Guards the model. Never held while something is drawn: drawing may be slow."""
        self._drawing = threading.Lock()
        self._model = RunModel(time.time())
        self._stopped = threading.Event()
        self._begun = False
        self._title = type(stream).__name__
        self.left = "cancelled"
        """Status where the caller leaves the stream before the end of the run."""
        self._started_at: float | None = None
        self._is_over = False
        """Whether the run had ended before it was watched."""
        self._ranks: tuple[tuple[str, ...], ...] = ()
        if isinstance(stream, (RunStream, AsyncRunStream)):
            stream.watch(self._take)
            drawn = stream.graph.get_graph()
            self._title = stream.graph.name
            self._ranks = ranks(drawn.nodes, [(e.source, e.target) for e in drawn.edges])
        elif isinstance(stream, (RunEvents, AsyncRunEvents)):
            stream.watch(self._take)
            info = stream.handle.info
            self._title, self._started_at = info.graph, info.started_at
            self._is_over = info.status not in ("pending", "running")
            self.left = LEFT

    @property
    def attempts(self) -> tuple[Attempt, ...]:
        """The attempts of the run so far, in the order in which they were queued."""
        with self._lock:
            return tuple(self._model.attempts)

    def snapshot(self) -> Snapshot:
        """Return what the view shows now, as data."""
        with self._lock:
            return self._model.snapshot(time.time())

    def timeline(self) -> Timeline:
        """Return the timeline of the run so far."""
        with self._lock:
            model = self._model
            now = time.time() if model.ended_at is None else model.ended_at
            return Timeline.of(model.attempts, title=self._title, begin=model.started_at, now=now)

    # --- the run ----------------------------------------------------------------------------------

    def begin(self) -> None:
        """Begin with the view: the first chunk was requested."""
        if self._begun:
            raise RuntimeError("progress(...) can be iterated over once, as the stream itself")
        self._begun = True
        self._model.started_at = time.time() if self._started_at is None else self._started_at
        if self._renderer is not None:
            self._renderer.begin(self._title, self._ranks)
            daemon(self._redraw, "distgraph-progress").start()

    def _redraw(self) -> None:
        renderer = self._renderer
        assert renderer is not None
        while not self._stopped.wait(renderer.interval):
            with self._drawing:
                if not self._stopped.is_set():
                    renderer.draw(self.snapshot())

    def _take(self, event: StreamEvent) -> None:
        """Take an event of the run, in the thread that reads the stream."""
        if event.mode == PROGRESS_MODE:
            with self._lock:
                self._model.take(event.payload)
        elif event.mode == "messages":
            self._token(event.payload)
        elif event.mode == END_MODE:
            error = event.payload["error"]
            with self._lock:
                message = "" if error is None else error.message
                now = time.time()
                if self._is_over:
                    now = max((a.ended_at or 0.0 for a in self._model.attempts), default=now)
                self._model.finish(event.payload["status"], now, message)

    def _token(self, payload: Any) -> None:
        if not isinstance(payload, tuple) or "Chunk" not in type(payload[0]).__name__:
            return
        message, metadata = payload
        text = message.content if isinstance(message.content, str) else str(message.text)
        node = str(metadata.get("langgraph_node", ""))
        with self._lock:
            shown = self._model.token(node, str(message.id), text, time.time())
        if self._renderer is not None and shown:
            with self._drawing:
                self._renderer.token(shown)

    def end(self, status: str) -> None:
        """End the view. Again, it does nothing."""
        if self._stopped.is_set():
            return
        self._stopped.set()
        with self._lock:
            self._model.finish(status, time.time())
        if self._renderer is not None:
            with self._drawing:
                self._renderer.end(self.snapshot())


class _Watching:
    """The part that both forms share."""

    def __init__(self, stream: Any, view: View, text: bool, file: TextIO | None) -> None:
        self._view = _RunView(stream, view, text, file)

    @property
    def attempts(self) -> tuple[Attempt, ...]:
        """The attempts of the run so far, in the order in which they were queued."""
        return self._view.attempts

    def snapshot(self) -> Snapshot:
        """Return what the view shows now, as data."""
        return self._view.snapshot()

    def timeline(self) -> Timeline:
        """Return the timeline of the run so far."""
        return self._view.timeline()


class Progress(_Watching, Generic[T]):
    """A stream that shows its run while it is iterated over; see ``progress``."""

    def __init__(
        self,
        stream: Iterable[T],
        view: View = "auto",
        text: bool = False,
        file: TextIO | None = None,
    ) -> None:
        super().__init__(stream, view, text, file)
        self._stream = stream
        self._chunks: Generator[T, None, None] | None = None

    def __iter__(self) -> Iterator[T]:
        if self._chunks is None:
            self._chunks = _follow(self._stream, self._view)
        return self._chunks

    def __next__(self) -> T:
        __tracebackhide__ = True
        return next(iter(self))

    def __enter__(self) -> Progress[T]:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Leave the stream: a run that has not ended is cancelled, and the view ends."""
        if self._chunks is not None:
            self._chunks.close()
        close = getattr(self._stream, "close", None)
        if close is not None:
            close()


class AsyncProgress(_Watching, Generic[T]):
    """Async variant of ``Progress``."""

    def __init__(
        self,
        stream: AsyncIterable[T],
        view: View = "auto",
        text: bool = False,
        file: TextIO | None = None,
    ) -> None:
        super().__init__(stream, view, text, file)
        self._stream = stream
        self._chunks: Any = None

    def __aiter__(self) -> AsyncIterator[T]:
        if self._chunks is None:
            self._chunks = _afollow(self._stream, self._view)
        return self._chunks  # type: ignore[no-any-return]

    async def __anext__(self) -> T:
        __tracebackhide__ = True
        return await anext(aiter(self))

    async def __aenter__(self) -> AsyncProgress[T]:
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Leave the stream: a run that has not ended is cancelled, and the view ends."""
        if self._chunks is not None:
            await self._chunks.aclose()
        close = getattr(self._stream, "aclose", None)
        if close is not None:
            await close()


def _follow(stream: Iterable[T], view: _RunView) -> Generator[T, None, None]:
    __tracebackhide__ = True
    view.begin()
    status = view.left
    try:
        yield from stream
        status = "done"
    except Exception:
        status = "error"
        raise
    finally:
        view.end(status)


async def _afollow(stream: AsyncIterable[T], view: _RunView) -> AsyncIterator[T]:
    __tracebackhide__ = True
    view.begin()
    status = view.left
    try:
        async for chunk in stream:
            yield chunk
        status = "done"
    except Exception:
        status = "error"
        raise
    finally:
        if status == view.left:
            close = getattr(stream, "aclose", None)
            if close is not None:
                await close()
        view.end(status)


def _renderer(view: View, text: bool, file: TextIO) -> _Renderer | None:
    if view == "auto":
        view = _fitting(file)
    if view == "none":
        return None
    if view == "lines":
        return LineView(file, sys.stdout if text else None)
    if view == "terminal":
        if find_spec("rich") is None:
            raise MissingExtraError(
                "a view in a terminal needs rich: pip install 'distgraph[progress]', or pass "
                'view="lines"'
            )
        from distgraph.views.terminal import TerminalView

        return TerminalView(file, sys.stdout if text else None)
    if view == "notebook":
        from distgraph.views.notebook import NotebookView

        return NotebookView(text)
    raise ValueError(f"unknown view {view!r}: choose from auto, terminal, notebook, lines and none")


def _fitting(file: TextIO) -> Literal["terminal", "notebook", "lines"]:
    shell = sys.modules.get("IPython")
    if shell is not None:
        running = shell.get_ipython()
        if running is not None and type(running).__name__ == "ZMQInteractiveShell":
            return "notebook"
    return "terminal" if file.isatty() and find_spec("rich") is not None else "lines"
