"""What the engine calls: five methods, whichever face the saver has."""

import asyncio
import threading

import pytest
from langgraph.checkpoint.base import BaseCheckpointSaver, empty_checkpoint
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver

from distgraph.errors import RunError
from distgraph.persistence import SaverPort, sync_or_async
from tests.persistence.savers import AsyncOnly, Bound, OldSaver, config


class Noting(InMemorySaver):
    """Notes which of its faces was used."""

    def __init__(self):
        super().__init__()
        self.used = []

    def get_tuple(self, config):
        self.used.append("sync")
        return super().get_tuple(config)

    async def aget_tuple(self, config):
        self.used.append(asyncio.get_running_loop())
        return InMemorySaver.get_tuple(self, config)


def use(port, written=("a", 2)):
    """Call all five methods, and check what they return."""
    checkpoint = empty_checkpoint()
    version = port.get_next_version(None)
    checkpoint["channel_versions"] = {"a": version}
    checkpoint["channel_values"] = {"a": 1}
    named = port.put(config(), checkpoint, {"source": "input", "step": -1}, {"a": version})
    assert named["configurable"]["checkpoint_id"] == checkpoint["id"]
    port.put_writes(named, [written], "task", "path")
    found = port.get_tuple(config())
    assert found.checkpoint["channel_values"] == {"a": 1}
    assert found.pending_writes == [("task", *written)]
    assert [t.checkpoint["id"] for t in port.list(config(), limit=1)] == [checkpoint["id"]]
    assert port.list(config(), before=named) == []


def test_a_saver_with_both_faces():
    use(SaverPort(InMemorySaver()))


def test_a_saver_with_async_methods_only():
    saver = AsyncOnly()
    use(SaverPort(saver))
    assert set(saver.loops) == {sync_or_async.shared_loop()}


def test_an_awaiting_caller_has_its_loop_used():
    saver, only = Noting(), AsyncOnly()

    async def main():
        loop = asyncio.get_running_loop()
        await asyncio.to_thread(use, SaverPort(saver, loop))
        await asyncio.to_thread(use, SaverPort(only, loop))
        return loop

    loop = asyncio.run(main())
    assert saver.used == [loop]
    assert set(only.loops) == {loop}


def test_a_synchronous_caller_uses_synchronous_methods():
    saver = Noting()
    use(SaverPort(saver))
    assert saver.used == ["sync"]


def test_a_saver_with_synchronous_methods_only_serves_an_awaiting_caller():
    inner = InMemorySaver()

    class SyncOnly(BaseCheckpointSaver):
        get_tuple = staticmethod(inner.get_tuple)
        list = staticmethod(inner.list)
        put = staticmethod(inner.put)
        put_writes = staticmethod(inner.put_writes)
        get_next_version = staticmethod(inner.get_next_version)

    async def main():
        await asyncio.to_thread(use, SaverPort(SyncOnly(), asyncio.get_running_loop()))

    asyncio.run(main())


def test_a_saver_of_a_loop_is_used_on_that_loop(tmp_path):
    async def main():
        async with AsyncSqliteSaver.from_conn_string(str(tmp_path / "a.db")) as saver:
            await asyncio.to_thread(use, SaverPort(saver))
            with pytest.raises(asyncio.InvalidStateError, match="async form: ainvoke"):
                SaverPort(saver).get_tuple(config())

    asyncio.run(main())


def test_a_loop_that_is_gone_is_an_error():
    loop = asyncio.new_event_loop()
    loop.close()
    with pytest.raises(RunError, match=r"Bound belongs to is closed.*asyncio\.run"):
        SaverPort(Bound(loop)).get_tuple(config())


def test_a_loop_that_does_not_run_is_told_in_time(monkeypatch):
    monkeypatch.setattr(sync_or_async, "BEGIN", 0.1)
    loop = asyncio.new_event_loop()
    with pytest.raises(RunError, match="has not taken a call for 0.1 s"):
        SaverPort(Bound(loop)).get_tuple(config())
    loop.close()


def test_a_loop_that_is_closed_during_a_call_is_told(monkeypatch):
    monkeypatch.setattr(sync_or_async, "_LOOK", 0.05)
    loop = asyncio.new_event_loop()
    begun = threading.Event()

    class Slow(Bound):
        async def aget_tuple(self, config):
            begun.set()
            await asyncio.Event().wait()

    async def main():
        await asyncio.to_thread(begun.wait)

    def serve():
        loop.run_until_complete(main())
        loop.close()

    thread = threading.Thread(target=serve)
    thread.start()
    with pytest.raises(RunError, match="Slow belongs to is closed"):
        SaverPort(Slow(loop)).get_tuple(config())
    thread.join()


def test_an_error_of_the_saver_is_its_own():
    class Failing(AsyncOnly):
        async def aget_tuple(self, config):
            raise KeyError("what")

    with pytest.raises(KeyError, match="what"):
        SaverPort(Failing()).get_tuple(config())


def test_a_path_is_left_out_for_savers_that_do_not_take_it():
    saver = OldSaver()
    SaverPort(saver).put_writes(config(), [("a", 1)], "task", "path")
    assert saver.got == ([("a", 1)], "task")
