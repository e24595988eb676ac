"""Async nodes wait together: many coroutines, few processes."""

import asyncio
import os
import pathlib
import sys

import pytest

from tests.support.graphs import Items

pytestmark = pytest.mark.ray


def test_two_hundred_waiting_nodes_take_a_handful_of_processes(on_ray, tmp_path):
    folder, together = tmp_path / "begun", tmp_path / "together"
    folder.mkdir()

    async def wait(state, writer):
        writer({"node": state["i"], "begin": True})
        (folder / str(state["i"])).touch()
        if len(list(folder.iterdir())) == 200:
            together.touch()
        while not together.exists():  # for ever, if they waited one after another
            await asyncio.sleep(0.05)
        return {"items": [(state["i"], os.getpid())]}

    builder = on_ray.StateGraph(Items).add_node("wait", wait)
    builder.add_conditional_edges(
        on_ray.START, lambda s: [on_ray.Send("wait", {"i": i}) for i in s["items"]], ["wait"]
    )
    graph = on_ray.compile(builder)
    items = graph.invoke({"items": list(range(200))})["items"][200:]
    processes = {pid for _, pid in items}
    assert [i for i, _ in items] == list(range(200))
    assert len(processes) <= 4
    assert os.getpid() not in processes


def test_three_hundred_nodes_of_one_process_end_in_one_turn_of_its_loop(on_ray):
    waiting = []  # one for each process that has loaded the graph

    async def wait(state):
        mine = asyncio.get_running_loop().create_future()
        waiting.append(mine)
        if len(waiting) == 300:
            for future in waiting:
                future.set_result(None)
        await mine
        return {"items": [state["i"]]}

    builder = on_ray.StateGraph(Items).add_node("wait", wait)
    builder.add_conditional_edges(
        on_ray.START, lambda s: [on_ray.Send("wait", {"i": i}) for i in range(300)], ["wait"]
    )
    assert on_ray.compile(builder).invoke({"items": []}) == {"items": list(range(300))}


def switches_of(name):
    """Return how often a thread of this process has slept and was woken."""
    for task in pathlib.Path("/proc/self/task").iterdir():
        if (task / "comm").read_text().strip() == name:
            lines = (task / "status").read_text().splitlines()
            return next(int(line.split()[1]) for line in lines if line.startswith("voluntary"))
    return None


def test_a_step_wakes_one_thread_of_the_process_of_async_nodes(on_ray):
    steps = 60

    async def wait(state):
        return {"items": [switches_of("distgraph-wire")]}

    builder = on_ray.StateGraph(Items).add_node("wait", wait).add_edge(on_ray.START, "wait")
    more = {True: "wait", False: on_ray.END}
    builder.add_conditional_edges("wait", lambda s: len(s["items"]) < steps, more)
    found = on_ray.compile(builder).invoke({"items": []}, {"recursion_limit": steps + 1})["items"]
    woken = found[-1] - found[9]
    print(f"the thread of the connections was woken {woken} times in {steps - 10} steps")
    assert woken < (steps - 10) / 2


def test_waiting_nodes_leave_the_cpus_to_others(on_ray, tmp_path):
    done = tmp_path / "done"

    async def wait(state):
        while not done.exists():
            await asyncio.sleep(0.02)
        return {"items": ["wait"]}

    def work(state):
        done.touch()
        return {"items": ["work"]}

    builder = on_ray.StateGraph(Items).add_node("work", work)
    for i in range(4):
        builder.add_node(f"wait{i}", wait).add_edge(on_ray.START, f"wait{i}")
    builder.add_edge(on_ray.START, "work")
    items = on_ray.compile(builder).invoke({"items": []})["items"]
    assert sorted(items) == ["wait"] * 4 + ["work"]


def test_tasks_made_in_a_node_stream_with_it(on_ray):
    async def node(state):
        async def helper(i):
            await asyncio.sleep(0.01)
            on_ray_writer()(i)

        await asyncio.gather(*(helper(i) for i in range(5)))
        return {"items": ["done"]}

    on_ray_writer = on_ray.get_stream_writer
    builder = on_ray.StateGraph(Items).add_node("n", node).add_edge(on_ray.START, "n")
    chunks = list(on_ray.compile(builder).stream({"items": []}, stream_mode=["custom", "updates"]))
    assert sorted(chunks[:-1]) == [("custom", i) for i in range(5)]
    assert chunks[-1] == ("updates", {"n": {"items": ["done"]}})


def test_async_nodes_under_the_sync_face(on_ray):
    async def node(state):
        return {"items": [type(asyncio.get_running_loop()).__name__ != ""]}

    builder = on_ray.StateGraph(Items).add_node("n", node).add_edge(on_ray.START, "n")
    assert on_ray.compile(builder).invoke({"items": []}) == {"items": [True]}


def test_modules_of_the_callers_context_are_imported_beside_the_loop(on_ray):
    from tests.support import import_place

    async def look(state):
        # the graph itself does not refer to the module
        module = sys.modules["tests.support.import_place"]
        return {"items": [(module.IS_ON_LOOP, module.user.get())]}

    graph = on_ray.compile(
        on_ray.StateGraph(Items).add_node("look", look).add_edge(on_ray.START, "look")
    )
    token = import_place.user.set("Ada")
    try:
        assert graph.invoke({"items": []}) == {"items": [(False, "Ada")]}
        assert graph.invoke({"items": []}) == {"items": [(False, "Ada")]}
    finally:
        import_place.user.reset(token)
