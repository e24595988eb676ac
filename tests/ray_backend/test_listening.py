"""A session adds three ports, and none of them tells anything to somebody without its secret."""

from __future__ import annotations

import os
import socket
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from tests.support.graphs import Numbers

pytestmark = [
    pytest.mark.ray,
    pytest.mark.skipif(sys.platform != "linux", reason="the files of /proc tell who listens"),
]

_HTTP2_SETTINGS = b"\x00\x00\x18\x04"
"""What a gRPC server of Ray says first."""


def own_processes() -> set[int]:
    """Return this process, and all that descend from it."""
    parents = {}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                stat = (folder / "stat").read_text()
            except OSError:  # it has ended
                continue
            parents[int(folder.name)] = int(stat.rpartition(")")[2].split()[1])
    found = {os.getpid()}
    while more := {child for child, parent in parents.items() if parent in found} - found:
        found |= more
    return found


def listening() -> dict[tuple[str, int], str]:
    """Return the title of the process behind each address on which one of ours listens."""
    addresses: dict[str, tuple[str, int]] = {}
    for table, family in (("tcp", socket.AF_INET), ("tcp6", socket.AF_INET6)):
        for line in Path("/proc/net", table).read_text().splitlines()[1:]:
            fields = line.split()
            host, _, port = fields[1].partition(":")
            words = [bytes.fromhex(host[at : at + 8])[::-1] for at in range(0, len(host), 8)]
            if fields[3] == "0A":
                addresses[fields[9]] = socket.inet_ntop(family, b"".join(words)), int(port, 16)
    found = {}
    for process in own_processes():
        links, title = set(), "caller"
        with suppress(OSError):  # it has ended
            if process != os.getpid():
                title = Path(f"/proc/{process}/cmdline").read_bytes().rstrip(b"\0 ").decode()
            for file in Path(f"/proc/{process}/fd").iterdir():
                with suppress(OSError):  # it is closed
                    links.add(file.readlink().name)
        for inode in {link[8:-1] for link in links if link.startswith("socket:[")}:
            if inode in addresses:
                found[addresses[inode]] = title
    return found


def answer(address: tuple[str, int], said: bytes) -> bytes:
    """Return all that a listener says to somebody who says that, until it hangs up."""
    got = b""
    with socket.create_connection(address, timeout=20) as sock, suppress(ConnectionError):
        sock.sendall(said)
        while more := sock.recv(4096):
            got += more
            if got.startswith(_HTTP2_SETTINGS):
                return _HTTP2_SETTINGS
    return got


def test_a_session_adds_three_ports_that_hang_up_on_strangers(on_ray):
    import actors

    actors.end_session()
    before = set(listening())

    async def awaits(state: Numbers) -> Numbers:
        return {"items": [1]}

    builder = on_ray.StateGraph(Numbers).add_node("computes", lambda state: {"items": [2]})
    builder.add_node("awaits", awaits).add_edge(on_ray.START, "computes")
    builder.add_node("own_task", lambda state: {"items": [3]}, ray_options={"lease": False})
    graph = on_ray.compile(builder.add_edge("computes", "awaits").add_edge("awaits", "own_task"))
    assert graph.invoke({"items": []})["items"] == [2, 1, 3]
    added = {address: title for address, title in listening().items() if address not in before}
    request = b"GET / HTTP/1.1\r\nHost: there\r\n\r\n"
    told = {address: answer(address, request) for address in added}
    ours = {address: said for address, said in told.items() if said != _HTTP2_SETTINGS}
    assert sorted(added[address] for address in ours) == [
        "caller",
        "ray::StreamBroker",
        "ray::SuperstepDriver",
    ]
    for address, said in ours.items():
        assert b"distgraph" in said[:30]  # its challenge, which is random
        others = [answer(address, what) for what in (b"\xff" * 4096, b"\0\0\0\4abcd" * 9)]
        assert {len(other) for other in others} <= {len(said), 0}
