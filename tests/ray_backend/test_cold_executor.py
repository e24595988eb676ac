"""Attempts that are cancelled on their way into an executor never start."""

import asyncio
import pathlib
import time

import pytest

from tests.support.cluster import eventually, wait_for_free_cpus
from tests.support.graphs import Items, one

pytestmark = pytest.mark.ray


def load(folder):
    """Make the node's object: in an executor, once it is allowed to."""
    folder = pathlib.Path(folder)
    if "Executor" in pathlib.Path("/proc/self/cmdline").read_text():
        (folder / "loading").touch()
        while not (folder / "go").exists():
            time.sleep(0.01)
        (folder / "loaded").touch()
    return SlowToLoad(str(folder))


class SlowToLoad:
    def __init__(self, folder):
        self.folder = folder

    def __reduce__(self):
        return load, (self.folder,)


@pytest.mark.parametrize("placement", [None, "thread"])
def test_an_attempt_that_is_cancelled_while_its_graph_is_loaded_never_starts(
    on_ray, tmp_path, placement
):
    held = SlowToLoad(str(tmp_path))

    def ran():
        (pathlib.Path(held.folder) / "ran").touch()

    async def anode(state):
        ran()

    def node(state):
        ran()

    builder = on_ray.StateGraph(Items)
    if placement is None:
        builder.add_node("n", anode)
    else:
        builder.add_node("n", node, ray_options={"placement": placement})
    graph = on_ray.compile(builder.add_edge(on_ray.START, "n"))

    async def leave_while_it_loads():
        run = asyncio.create_task(graph.ainvoke({"items": []}))
        while not (tmp_path / "loading").exists():
            await asyncio.sleep(0.01)
        run.cancel()
        with pytest.raises(asyncio.CancelledError):
            await run

    async def other(state):
        return {"items": ["other"]}

    def a_round_trip():
        assert on_ray.compile(one(on_ray, other)).invoke({"items": []}) == {"items": ["other"]}

    a_round_trip()
    asyncio.run(leave_while_it_loads())
    a_round_trip()  # behind the cancel
    (tmp_path / "go").touch()
    eventually((tmp_path / "loaded").exists, "the graph is loaded")
    a_round_trip()
    assert not (tmp_path / "ran").exists()
    wait_for_free_cpus()
