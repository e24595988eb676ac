"""The ports that the processes of a session listen on."""

from __future__ import annotations

import operator
import os
import socket
import sys
from pathlib import Path
from typing import Annotated

import pytest
from langgraph.checkpoint.memory import InMemorySaver
from typing_extensions import TypedDict

from distgraph.wire import greeting
from distgraph.wire.frames import FrameReader
from distgraph.wire.greeting import Peer
from tests.support.cluster import eventually
from tests.support.engines import Engine

pytestmark = [pytest.mark.ray, pytest.mark.timeout(60)]

LISTEN = "0A"
"""The state of a socket that listens, as Linux writes it."""


def listening(pid: int) -> set[int]:
    """Ports on which a process listens, as Linux shows them."""
    mine = set()
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        try:
            mine.add(os.readlink(entry))
        except OSError:  # closed meanwhile
            continue
    found = set()
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/{pid}/net/{table}").read_text().splitlines()[1:]:
            _, local, _, state, *_, inode = line.split()[:10]
            if state == LISTEN and f"socket:[{inode}]" in mine:
                found.add(int(local.rpartition(":")[2], 16))
    return found


def challenges(port: int) -> bool:
    """Whether what listens on a port begins with the challenge of the wire."""
    reader = FrameReader(greeting.LIMIT)
    with dialed(port) as sock:
        sock.settimeout(1)
        try:
            (challenge,) = reader.feed(sock.recv(greeting.LIMIT))
            greeting.answer(bytes(challenge.parts[0]), b"secret", Peer("test", "me"))
        except (OSError, ValueError, greeting.GreetingError):  # it waits for us, or says else
            return False
    return True


def is_open(port: int) -> bool:
    """Whether somebody listens on a port."""
    try:
        dialed(port).close()
    except OSError:
        return False
    return True


def dialed(port: int) -> socket.socket:
    import ray

    return socket.create_connection((ray.util.get_node_ip_address(), port), 5)


def process_id() -> int:
    return os.getpid()


class State(TypedDict):
    pids: Annotated[list[int], operator.add]


class Pool:
    def __call__(self, state: State) -> dict[str, list[int]]:
        return {"pids": [os.getpid()]}


def task(state: State) -> dict[str, list[int]]:
    return {"pids": [os.getpid()]}


async def waits(state: State) -> dict[str, list[int]]:
    return {"pids": [os.getpid()]}


@pytest.mark.skipif(
    sys.platform != "linux", reason="reads sockets of processes as Linux shows them"
)
def test_a_session_listens_on_three_ports_which_are_gone_with_it(on_ray: Engine) -> None:
    import ray

    from actors import end_session
    from actors.cluster import remote
    from actors.sessions import current

    end_session()
    before = listening(os.getpid())
    idle_worker = remote(num_cpus=0)(process_id)
    builder = on_ray.StateGraph(State).add_node("task", task).add_node("pool", Pool)
    builder.add_node("waits", waits).add_edge(on_ray.START, "task")
    builder.add_edge("task", "pool").add_edge("pool", "waits")
    compiled = on_ray.compile(builder, checkpointer=InMemorySaver())
    workers = compiled.invoke({"pids": []}, {"configurable": {"thread_id": "t"}})["pids"]
    session = current()
    pids = {
        "caller": os.getpid(),
        "driver": ray.get(session.driver.process.remote()),
        "broker": ray.get(session.broker.process.remote()),
    }
    of_ray = len(listening(ray.get(idle_worker.remote())))  # in each process of Ray
    opened = {name: listening(pid) for name, pid in pids.items()}
    opened["caller"] -= before  # other tests in this process may have servers of their own
    assert len(opened["caller"]) == 1
    assert len(opened["driver"]) == len(opened["broker"]) == of_ray + 1
    assert [len(listening(pid)) for pid in workers] == [of_ray] * 3
    ours = {name: set(filter(challenges, ports)) for name, ports in opened.items()}
    assert [len(ports) for ports in ours.values()] == [1, 1, 1]
    end_session()
    for name in pids:
        eventually(lambda name=name: not is_open(*ours[name]), f"the port of the {name} is closed")
