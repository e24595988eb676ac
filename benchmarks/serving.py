"""Concurrent streams over HTTP: ``python -m benchmarks.serving [--streams N …] [--only NAME]``.

The same two LangGraph graphs, served four ways: by plain LangGraph in one process of uvicorn, by
that application in one replica of Ray Serve, by ``distgraph serve --local``, and by
``distgraph serve`` on Ray Serve. ``tokens`` is an async node
that emits 50 tokens, 20 ms apart. ``heavy`` is a tool that computes for a second.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import httpx

TOKENS, PAUSE, HEAVY = 50, 0.02, 8

GRAPHS = f"""
import asyncio, hashlib, time
from langgraph.config import get_stream_writer
from langgraph.graph import START, StateGraph
from typing_extensions import TypedDict

class State(TypedDict, total=False):
    done: bool

async def tokens(state):
    writer = get_stream_writer()
    for number in range({TOKENS}):
        writer(number)
        await asyncio.sleep({PAUSE})
    return {{"done": True}}

def heavy(state):
    begin, data = time.thread_time(), b""
    while time.thread_time() < begin + 1.0:
        for _ in range(1000):
            data = hashlib.sha256(data * 8).digest()  # short: keeps the interpreter lock
    return {{"done": True}}

tokens = StateGraph(State).add_node("tokens", tokens).add_edge(START, "tokens").compile()
heavy = StateGraph(State).add_node("heavy", heavy).add_edge(START, "heavy").compile()
"""

PLAIN = """
import json
from starlette.applications import Starlette
from starlette.responses import JSONResponse, StreamingResponse
from starlette.routing import Route
import served_bench

async def stream(request):
    body = await request.json()
    graph = getattr(served_bench, body["assistant_id"])
    async def events():
        async for chunk in graph.astream({"done": False}, stream_mode="custom"):
            yield f"event: custom\\ndata: {json.dumps(chunk)}\\n\\n"
    return StreamingResponse(events(), media_type="text/event-stream")

async def wait(request):
    body = await request.json()
    return JSONResponse(await getattr(served_bench, body["assistant_id"]).ainvoke({"done": False}))

async def ok(request):
    return JSONResponse({"ok": True})

app = Starlette(routes=[Route("/runs/stream", stream, methods=["POST"]),
                        Route("/runs/wait", wait, methods=["POST"]), Route("/ok", ok)])
"""

PLAIN_ON_RAY = """
import sys, time
import ray, plain_app
from ray import serve

ray.init(address="local", log_to_driver=False)
serve.start(proxy_location="HeadOnly", http_options={"port": int(sys.argv[1])},
            logging_config={"log_level": "WARNING"})
Ingress = serve.ingress(plain_app.app)(type("Ingress", (), {}))
serve.run(serve.deployment(Ingress, max_ongoing_requests=1000,
                           ray_actor_options={"num_cpus": 0}).bind(), route_prefix="/")
while True:
    time.sleep(1)
"""

SERVERS = ("plain", "plain-ray", "local", "ray")


class Load(NamedTuple):
    """What the clients of one load saw; seconds, and tokens per second of all streams."""

    first: float
    """Median time to the first token."""
    rate: float
    gap: float
    """The 99th percentile of the time between two tokens."""
    total: float
    cpu: float
    """CPU seconds of the server's processes for each stream."""
    memory: float
    """MiB of the server's processes after the streams; on Ray, Ray's own among them."""


class Served(NamedTuple):
    """A server."""

    port: int
    pid: int

    @property
    def url(self) -> str:
        """Return the address of the server."""
        return f"http://127.0.0.1:{self.port}"

    def cpu(self) -> float:
        """Return the CPU seconds that its processes have used."""
        return sum(map(_cpu, _family(self.pid)))

    def memory(self) -> float:
        """Return the MiB of its processes; what they share is counted once."""
        processes = _family(self.pid)
        return sum(map(_proportional, processes)) / 1024


def _family(pid: int) -> list[int]:
    """Return a process and all that come from it."""
    parents: dict[int, list[int]] = {}
    for entry in Path("/proc").iterdir():
        with suppress(OSError, ValueError):
            parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            parents.setdefault(parent, []).append(int(entry.name))
    found = [pid]
    for each in found:
        found += parents.get(each, [])
    return found


def _proportional(pid: int) -> int:
    """Return the proportional set size of a process in KiB; 0 once it has ended."""
    with suppress(OSError):
        for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
            if line.startswith("Pss:"):
                return int(line.split()[1])
    return 0


