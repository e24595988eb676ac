"""The reader that a started run has in the process that started it: for callbacks and printing."""

from __future__ import annotations

import asyncio
import logging
from concurrent.futures import Future
from functools import partial

from distgraph._internal.steps import Steps, Wait, afollow, follow
from distgraph.backends.base import END_MODE, StartedRun
from distgraph.concurrency.threads import daemon
from distgraph.contract.callbacks import HandlerCall
from distgraph.contract.stream import CALLBACK_MODE
from distgraph.errors import RunError, Truncated
from distgraph.invocation.prepare import Invocation

__all__ = ("follow_for_caller",)

logger = logging.getLogger("distgraph")


def follow_for_caller(
    call: Invocation, run: StartedRun, loop: asyncio.AbstractEventLoop | None
) -> Future[None]:
    """Read a run for the callbacks of its config and for ``print_mode``. Return the end of it."""
    done: Future[None] = Future()

    def steps() -> Steps[None]:
        try:
            yield from _followed(call, run, loop)
        except BaseException as error:
            logger.warning(
                "the callbacks and print_mode of run %s get no further news: %s: %s",
                run.run_id,
                type(error).__name__,
                error,
            )
        finally:
            done.set_result(None)

    if loop is None:
        daemon(partial(follow, steps()), f"distgraph-follow-{run.run_id[:8]}").start()
    else:
        asyncio.run_coroutine_threadsafe(afollow(steps()), loop)
    return done


def _followed(
    call: Invocation, run: StartedRun, loop: asyncio.AbstractEventLoop | None
) -> Steps[None]:
    callbacks, face = call.callbacks, call.face

    def told(news: HandlerCall) -> Wait:
        return Wait(partial(callbacks.call, news), partial(callbacks.acall, news))

    opened = partial(run.open, 0, loop=loop)
    reader = yield Wait(opened, partial(asyncio.to_thread, opened))
    events = Wait(reader.read, reader.aread)
    try:
        while True:
            for event in (yield events):
                if event.mode == END_MODE:
                    failure = face.failure(event.payload)
                    value = event.payload["value"]
                    yield told(
                        callbacks.ended(value) if failure is None else callbacks.failed(failure)
                    )
                    return
                if event.mode == CALLBACK_MODE:
                    yield told(event.payload)
                else:
                    face.chunk(event)  # prints
    except (RunError, Truncated) as error:
        yield told(callbacks.failed(error))
        raise
    finally:
        reader.close()
