"""Objects of one process, called from others."""

import gc
import os
import pickle
import signal
import socket
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.store.memory import InMemoryStore

from distgraph.errors import RunError
from distgraph.persistence import place
from distgraph.persistence.hosting import HostClient, Ticket, host
from distgraph.persistence.proxies import stand_in
from distgraph.wire import Address
from tests.persistence.savers import AsyncOnly, Bound, OldSaver, config, saved
from tests.support.cluster import eventually
from tests.support.tls import use_tls

ROOT = Path(__file__).parents[2]


class Odd(Exception):
    def __init__(self, *, code):
        super().__init__(f"code {code}")
        self.code = code


class Failing(InMemoryStore):
    def batch(self, ops):
        raise Odd(code=7)


@pytest.fixture
def port():
    made = host().listen()
    yield made
    made.close()


@pytest.fixture
def client(port):
    made = HostClient(port.ticket)
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

    from distgraph.persistence import sync_or_async

    monkeypatch.setattr(sync_or_async, "BEGIN", 0.2)

    async def main():
        saver = Bound(asyncio.get_running_loop())
        with pytest.raises(RunError, match="that Bound belongs to has not taken a call.*ainvoke"):
            stand_in(place(saver), client).get_tuple(config())

    asyncio.run(main())


def test_a_wrong_secret_is_an_error_with_both_processes_and_the_address(port):
    store = InMemoryStore()
    wrong = HostClient(port.ticket._replace(secret=b"wrong"))
    with pytest.raises(RunError, match="does not know the secret of this session") as caught:
        wrong(place(store), "get", (("a",), "k"), {})
    assert f"connected to process {os.getpid()} on " in str(caught.value)
    assert str(port.ticket.address) in str(caught.value)


def test_a_host_that_cannot_be_reached_is_an_error_with_both_processes_and_a_remedy():
    store = InMemoryStore()
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        address = Address(*unused.getsockname())
    client = HostClient(Ticket(address, b"secret", "process 7 on elsewhere"))
    with pytest.raises(RunError, match=f"cannot reach process 7 on elsewhere at {address}") as lost:
        stand_in(place(store), client).get(("a",), "k")
    assert "DISTGRAPH_PORTS" in str(lost.value)
    assert "use a saver or store that is a file or a server" in str(lost.value)


def test_calls_of_many_clients_need_a_thread_each_only_while_they_run(port):
    before = set(threading.enumerate())  # of hosts of earlier tests some may still be idle
    store = InMemoryStore()
    placed = place(store)
    clients = [HostClient(port.ticket) for _ in range(20)]
    for number, one in enumerate(clients):
        stand_in(placed, one).put(("a",), str(number), {})
    served = {t for t in threading.enumerate() if t.name.startswith("distgraph-host")} - before
    assert len(store.search(("a",), limit=100)) == 20
    assert len(served) <= 20
    for one in clients:
        one.close()


def test_a_client_connects_again_after_its_connection_was_lost(port, client):
    store = InMemoryStore()
    remote = stand_in(place(store), client)
    remote.put(("a",), "k", {"v": 1})
    for connection in list(port._clients):
        connection.close()
    eventually(lambda: client._connection.closed, "the client sees the end")
    assert remote.get(("a",), "k").value == {"v": 1}


def test_a_call_whose_connection_is_lost_fails_and_is_not_repeated(port, client):
    began, calls = threading.Event(), []

    class Slow(InMemoryStore):
        def batch(self, ops):
            calls.append(ops)
            began.set()
            threading.Event().wait(2)
            return super().batch(ops)

    store = Slow()
    remote = stand_in(place(store), client)
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(remote.get, ("a",), "k")
        assert began.wait(60)
        for connection in list(port._clients):
            connection.close()
        with pytest.raises(RunError, match="has ended before the answer came"):
            asked.result(10)
    assert len(calls) == 1


def test_a_port_that_is_closed_leaves_its_clients(port, client):
    store = InMemoryStore()
    remote = stand_in(place(store), client)
    remote.put(("a",), "k", {"v": 1})
    port.close()
    eventually(lambda: client._connection.closed, "the client sees the end")
    with pytest.raises(RunError, match="cannot reach process"):
        remote.get(("a",), "k")


def test_with_tls_calls_are_encrypted(monkeypatch):
    use_tls(monkeypatch)
    store, port = InMemoryStore(), host().listen()
    client = HostClient(port.ticket)
    stand_in(place(store), client).put(("a",), "k", {"v": 1})
    assert store.get(("a",), "k").value == {"v": 1}
    assert client._connection._sock.version() in ("TLSv1.2", "TLSv1.3")
    client.close()
    port.close()


HOLDER = """
import pickle, sys
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.store.memory import InMemoryStore
from distgraph.persistence import place
from distgraph.persistence.hosting import host
saver, store = InMemorySaver(), InMemoryStore()
ticket = tuple(host().listen().ticket)
sys.stdout.write(pickle.dumps((ticket, place(saver), place(store))).hex() + "\\n")
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
    assert process.wait(60) == 0


def test_its_death_is_an_error_that_says_what_is_lost(holder):
    process, client, (_, placed) = holder
    remote = stand_in(placed, client)
    remote.put(("a",), "k", {})
    process.send_signal(signal.SIGKILL)
    process.wait()
    with pytest.raises(RunError, match="InMemoryStore lives in the process that made the graph"):
        remote.get(("a",), "k")
    with pytest.raises(RunError, match="InMemoryStore lives in the process that made the graph"):
        remote.get(("a",), "k")


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
