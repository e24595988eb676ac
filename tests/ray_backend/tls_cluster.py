"""Streams a run on a Ray of its own with TLS. Prints chunks, and what its connections are.

Started by ``test_tls.py``, with certificates of its own.
"""

from __future__ import annotations

import json
import os
import queue
import socket
from typing import Annotated, Any

import ray
from typing_extensions import TypedDict

import actors
from actors import sessions
from actors.lease_frames import WorkerTicket
from distgraph.errors import UnsupportedClusterError
from distgraph.graph import START, StateGraph
from distgraph.wire import Address, connect
from distgraph.wire.loop import loop
from tests.support.tls import FILES


def spoken() -> list[str]:
    """What is spoken on the connections of distgraph in this process."""
    wire = loop()
    found: queue.SimpleQueue[list[Any]] = queue.SimpleQueue()

    def look() -> None:
        found.put([key.fileobj for key in wire._selector.get_map().values()])

    if wire.is_current:
        look()
    else:
        wire.soon(look)
    return sorted(
        {
            getattr(sock, "version", lambda: "plain")()
            for sock in found.get(timeout=60)
            if sock is not wire._woken
            and not sock.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
        }
    )


def add(old: list[Any], new: list[Any]) -> list[Any]:
    """Run in the driver."""
    return old + new + [["driver", spoken()]] * bool(new)


class State(TypedDict, total=False):
    items: Annotated[list[Any], add]


def plain_node(state: State, writer: Any) -> State:
    for number in range(3):
        writer(number)
    return {"items": [["worker", spoken()]]}


async def async_node(state: State, writer: Any) -> State:
    for number in range(3, 6):
        writer(number)
    return {"items": [["executor", spoken()]]}


def dialed(address: Address, secret: bytes, **environment: str) -> str:
    """Say what comes of a connection by a process that knows the secret, with these settings."""
    before = {name: os.environ[name] for name in environment}
    os.environ.update(environment)
    try:
        connection = connect(
            address,
            secret,
            "stranger",
            patience=0.2,
            on_frame=lambda connection, frame: None,
            on_closed=lambda connection, error: None,
        )
        connection.close()
        return "let in"
    except UnsupportedClusterError:
        return "refused"
    finally:
        os.environ.update(before)


def main() -> None:
    ray.init(
        address="local",
        num_cpus=2,
        include_dashboard=False,
        log_to_driver=False,
        logging_level="ERROR",
        object_store_memory=200 << 20,
    )
    builder = StateGraph(State).add_node("plain", plain_node).add_node("async", async_node)
    graph = builder.add_edge(START, "plain").add_edge("plain", "async").compile(backend="ray")
    chunks = list(graph.stream({"items": []}, stream_mode=["custom", "values"]))
    session: Any = sessions.current()
    ticket = WorkerTicket.read(ray.get(session.driver.entrance.remote()))
    ports = {
        "superstep driver": (Address(*ticket.address), ticket.secret),
        "stream broker": ray.get(session.broker.address.remote()),
        "caller": (session._port.ticket.address, session._port.ticket.secret),
    }
    stranger = {
        "RAY_TLS_SERVER_CERT": str(FILES / "stranger.crt"),
        "RAY_TLS_SERVER_KEY": str(FILES / "stranger.key"),
    }
    found = {
        "custom": [chunk for mode, chunk in chunks if mode == "custom"],
        "items": chunks[-1][1]["items"],
        "caller": spoken(),
        "ports": {
            name: {
                "unix": address.local,
                "with the certificates": dialed(address, secret),
                "without TLS": dialed(address, secret, RAY_USE_TLS="0"),
                "with another certificate": dialed(address, secret, **stranger),
            }
            for name, (address, secret) in ports.items()
        },
    }
    print(json.dumps(found), flush=True)
    actors.end_session()


if __name__ == "__main__":
    main()
