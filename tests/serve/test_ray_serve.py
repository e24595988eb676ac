"""The server on Ray Serve: two replicas, runs in detached drivers."""

from __future__ import annotations

import asyncio
import shutil
import socket
import time
import uuid
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from langgraph.pregel.remote import RemoteGraph
from langgraph_sdk import get_client, get_sync_client

from tests.serve.conftest import PROJECT
from tests.serve.project import served_graphs
from tests.serve.support import background, new_thread, parse_sse, run, without_ids
from tests.support.cluster import all_cpus, eventually, free_cpus, wait_for_free_cpus

pytestmark = [pytest.mark.ray, pytest.mark.timeout(400)]

STREAMS = 100


@pytest.fixture(scope="module")
def on_serve(ray_session: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of the server."""
    from ray import serve

    from actors.serve import ReplicaOptions

    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    serve.start(proxy_location="HeadOnly", http_options={"host": "127.0.0.1", "port": port})
    _deploy(PROJECT, tmp_path_factory.getbasetemp() / "on_serve", ReplicaOptions(replicas=2))
    yield f"http://127.0.0.1:{port}"
    serve.shutdown()


def _deploy(project: Path, data: Path, options: Any) -> None:
    from ray import serve

    from actors.serve import APPLICATION, deploy
    from distgraph.serve.project import read_project
    from distgraph.serve.server import Settings

    settings = Settings(backend="ray", folder=data, sole=False)
    application = deploy(read_project(project), project / "langgraph.json", settings, options)
    serve.run(application, name=APPLICATION, route_prefix="/")


def test_clients_get_langgraph_s_chunks(on_serve: str) -> None:
    client = get_sync_client(url=on_serve, api_key=None)
    thread_id = client.threads.create()["thread_id"]
    modes: Any = ["values", "updates", "custom"]
    parts = list(
        client.runs.stream(
            thread_id, "work", input={"done": []}, stream_mode=modes, stream_subgraphs=True
        )
    )
    expected = [
        ("|".join((mode, *(part.split(":")[0] for part in ns))), chunk)
        for ns, mode, chunk in served_graphs.work.stream(
            {"done": []}, stream_mode=modes, subgraphs=True
        )
    ]
    assert [(without_ids(p.event), p.data) for p in parts[1:]] == expected
    remote = RemoteGraph("agent", url=on_serve)
    config: Any = {"configurable": {"thread_id": str(uuid.uuid4())}}
    message = {"role": "user", "content": "1 + 2?"}
    assert remote.invoke({"messages": [message]}, config)["messages"][-1]["content"] == (
        "The sum is 3"
    )
    assert len(list(remote.get_state_history(config))) == 5


@pytest.mark.parametrize("transport", ["sse", "websocket"])
def test_a_thread_stream_asks_and_is_answered(on_serve: str, transport: Any) -> None:
    async def talk() -> tuple[Any, Any]:
        client = get_client(url=on_serve, api_key=None)
        async with client.threads.stream(assistant_id="nested", transport=transport) as thread:
            await thread.run.start(input={"question": "why?"})
            async for _ in thread.values:
                if thread.interrupted:
                    break
            [question] = thread.interrupts
            await thread.run.respond("so", interrupt_id=question["interrupt_id"])
            return question["value"], await thread.output

    question, output = asyncio.run(asyncio.wait_for(talk(), 60))
    assert (question, output["seen"]) == ({"question": "why?"}, "so")


def test_interrupts_failures_store_and_context_cross_replicas(on_serve: str) -> None:
    with httpx.Client(base_url=on_serve, timeout=60) as http:
        thread_id = new_thread(http)
        first = run(http, thread_id, assistant_id="nested", input={"question": "why?"}).json()
        assert first["__interrupt__"][0]["value"] == {"question": "why?"}
        answered = run(http, thread_id, assistant_id="nested", command={"resume": "so"}).json()
        assert answered["seen"] == "so"
        failed = run(http, None, assistant_id="fail", input={"done": []}).json()
        assert failed == {"__error__": {"error": "ValueError", "message": "boom"}}
        counted = [
            run(http, None, assistant_id="remembers", input={"done": []}).json() for _ in range(2)
        ]
        assert counted == [{"done": ["run 1"]}, {"done": ["run 2"]}]
        built = {"configurable": {"text": "you"}}
        made = run(http, None, assistant_id="made", input={"done": []}, config=built).json()
        assert made == {"done": ["hello you"]}


def test_a_cancelled_run_ends_whichever_replica_cancels_it(on_serve: str) -> None:
    for _ in range(3):
        with httpx.Client(base_url=on_serve, timeout=60) as http:
            thread_id = new_thread(http)
            made = background(http, thread_id, assistant_id="slow", input={"ticks": 2000})
            path = f"/threads/{thread_id}/runs/{made['run_id']}"
            with http.stream("GET", f"{path}/stream", params={"stream_mode": "custom"}) as joined:
                pass
            assert joined.status_code == 200
            assert http.post(f"{path}/cancel?wait=1").status_code == 200
            assert http.get(path).json()["status"] == "interrupted"


@pytest.mark.parametrize("leaves", [False, True], ids=["asked", "client left"])
def test_a_cancelled_run_has_freed_its_cpu_after_two_seconds(on_serve: str, leaves: bool) -> None:
    with httpx.Client(base_url=on_serve, timeout=60) as http:
        wait_for_free_cpus()  # those of runs before: Ray's count of them may be late
        thread_id = new_thread(http)
        path = f"/threads/{thread_id}/runs"
        body = {"assistant_id": "busy", "input": {"ticks": 3000}, "stream_mode": "custom"}
        body["on_disconnect"] = "cancel" if leaves else "continue"
        with http.stream("POST", f"{path}/stream", json=body) as response:
            place = response.headers["content-location"]
            lines = response.iter_lines()  # the client has left where nobody holds it any more
            while next(lines) != "event: custom":
                pass
            eventually(lambda: free_cpus() < all_cpus(), "the run holds a CPU")
            if not leaves:
                assert http.post(f"{place}/cancel").status_code == 202
        begin = time.monotonic()
        wait_for_free_cpus()
        assert time.monotonic() - begin < 2.0
        assert http.get(f"{place}/join").status_code == 200
        assert http.get(place).json()["status"] == "interrupted"


def _wait_for(found: Callable[[], Any], seconds: float) -> Any:
    until = time.monotonic() + seconds
    while not (value := found()):
        assert time.monotonic() < until, "it did not come"
        time.sleep(0.05)
    return value


async def _read(url: str, seen: list[Any], enough: asyncio.Event) -> None:
    client = get_client(url=url, api_key=None)
    async for part in client.runs.stream(
        None,
        "slow",
        input={"ticks": 100_000, "pause": 0.5},
        stream_mode="custom",
        stream_resumable=True,
        on_disconnect="continue",
    ):
        if part.event == "custom":
            seen.append(part.data)
        if enough.is_set():
            return


async def _while_clients_read(
    url: str, streams: int, work: Callable[[], Coroutine[Any, Any, Any]]
) -> None:
    """Let ``work`` happen to streams that have begun, and check that each goes on: every event
    once, in order."""
    seen: list[list[Any]] = [[] for _ in range(streams)]
    enough = asyncio.Event()
    reading = [asyncio.ensure_future(_read(url, each, enough)) for each in seen]

    async def have(counts: list[int]) -> None:
        while not all(len(each) >= count for each, count in zip(seen, counts, strict=True)):
            ended = [each for each in reading if each.done()]
            assert not ended, ended[0].exception() or "a stream has ended"
            await asyncio.sleep(0.05)

    await asyncio.wait_for(have([3] * streams), 120)
    await work()
    await asyncio.wait_for(have([len(each) + 3 for each in seen]), 120)
    enough.set()
    await asyncio.gather(*reading)
    await get_client(url=url, api_key=None).runs.cancel_many(status="running")
    assert seen == [list(range(len(each))) for each in seen]


def test_every_client_of_a_killed_replica_gets_every_event_once(on_serve: str) -> None:
    import ray

    async def kill() -> None:
        names = _replica_names()
        assert len(names) == 2
        ray.kill(ray.get_actor(names[0], "serve"))

    asyncio.run(_while_clients_read(on_serve, STREAMS, kill))


def test_a_run_is_read_again_after_its_end(on_serve: str) -> None:
    with httpx.Client(base_url=on_serve, timeout=60) as http:
        thread_id = new_thread(http)
        made = background(
            http,
            thread_id,
            assistant_id="slow",
            input={"ticks": 5, "pause": 0},
            stream_mode=["custom"],
            stream_resumable=True,
        )
        path = f"/threads/{thread_id}/runs/{made['run_id']}"
        assert http.get(f"{path}/join").json()["done"] == ["ticked"]
        for _ in range(4):
            found = parse_sse(http.get(f"{path}/stream", headers={"Last-Event-ID": "-1"}).text)
            assert [e.data for e in found[1:]] == list(range(5))


def _replica_names() -> list[str]:
    import ray

    return [
        actor["name"]
        for actor in ray.util.list_named_actors(all_namespaces=True)
        if actor["name"].startswith("SERVE_REPLICA::") and "ingress" in actor["name"]
    ]


def test_an_upgrade_loses_nothing_of_the_streams_and_later_runs_have_the_new_graph(
    on_serve: str, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    from actors.serve import ReplicaOptions

    new = tmp_path / "project"
    shutil.copytree(PROJECT, new)
    graphs = new / "served_graphs.py"
    graphs.write_text(graphs.read_text().replace("first version", "second version"))
    data = tmp_path_factory.getbasetemp() / "on_serve"

    async def upgrade() -> None:
        old = set(_replica_names())
        await asyncio.to_thread(_deploy, new, data, ReplicaOptions(replicas=2))
        await asyncio.to_thread(_wait_for, lambda: not old & set(_replica_names()), 60)

    asyncio.run(_while_clients_read(on_serve, 4, upgrade))
    with httpx.Client(base_url=on_serve, timeout=60) as http:
        answered = run(http, None, assistant_id="busy", input={"ticks": 0}).json()
        assert answered["done"] == ["second version"]


def test_replicas_are_added_for_open_streams_and_removed_again(
    on_serve: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    from actors.serve import ReplicaOptions

    options = ReplicaOptions(
        autoscaling={
            "min_replicas": 1,
            "max_replicas": 2,
            "target_ongoing_requests": 4,
            "upscale_delay_s": 1,
            "downscale_delay_s": 2,
            "metrics_interval_s": 1,
            "look_back_period_s": 2,
        }
    )
    _deploy(PROJECT, tmp_path_factory.getbasetemp() / "on_serve", options)
    _wait_for(lambda: len(_replica_names()) == 1, 60)

    async def more() -> None:
        await asyncio.to_thread(_wait_for, lambda: len(_replica_names()) == 2, 60)

    asyncio.run(_while_clients_read(on_serve, 8, more))
    _wait_for(lambda: len(_replica_names()) == 1, 60)
