"""Submits a program as a job to a cluster that this process starts; prints what the job printed."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[2]
RAY = Path(sys.executable).parent / "ray"

PROGRAM = """\
import os
from typing import TypedDict

import greetings

from distgraph import START, StateGraph


class State(TypedDict, total=False):
    text: str


def greet(state: State):
    return {"text": greetings.hello() + " " + os.environ["NAME"]}


if __name__ == "__main__":
    graph = StateGraph(State).add_node(greet).add_edge(START, "greet").compile()
    print("result:", graph.invoke({})["text"])
"""


LIMIT = 200


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    for found in sockets:
        found.bind(("127.0.0.1", 0))
    ports = [found.getsockname()[1] for found in sockets]
    for found in sockets:
        found.close()
    return ports


def _start(ports: list[int], folder: str) -> subprocess.Popen[bytes]:
    """Start a head whose ports collide with no other Ray of this machine."""
    names = ("--port", "--dashboard-port", "--dashboard-agent-listen-port")
    command = [str(RAY), "start", "--head", "--block", "--num-cpus=2", "--include-dashboard=true"]
    command += [f"{name}={port}" for name, port in zip(names, ports, strict=True)]
    command += ["--object-store-memory=100000000"]
    return subprocess.Popen(
        command,
        env={**os.environ, "RAY_AUTH_MODE": "disabled", "RAY_TMPDIR": folder},
        stdout=sys.stderr,
        start_new_session=True,
    )


def _submit(address: str, folder: str) -> subprocess.CompletedProcess[str]:
    runtime_env = {"env_vars": {"NAME": "job", "PYTHONPATH": str(ROOT)}}
    command = [str(RAY), "job", "submit", "--working-dir", folder]
    command += [
        "--runtime-env-json",
        json.dumps(runtime_env),
        "--",
        sys.executable,
        "my_program.py",
    ]
    environment = {k: v for k, v in os.environ.items() if k not in ("RAY_ADDRESS", "PYTHONPATH")}
    environment |= {"RAY_API_SERVER_ADDRESS": address, "RAY_AUTH_MODE": "disabled"}
    until = time.monotonic() + 90
    while True:
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=110)
        early = any(text in done.stderr for text in ("No available agent", "Failed to connect"))
        if not early or time.monotonic() > until:
            return done
        time.sleep(1)  # dashboard and agent are not up yet


def _give_up(number: int, frame: object) -> None:
    raise TimeoutError(f"not done after {LIMIT} s")


def main(folder: str) -> int:
    signal.signal(signal.SIGALRM, _give_up)  # the cluster ends in any case
    signal.alarm(LIMIT)
    (Path(folder) / "my_program.py").write_text(PROGRAM)
    (Path(folder) / "greetings.py").write_text("def hello():\n    return 'hello'\n")
    ports = _free_ports(3)
    with tempfile.TemporaryDirectory(prefix="ray", ignore_cleanup_errors=True) as session:
        head = _start(ports, session)
        try:
            done = _submit(f"http://127.0.0.1:{ports[1]}", folder)
        finally:
            head.terminate()
            try:
                head.wait(20)
            except subprocess.TimeoutExpired:
                os.killpg(head.pid, signal.SIGKILL)
    print(done.stdout)
    print(done.stderr, file=sys.stderr)
    return done.returncode


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1]))
