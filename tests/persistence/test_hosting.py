"""Objects of one process, called from others."""

import gc
import os
import pickle
import resource
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.connection import Client
from pathlib import Path

import pytest
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.store.memory import InMemoryStore

from distgraph.errors import RunError
from distgraph.persistence import hosting, place
from distgraph.persistence.hosting import HostClient, Ticket, host
from distgraph.persistence.proxies import stand_in
from tests.persistence.savers import AsyncOnly, Bound, OldSaver, config, saved

ROOT = Path(__file__).parents[2]


class Odd(Exception):
    def __init__(self, *, code):
        super().__init__(f"code {code}")
        self.code = code


class Failing(InMemoryStore):
    def batch(self, ops):
        raise Odd(code=7)


@pytest.fixture
def client():
    made = HostClient(host().ticket)
    yield made
    made.close()


def test_what_is_put_there_is_seen_here(client):
    store = InMemoryStore()
    remote = stand_in(place(store), client)
    remote.put(("a",), "k", {"v": 1})
    assert store.get(("a",), "k").value == {"v": 1}
    store.put(("a",), "k", {"v": 2})
    assert remote.get(("a",), "k").value == {"v": 2}


def test_many_threads_use_one_client(client):
    store = InMemoryStore()
    remote = stand_in(place(store), client)
    with ThreadPoolExecutor(40) as pool:
        list(pool.map(lambda i: remote.put(("n",), str(i), {"i": i}), range(200)))
    assert {item.value["i"] for item in store.search(("n",), limit=1000)} == set(range(200))
    assert len(client._idle) <= hosting.CONNECTIONS


def test_an_error_arrives_as_itself(client):
    store = Failing()
    with pytest.raises(Odd, match="code 7") as caught:
        stand_in(place(store), client).get(("a",), "k")
    assert caught.value.code == 7
    assert "While Failing was called in the process where it lives" in caught.value.__notes__


def test_what_cannot_be_sent_back_is_an_error(client):
    class Bad(InMemoryStore):
        def batch(self, ops):
            return [threading.Thread()]

    store = Bad()
    with pytest.raises(TypeError, match="a thread"):
        stand_in(place(store), client).get(("a",), "k")


def test_private_methods_cannot_be_called(client):
    store = InMemoryStore()
    with pytest.raises(AttributeError, match="cannot be called from elsewhere"):
        client(place(store), "_apply_put_ops", ({},), {})


def test_an_object_is_not_kept_alive(client):
    store = InMemoryStore()
    placed = place(store)
    remote = stand_in(placed, client)
    del store
    gc.collect()
    with pytest.raises(RunError, match="InMemoryStore is gone"):
        remote.get(("a",), "k")


def test_async_only_savers_run_on_a_loop_of_the_host(client):
    saver = AsyncOnly()
    remote = stand_in(place(saver), client)
    named = saved(remote, a=1)
    remote.put_writes(named, [("a", 2)], "task", "path")
    assert remote.get_tuple(config()).checkpoint["channel_values"] == {"a": 1}
    assert [t.pending_writes for t in remote.list(config())] == [[("task", "a", 2)]]
    assert len(set(saver.loops)) == 1


def test_a_path_is_left_out_for_savers_that_do_not_take_it(client):
    saver = OldSaver()
    stand_in(place(saver), client).put_writes(config(), [("a", 1)], "task", "path")
    assert saver.got == ([("a", 1)], "task")


def test_a_loop_that_is_blocked_is_told_in_time(client, monkeypatch):
    import asyncio

    from distgraph.persistence import faces

    monkeypatch.setattr(faces, "BEGIN", 0.2)

    async def main():
        saver = Bound(asyncio.get_running_loop())
        with pytest.raises(RunError, match="that Bound belongs to has not taken a call.*ainvoke"):
            stand_in(place(saver), client).get_tuple(config())

    asyncio.run(main())


def test_a_wrong_key_is_refused():
    store = InMemoryStore()
    placed = place(store)
    wrong = HostClient(Ticket(host().ticket.address, b"wrong"))
    with pytest.raises(Exception, match="digest sent was rejected|digest received was wrong"):
        wrong(placed, "get", (("a",), "k"), {})


SILENT = """
import socket, sys, time
address = bytes.fromhex(sys.argv[1])
connected = []
for _ in range(1100):
    one = socket.socket(socket.AF_UNIX)
    one.connect(address)
    connected.append(one)
print("connected", flush=True)
sys.stdin.read()
"""


