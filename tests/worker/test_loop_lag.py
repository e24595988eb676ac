"""For how long the event loop of a process has not run, and that it has ended."""

from __future__ import annotations

import asyncio
import os
import threading
from contextlib import suppress

from distgraph.worker.heartbeat import LoopLag


def test_a_loop_that_runs_has_not_ended():
    async def measure():
        lag = LoopLag(asyncio.get_running_loop(), lambda: ended.append(True))
        return [await asyncio.to_thread(lag) for _ in range(3)]

    ended = []
    assert asyncio.run(measure()) == [(0.0, "")] * 3
    assert ended == []


def test_a_loop_that_is_blocked_is_late():
    measured, late, gate = threading.Event(), [], threading.Event()

    async def blocks():
        lag = LoopLag(asyncio.get_running_loop(), lambda: None, lambda: late.append(True))

        def measure():
            assert lag() == (0.0, "")
            assert late == []
            assert lag()[0] > 0
            gate.set()

        thread = threading.Thread(target=measure)
        thread.start()
        gate.wait(10)
        thread.join()
        measured.set()

    asyncio.run(blocks())
    assert (measured.is_set(), late) == (True, [True])


def test_a_loop_ends_whose_selector_code_of_the_user_has_replaced():
    ended, lags, damaged = [], [], threading.Event()
    loop = asyncio.SelectorEventLoop()

    def damages():
        lags.append(LoopLag(loop, lambda: ended.append(True)))
        with open(os.devnull, "rb+") as other:
            os.dup2(other.fileno(), loop._selector.fileno())
        damaged.set()

    def serves():
        loop.call_soon(damages)
        with suppress(OSError):  # what it waits by is gone
            loop.run_forever()

    thread = threading.Thread(target=serves)
    thread.start()
    damaged.wait()
    thread.join()
    assert ended == []
    lags[0]()
    assert ended == [True]
