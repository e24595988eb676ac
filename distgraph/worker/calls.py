"""Calls of tasks from the code of an attempt: numbered, sent to the driver, returned as futures.

No function here waits. A call in a coroutine returns an ``asyncio.Future``, any other call a
``concurrent.futures.Future``, as in LangGraph.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from distgraph._internal.keys import RETURN
from distgraph.contract.attempt import AttemptRequest
from distgraph.contract.calls import CallResult, DroppedCall, TaskCall
from distgraph.contract.events import ProgressMade
from distgraph.contract.failure import ShippedError
from distgraph.contract.spec import NodeProgram, Reader, Write
from distgraph.errors import GraphInterrupt, RunCancelled
from distgraph.interop import own
from distgraph.serde.exceptions import rebuild_error

if TYPE_CHECKING:
    from distgraph.types import CachePolicy, RetryPolicy, TimeoutPolicy

__all__ = ("CallPort", "Callee", "Calls", "called_program")


class Function(Protocol):
    """A task's function, with injection of config, writer, store and runtime."""

    def __call__(self, args: tuple[Any, ...], kwargs: Mapping[str, Any], context: Any) -> Any:
        """Call it; the result is awaited if it is awaitable."""

    def arguments(self, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> dict[str, Any]:
        """Return the arguments by name, as callbacks receive them."""

    def shipped(self) -> tuple[bytes, str]:
        """Return its pickle, and a hash of that."""


@dataclass(frozen=True, slots=True)
class Callee:
    """A task that code calls."""

    name: str
    function: Function
    is_async: bool = False
    ray_options: Mapping[str, Any] = field(default_factory=dict)
    retry: tuple[RetryPolicy, ...] = ()
    timeout: TimeoutPolicy | None = None
    cache: CachePolicy | None = None
    identity: str = "__dynamic__"


CallFuture = Future[Any] | asyncio.Future[Any]
"""The result of a call, for code that blocks on it or for code that awaits it."""


class CallPort(Protocol):
    """A backend's way from one attempt to the driver."""

    def ship(self, function: Function) -> tuple[Any, str]:
        """Return the function in a form that can be sent, and a key that identifies it."""

    def send(self, call: TaskCall | DroppedCall | ProgressMade) -> None:
        """Report a call, its cancellation, or progress to the driver without waiting."""

    def flush(self) -> None:
        """Hand out results that are there already. Called without a lock, after ``send``."""

    def waiting(self, change: int) -> None:
        """Learn that the attempt has calls without a result (1), or has none any more (-1)."""

    def future(self) -> Future[Any]:
        """Return a future for code that may block on it."""


class Calls:
    """The calls of one attempt's code. Any thread may use it."""

    def __init__(self, request: AttemptRequest, port: CallPort) -> None:
        self._request = request
        self._port = port
        self._sending = threading.Lock()
        self._lock = threading.Lock()
        self._open: dict[int, CallFuture] = {}
        self._closed = False
        self.made = 0
        """Number of calls sent to the driver."""
        self.taken = 0
        """Results that came back."""
        self.emitted: Callable[[], int] = int
        """Returns how many events the attempt has emitted."""

    @property
    def settled(self) -> bool:
        """Whether no call waits for its result."""
        return not self._open

    def call(
        self,
        callee: Callee,
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
        around: str | None = None,
    ) -> Any:
        """Call a task, and return the future of its result: cancelling that ends the call.

        Raises:
            SerializationError: The function or an argument cannot be sent.
            RunCancelled: The attempt has ended.
        """
        request = self._request
        target, key = self._port.ship(callee.function)
        try:
            future: CallFuture = asyncio.get_running_loop().create_future()
        except RuntimeError:  # a thread of its own: it may block on the result
            future = self._port.future()
        with self._sending:
            seq = self.made
            self._expect(seq, future, callee.name)
            try:
                self._port.send(
                    TaskCall(
                        task_id=request.task_id,
                        attempt=request.attempt,
                        seq=seq,
                        number=request.part[0] + seq * request.part[1],
                        name=callee.name,
                        input=(args, dict(kwargs)),
                        target=target,
                        key=key,
                        is_async=callee.is_async,
                        ray_options=callee.ray_options,
                        retry=callee.retry,
                        timeout=callee.timeout,
                        cache=callee.cache,
                        identity=callee.identity,
                        around=around,
                        emitted=self.emitted(),
                    )
                )
            except BaseException:
                self._drop(seq)
                raise
            self.made += 1
        future.add_done_callback(partial(self._left, seq))
        self._port.flush()
        return future

    def report(self, progress: ProgressMade) -> None:
        """Report to the driver that the attempt makes progress."""
        if not self._closed:
            self._port.send(progress)
            self._port.flush()

    def _left(self, seq: int, future: CallFuture) -> None:
        """Report a call to the driver whose future its caller has cancelled."""
        if future.cancelled() and self._drop(seq) is not None:
            request = self._request
            self._port.send(DroppedCall(request.task_id, request.attempt, seq))
            self._port.flush()

    def returned(self, result: CallResult) -> None:
        """Handle the result of a call."""
        self.taken += 1
        future = self._drop(result.seq)
        if future is not None:
            _settle(future, result)

    def lose(self, error: BaseException) -> None:
        """Let all open calls fail: no result comes any more."""
        with self._lock:
            left = list(self._open)
        for seq in left:
            request = self._request
            self.returned(CallResult(request.task_id, request.attempt, seq, error=error))

    def close(self) -> None:
        """End it with the attempt: nobody waits for what is still open."""
        with self._lock:
            self._closed = True
            left = list(self._open)
        for seq in left:
            future = self._drop(seq)
            if isinstance(future, asyncio.Future):
                with suppress(RuntimeError):  # its loop was closed
                    future.get_loop().call_soon_threadsafe(future.cancel)
            elif future is not None:
                future.cancel()
        self._port = _ENDED  # both are freed now, not by the garbage collector

    def _expect(self, seq: int, future: CallFuture, name: str) -> None:
        with self._lock:
            if self._closed:
                raise RunCancelled(
                    f"node {self._request.node!r} called task {name!r} after its attempt had ended "
                    "or its run was cancelled"
                )
            self._open[seq] = future
            first = len(self._open) == 1
        if first:
            self._port.waiting(1)

    def _drop(self, seq: int) -> CallFuture | None:
        port = self._port
        with self._lock:
            future = self._open.pop(seq, None)
            last = future is not None and not self._open
        if last:
            port.waiting(-1)
        return future


class _Ended:
    """The port of an attempt that has ended: ``Calls`` refuses what it would be asked for."""

    def ship(self, function: Function) -> tuple[Any, str]:
        return None, ""

    def send(self, call: TaskCall | DroppedCall | ProgressMade) -> None:
        pass

    def flush(self) -> None:
        pass

    def waiting(self, change: int) -> None:
        pass

    def future(self) -> Future[Any]:
        return Future()


_ENDED = _Ended()


def _settle(future: CallFuture, result: CallResult) -> None:
    if isinstance(future, asyncio.Future):
        with suppress(RuntimeError):  # its loop was closed
            future.get_loop().call_soon_threadsafe(_fulfil, future, result)
    elif future.set_running_or_notify_cancel():
        _fulfil(future, result)


def _fulfil(future: CallFuture, result: CallResult) -> None:
    if future.done():  # given up by whoever waited
        return
    error = result.error
    if result.interrupts is not None:
        error = GraphInterrupt(result.interrupts)
    if error is None:
        future.set_result(result.value)
        return
    future.set_exception(rebuild_error(error) if isinstance(error, ShippedError) else error)
    if isinstance(future, asyncio.Future):
        future.exception()  # a failure that nobody asks for is no news: the stream has told of it


# --- where a call runs --------------------------------------------------------------------------


@dataclass(frozen=True)
class ReturnWriter:
    """Makes of a task's result its only write."""

    is_async: ClassVar[bool] = False

    def __call__(self, value: Any, read: Reader, context: Any) -> Sequence[Write]:
        return ((RETURN, own(value)),)

    async def acall(self, value: Any, read: Reader, context: Any) -> Sequence[Write]:
        return self(value, read, context)


@dataclass(frozen=True)
class _Body:
    target: Any

    def __call__(self, input: Any, context: Any) -> Any:
        args, kwargs = input
        return self._function()(args, kwargs, context)

    def told(self, input: Any) -> dict[str, Any]:
        """Return the arguments as callbacks receive them."""
        return self._function().arguments(*input)

    def _function(self) -> Function:
        if type(self.target) is bytes:
            return _loaded(self.target)
        if isinstance(self.target, bytes):  # what is remembered holds no references
            loaded: Function = _loaded.__wrapped__(self.target)
            return loaded
        function: Function = self.target
        return function


def called_program(request: AttemptRequest) -> NodeProgram:
    """Return the program of a call, in the form of a node of its graph."""
    assert request.called is not None
    return NodeProgram(
        name=request.node,
        bound=_Body(request.state[request.called.slot]),
        writers=(ReturnWriter(),),
        is_async=request.is_async,
    )


@lru_cache(maxsize=256)
def _loaded(blob: bytes) -> Function:
    from distgraph.serde.pickling import loads

    function: Function = loads(blob)
    return function
