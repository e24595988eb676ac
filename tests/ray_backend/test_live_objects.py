"""Objects of which every worker process has one."""

from __future__ import annotations

import operator
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Annotated, Any, TypedDict

import pytest

pytestmark = pytest.mark.ray


class Found(TypedDict):
    found: Annotated[list[Any], operator.add]


def test_a_semaphore_limits_the_tasks_of_a_process(on_ray: Any) -> None:
    semaphore, lock = threading.Semaphore(2), threading.Lock()

    def count(by: int) -> int:
        with lock:
            count.now += by  # type: ignore[attr-defined]
            return int(count.now)  # type: ignore[attr-defined]

    count.now = 0  # type: ignore[attr-defined]

    def enter(number: int) -> dict[str, Any]:
        with semaphore:
            now = count(1)
            time.sleep(0.02)
            count(-1)
        return {"found": [now]}

    builder = on_ray.StateGraph(Found)
    builder.add_node("enter", enter, ray_options={"placement": "thread"})
    builder.add_conditional_edges(
        on_ray.START, lambda state: [on_ray.Send("enter", i) for i in range(12)], ["enter"]
    )
    found = on_ray.compile(builder).invoke({"found": []})["found"]
    assert len(found) == 12
    assert max(found) <= 2


def test_two_graphs_and_two_attempts_share_one_object_of_a_process(on_ray: Any) -> None:
    lock, pool = threading.Lock(), ThreadPoolExecutor(2)

    def show(state: Found) -> dict[str, Any]:
        return {"found": [(os.getpid(), id(lock), id(pool), pool.submit(len, "ab").result())]}

    def graph() -> Any:
        builder = on_ray.StateGraph(Found).add_node("show", show)
        return on_ray.compile(builder.add_edge(on_ray.START, "show"))

    one, two = graph(), graph()
    found = [graph.invoke({"found": []})["found"][0] for graph in (one, two) for _ in range(4)]
    assert {count for *_, count in found} == {2}
    objects: dict[int, set[Any]] = {}
    for pid, a_lock, a_pool, _ in found:
        objects.setdefault(pid, set()).add((a_lock, a_pool))
    assert all(len(seen) == 1 for seen in objects.values())


@pytest.mark.parametrize("face", ["sync", "async"])
def test_a_rate_limiter_limits_all_processes(on_ray: Any, face: str) -> None:
    limiters = pytest.importorskip("langchain_core.rate_limiters")
    limiter = limiters.InMemoryRateLimiter(
        requests_per_second=20, check_every_n_seconds=0.01, max_bucket_size=1
    )

    def ask(number: int) -> dict[str, Any]:
        before = time.time()
        limiter.acquire()
        return {"found": [before, time.time()]}

    async def await_(number: int) -> dict[str, Any]:
        before = time.time()
        await limiter.aacquire()
        return {"found": [before, time.time()]}

    builder = on_ray.StateGraph(Found).add_node("ask", ask if face == "sync" else await_)
    builder.add_conditional_edges(
        on_ray.START, lambda state: [on_ray.Send("ask", i) for i in range(8)], ["ask"]
    )
    found = on_ray.compile(builder).invoke({"found": []})["found"]
    assert max(found) - min(found) > 0.3  # 7 intervals of 0.05 s, were the clocks exact