@pytest.mark.skipif(sys.platform != "linux", reason="counts threads and files as Linux shows them")
def test_silent_clients_take_neither_threads_nor_files(client):
    store = InMemoryStore()
    remote = stand_in(place(store), client)
    remote.put(("a",), "k", {"v": 1})
    threads, files = threading.active_count(), len(os.listdir("/proc/self/fd"))
    address = host().ticket.address
    raw = address if isinstance(address, bytes) else address.encode()
    silent = subprocess.Popen(
        [sys.executable, "-c", SILENT, raw.hex()],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (2000, 2000)),
    )
    with silent:
        assert silent.stdout.readline() == "connected\n"
        late = HostClient(host().ticket)
        assert stand_in(place(store), late).get(("a",), "k").value == {"v": 1}
        assert remote.get(("a",), "k").value == {"v": 1}
        for _ in range(200):  # the last of those that were dropped are being closed
            more = threading.active_count() - threads, len(os.listdir("/proc/self/fd")) - files
            if max(more) <= hosting.STRANGERS + 8:
                break
            time.sleep(0.05)
        assert max(more) <= hosting.STRANGERS + 8
        late.close()
        silent.stdin.close()


def test_a_client_that_keeps_silent_is_dropped(monkeypatch):
    monkeypatch.setattr(hosting, "SILENCE", 0.2)
    made = hosting.Host()
    held = InMemoryStore()
    made.hold(held)
    with Client(made.ticket.address) as silent:
        silent.recv_bytes()  # the challenge, which it does not answer
        assert silent.poll(10)
        with pytest.raises((EOFError, OSError)):
            silent.recv_bytes()


def test_a_client_that_is_dropped_connects_again(client, monkeypatch):
    store = InMemoryStore()
    placed = place(store)
    greets, dropped = hosting.Host._greets, []

    def crowded(self, connection):
        if len(dropped) < 3:
            dropped.append(connection)
            return False
        return greets(self, connection)

    monkeypatch.setattr(hosting.Host, "_greets", crowded)
    stand_in(placed, client).put(("a",), "k", {})
    assert len(dropped) == 3
    monkeypatch.setattr(hosting.Host, "_greets", lambda self, connection: False)
    with pytest.raises(RunError, match="InMemoryStore: the process that holds it drops every"):
        stand_in(placed, HostClient(host().ticket)).get(("a",), "k")


def test_processes_of_other_users_are_not_answered(monkeypatch):
    store = InMemoryStore()
    placed = place(store)
    monkeypatch.setattr(hosting, "_is_another_user", lambda connection: True)
    with pytest.raises(RunError, match="drops every connection"):
        stand_in(placed, HostClient(host().ticket)).get(("a",), "k")


def test_nothing_is_served_before_something_is_held():
    made = hosting.Host()
    assert made.ticket == made.ticket
    assert not made._serving


HOLDER = """
import pickle, sys
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.store.memory import InMemoryStore
from distgraph.persistence import place
from distgraph.persistence.hosting import host
saver, store = InMemorySaver(), InMemoryStore()
sys.stdout.write(pickle.dumps((tuple(host().ticket), place(saver), place(store))).hex() + "\\n")
sys.stdout.flush()
sys.stdin.readline()
"""


@pytest.fixture
def holder():
    """Another process that holds a saver and a store."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )
    ticket, *placed = pickle.loads(bytes.fromhex(process.stdout.readline()))
    yield process, HostClient(ticket), placed
    process.kill()
    process.wait()
    process.stdin.close()
    process.stdout.close()


def test_a_saver_of_another_process(holder):
    _, client, (placed, _) = holder
    saver = stand_in(placed, client)
    first = saved(saver, "1", a=1)
    saved(saver, "1", step=0, a=2)
    saver.put_writes(first, [("a", 5)], "task")
    assert [t.checkpoint["channel_values"] for t in saver.list(config())] == [{"a": 2}, {"a": 1}]
    assert [t.metadata["step"] for t in saver.list(config(), limit=1)] == [0]
    assert saver.get_tuple(first).pending_writes == [("task", "a", 5)]
    saver.delete_thread("1")
    assert saver.get_tuple(config()) is None


def test_its_exit_does_not_wait_for_those_who_are_connected(holder):
    process, client, (_, placed) = holder
    stand_in(placed, client).put(("a",), "k", {})
    process.stdin.write("\n")
    process.stdin.flush()
    assert process.wait(10) == 0


def test_its_death_is_an_error_that_says_what_is_lost(holder):
    process, client, (_, placed) = holder
    remote = stand_in(placed, client)
    remote.put(("a",), "k", {})
    address = client._ticket.address
    process.send_signal(signal.SIGKILL)
    process.wait()
    started = time.monotonic()
    with pytest.raises(RunError, match="InMemoryStore lives in the process that made the graph"):
        remote.get(("a",), "k")
    with pytest.raises(RunError, match="InMemoryStore lives in the process that made the graph"):
        remote.get(("a",), "k")
    assert time.monotonic() - started < 5
    if sys.platform == "linux":
        assert address.lstrip(b"\0") not in Path("/proc/net/unix").read_bytes()


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_process_has_a_host_of_its_own():
    mine = host().id
    reader, writer = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.write(writer, host().id.encode())
        os._exit(0)
    os.waitpid(pid, 0)
    assert os.read(reader, 100).decode() != mine
    os.close(reader)
    os.close(writer)


def test_a_saver_is_one_object_for_all_that_ask(client):
    saver = InMemorySaver()
    saved(saver, "1", a=1)
    assert stand_in(place(saver), client).get_tuple(config()).metadata["step"] == -1
