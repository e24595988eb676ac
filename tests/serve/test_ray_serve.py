"""The server on Ray Serve: two replicas, runs in detached drivers."""

from __future__ import annotations

import asyncio
import socket
import uuid
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from langgraph.pregel.remote import RemoteGraph
from langgraph_sdk import get_client, get_sync_client

from tests.serve.conftest import PROJECT
from tests.serve.project import served_graphs
from tests.serve.support import background, new_thread, parse_sse, run, without_ids

pytestmark = [pytest.mark.ray, pytest.mark.timeout(400)]

STREAMS = 20
TICKS = 25


@pytest.fixture(scope="module")
def on_serve(ray_session: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of the server."""
    from ray import serve

    from actors.serve import APPLICATION, ReplicaOptions, deploy
    from distgraph.serve.project import read_project
    from distgraph.serve.server import Settings

    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    serve.start(proxy_location="HeadOnly", http_options={"host": "127.0.0.1", "port": port})
    settings = Settings(backend="ray", folder=tmp_path_factory.mktemp("on_serve"), sole=False)
    application = deploy(
        read_project(PROJECT), PROJECT / "langgraph.json", settings, ReplicaOptions(replicas=2)
    )
    serve.run(application, name=APPLICATION, route_prefix="/")
    yield f"http://127.0.0.1:{port}"
    serve.shutdown()


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


async def _ticks(url: str) -> list[Any]:
    client = get_client(url=url, api_key=None)
    return [
        part.data
        async for part in client.runs.stream(
            None,
            "slow",
            input={"ticks": TICKS, "pause": 0.1},
            stream_mode="custom",
            stream_resumable=True,
            on_disconnect="continue",
        )
        if part.event == "custom"
    ]


def test_every_client_of_a_killed_replica_gets_every_event_once(on_serve: str) -> None:
    import ray

    async def streams() -> list[list[Any]]:
        reading = [asyncio.ensure_future(_ticks(on_serve)) for _ in range(STREAMS)]
        await asyncio.sleep(2.5)
        names = [
            actor["name"]
            for actor in ray.util.list_named_actors(all_namespaces=True)
            if actor["name"].startswith("SERVE_REPLICA::") and "ingress" in actor["name"]
        ]
        assert len(names) == 2
        ray.kill(ray.get_actor(names[0], "serve"))
        return await asyncio.gather(*reading)

    assert asyncio.run(streams()) == [list(range(TICKS))] * STREAMS


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
