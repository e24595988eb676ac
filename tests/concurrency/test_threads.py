"""Threads that the end of the process does not wait for; that end is in tests/project/test_exit."""

import asyncio
import contextvars
import gc
import threading
import time
import weakref
from concurrent.futures import CancelledError, ThreadPoolExecutor, wait
from concurrent.futures import thread as pools
from functools import partial

import pytest

from distgraph.concurrency.threads import DaemonExecutor, _release, daemon, in_thread, new_loop

WAIT = 60


def test_calls_run_at_the_same_time_up_to_the_bound():
    executor = DaemonExecutor(3)
    together, more = threading.Barrier(4), threading.Event()

    def call() -> None:
        together.wait(WAIT)
        more.wait(WAIT)

    jobs = [executor.submit(call) for _ in range(3)]
    fourth = executor.submit(threading.current_thread)
    together.wait(WAIT)
    assert not fourth.done()
    more.set()
    wait(jobs, WAIT)
    assert fourth.result(WAIT).daemon


def test_an_idle_thread_is_taken_again():
    executor = DaemonExecutor(thread_name_prefix="again")
    for _ in range(20):
        assert executor.submit(lambda: threading.current_thread().name).result(WAIT)
        executor.submit(int).result(WAIT)
    names = {executor.submit(lambda: threading.current_thread().name).result(WAIT)}
    assert len([t for t in threading.enumerate() if t.name.startswith("again_")]) <= 3, names


def test_results_and_exceptions_reach_the_caller():
    executor = DaemonExecutor()
    assert executor.submit(divmod, 7, 2).result(WAIT) == (3, 1)
    assert executor.submit(dict, a=1).result(WAIT) == {"a": 1}
    with pytest.raises(KeyboardInterrupt):
        executor.submit(_raise, KeyboardInterrupt).result(WAIT)
    assert executor.submit(int).result(WAIT) == 0


def _raise(error: type[BaseException]) -> None:
    raise error


def test_after_shutdown_nothing_begins_and_what_runs_goes_on():
    executor = DaemonExecutor(1)
    begun, go = threading.Event(), threading.Event()

    def call() -> str:
        begun.set()
        go.wait(WAIT)
        return "done"

    running, waiting = executor.submit(call), executor.submit(int)
    assert begun.wait(WAIT)
    executor.shutdown(cancel_futures=True)
    with pytest.raises(RuntimeError, match="was shut down"):
        executor.submit(int)
    with pytest.raises(CancelledError):
        waiting.result(0)
    go.set()
    assert running.result(WAIT) == "done"


def test_an_idle_thread_holds_nothing_of_its_last_call():
    class Held:
        pass

    executor, held = DaemonExecutor(), Held()
    gone = weakref.ref(held)
    executor.submit(lambda held: None, held).result(WAIT)
    del held
    executor.submit(int).result(WAIT)
    gc.collect()
    assert gone() is None


def test_a_call_in_a_thread_has_the_context_and_outlives_its_loop():
    seen: contextvars.ContextVar[str] = contextvars.ContextVar("seen")
    begun, go = threading.Event(), threading.Event()

    def stuck() -> None:
        begun.set()
        go.wait(WAIT)

    async def main() -> str:
        seen.set("inside")
        task = asyncio.create_task(in_thread(stuck))
        await in_thread(begun.wait, WAIT)
        task.cancel()
        return await in_thread(seen.get)

    assert asyncio.run(main()) == "inside"
    assert not go.is_set()
    go.set()


def test_a_loop_has_such_threads_by_itself():
    loop = new_loop()
    try:
        thread = loop.run_until_complete(loop.run_in_executor(None, threading.current_thread))
    finally:
        loop.close()
    assert thread.name.startswith("distgraph-thread")


def test_pools_that_a_node_makes_are_left_out_of_the_end_and_others_are_not(monkeypatch):
    monkeypatch.setattr(pools, "_threads_queues", pools._threads_queues)  # it is replaced
    late, inner, outer = (ThreadPoolExecutor(1) for _ in range(3))

    def in_a_node(pool):
        node = daemon(lambda: pool.submit(int).result(), "node")
        node.start()
        node.join(WAIT)

    in_a_node(inner)
    outer.submit(int).result(WAIT)
    _release()
    in_a_node(late)
    joined = [thread for thread, _ in pools._threads_queues.items()]
    for pool, is_joined in ((inner, False), (late, False), (outer, True)):
        (thread,) = pool._threads
        assert (thread in joined) is is_joined
        pool.shutdown()


def test_a_call_that_makes_the_next_one_keeps_to_the_threads_that_are_there():
    executor, threads, over = DaemonExecutor(), set(), threading.Event()

    def call(left: int) -> None:
        threads.add(threading.current_thread())
        while executor._alive > 1 and not executor._idle:  # the one before is about to end
            time.sleep(0)
        if left:
            executor.spawn(partial(call, left - 1))
        else:
            over.set()

    executor.spawn(partial(call, 1000))
    assert over.wait(WAIT)
    assert len(threads) <= 2  # the one at work, and one that waits


def test_a_call_for_no_result_that_fails_is_logged_and_its_thread_goes_on(caplog):
    executor = DaemonExecutor(1)
    executor.spawn(partial(_raise, SystemExit("out of place")))
    assert executor.submit(int).result(WAIT) == 0
    assert "out of place" in caplog.text


def test_a_call_for_no_result_that_waits_is_dropped_by_the_shutdown():
    executor, begun, go = DaemonExecutor(1), threading.Event(), threading.Event()

    def call() -> None:
        begun.set()
        go.wait(WAIT)

    running, made = executor.submit(call), []
    assert begun.wait(WAIT)
    executor.spawn(partial(made.append, 1))
    executor.shutdown(cancel_futures=True)
    with pytest.raises(RuntimeError, match="was shut down"):
        executor.spawn(partial(made.append, 2))
    go.set()
    wait([running], WAIT)
    assert made == []