def _cpu(pid: int) -> float:
    """Return the CPU seconds of a process; 0 once it has ended."""
    with suppress(OSError):
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return 0.0


@contextmanager
def serving(name: str, folder: Path) -> Iterator[Served]:
    """Serve the graphs, and yield the server."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    command = {
        "plain": ["uvicorn", "plain_app:app", "--port", port, "--log-level", "warning"],
        "plain-ray": ["plain_on_ray", port],
        "local": ["distgraph", "serve", "--local", "--port", port],
        "ray": ["distgraph", "serve", "--port", port, "--replicas", "1"],
    }[name]
    environment = {
        **os.environ,
        "PYTHONPATH": f"{folder}{os.pathsep}{Path(__file__).parents[1]}",
    }
    log = (folder / f"{name}.log").open("w")
    with subprocess.Popen(
        [sys.executable, "-m", *command], cwd=folder, env=environment, stdout=log, stderr=log
    ) as server:
        served = Served(int(port), server.pid)
        try:
            for _ in range(1200):
                with suppress(httpx.HTTPError):
                    if httpx.get(f"{served.url}/ok").status_code == 200:
                        break
                time.sleep(0.1)
            yield served
        finally:
            server.terminate()


async def _times(served: Served) -> list[float]:
    """Read one stream, and return when its tokens came.

    The socket is read without a client library: one that costs more than the server would be what
    is measured.
    """
    body = b'{"assistant_id": "tokens", "input": {"done": false}, "stream_mode": "custom"}'
    reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
    writer.write(
        b"POST /runs/stream HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n"
        b"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)
    )
    times: list[float] = []
    while line := await reader.readline():
        if line.startswith(b"data:") and b"run_id" not in line:
            times.append(time.perf_counter())
    writer.close()
    return times


async def load(served: Served, streams: int) -> Load:
    """Read streams at once."""
    most, cpu, begin = served.memory(), served.cpu(), time.perf_counter()
    read = await asyncio.gather(*(_times(served) for _ in range(streams)))
    total = time.perf_counter() - begin
    cpu, most = served.cpu() - cpu, max(most, served.memory())
    assert all(len(times) == TOKENS for times in read), [len(times) for times in read]
    gaps = sorted(b - a for times in read for a, b in pairwise(times))
    return Load(
        first=statistics.median(times[0] - begin for times in read),
        rate=streams * TOKENS / total,
        gap=gaps[int(len(gaps) * 0.99)],
        total=total,
        cpu=cpu / streams,
        memory=most,
    )


async def heavy(url: str) -> float:
    """Return the seconds for requests at once that compute."""
    async with httpx.AsyncClient(base_url=url, timeout=300) as client:
        begin = time.perf_counter()
        body: dict[str, Any] = {"assistant_id": "heavy", "input": {"done": False}}
        answers = await asyncio.gather(
            *(client.post("/runs/wait", json=body) for _ in range(HEAVY))
        )
        assert all(answer.json() == {"done": True} for answer in answers)
        return time.perf_counter() - begin


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.serving", description=__doc__)
    parser.add_argument("--streams", type=int, nargs="*", default=[1, 50, 500])
    parser.add_argument("--only", choices=SERVERS, nargs="*", default=list(SERVERS))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        (folder / "served_bench.py").write_text(GRAPHS)
        (folder / "plain_app.py").write_text(PLAIN)
        (folder / "plain_on_ray.py").write_text(PLAIN_ON_RAY)
        graphs = {name: f"./served_bench.py:{name}" for name in ("tokens", "heavy")}
        (folder / "langgraph.json").write_text(
            json.dumps({"dependencies": ["."], "graphs": graphs})
        )
        print("| server | streams | first token | tokens/s | p99 gap | total | CPU | memory |")
        print("|---|---:|---:|---:|---:|---:|---:|---:|")
        for name in options.only:
            with serving(name, folder) as served:
                asyncio.run(load(served, 1))  # warm
                for streams in options.streams:
                    seen = asyncio.run(load(served, streams))
                    print(
                        f"| {name} | {streams} | {seen.first * 1000:.0f} ms | {seen.rate:.0f} | "
                        f"{seen.gap * 1000:.0f} ms | {seen.total:.2f} s | "
                        f"{seen.cpu * 1000:.1f} ms | {seen.memory:.0f} MiB |",
                        flush=True,
                    )
                seconds = asyncio.run(heavy(served.url))
                print(f"| {name} | {HEAVY} that compute for 1 s | | | | {seconds:.2f} s | | |")


if __name__ == "__main__":
    main()
