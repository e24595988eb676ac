"""What reaches the saver, in which order, and what a saver's failure does."""

import operator
import queue
import threading
from typing import Annotated, TypedDict

import pytest
from langgraph.checkpoint.memory import InMemorySaver

from distgraph.contract.events import SaveCheckpoint, SaveWrites, StorageFailed, Sync, Synced
from distgraph.driver import saving
from distgraph.errors import EmptyInputError, UnsupportedError
from distgraph.graph import START, StateGraph

CONFIG = {"configurable": {"thread_id": "t"}}


class Log(TypedDict):
    log: Annotated[list, operator.add]


class Recorder(InMemorySaver):
    """A saver that notes what it is asked, by the names of the tasks that wrote."""

    def __init__(self, told, fails=None):
        super().__init__()
        self.told = told
        self.fails = fails

    def get_tuple(self, config):
        self._note("load", None)
        return super().get_tuple(config)

    def put(self, config, checkpoint, metadata, new_versions):
        self._note("checkpoint", metadata["step"])
        return super().put(config, checkpoint, metadata, new_versions)

    def put_writes(self, config, writes, task_id, task_path=""):
        written = [value for channel, value in writes if channel == "log"]
        self._note("writes", next((name for names in written for name in names), None))
        return super().put_writes(config, writes, task_id, task_path)

    def _note(self, what, detail):
        if what == self.fails:
            raise OSError("the disk is full")
        self.told.append((what, detail))


def two_steps(told):
    def node(name):
        def run(state):
            told.append(("ran", name))
            return {"log": [name]}

        return run

    builder = StateGraph(Log)
    for name in ("a", "b", "c"):
        builder.add_node(name, node(name))
    builder.add_edge(START, "a")
    builder.add_edge(START, "b")
    builder.add_edge(["a", "b"], "c")
    return builder


def compiled(told, **options):
    saver = Recorder(told, **options)
    return two_steps(told).compile(checkpointer=saver, backend="local"), saver


@pytest.mark.parametrize("durability", ["sync", "async"])
def test_writes_are_saved_before_the_checkpoint_that_contains_them(durability):
    told = []
    graph, _ = compiled(told)
    graph.invoke({"log": []}, CONFIG, durability=durability)
    saved = [entry for entry in told if entry[0] in ("writes", "checkpoint")]
    assert saved[0] == ("checkpoint", -1)
    assert sorted(saved[3:5]) == [("writes", "a"), ("writes", "b")]
    assert saved[5:] == [("checkpoint", 1), ("writes", "c"), ("checkpoint", 2)]


def test_with_sync_durability_a_step_waits_for_the_checkpoint_before_it():
    told = []
    graph, _ = compiled(told)
    graph.invoke({"log": []}, CONFIG, durability="sync")
    assert told.index(("checkpoint", 0)) < told.index(("ran", "a"))
    assert told.index(("checkpoint", 1)) < told.index(("ran", "c"))


def test_with_exit_durability_only_the_end_is_saved():
    told = []
    graph, _ = compiled(told)
    graph.invoke({"log": []}, CONFIG, durability="exit")
    assert [entry for entry in told if entry[0] != "ran"] == [("load", None), ("checkpoint", 2)]


def test_a_run_ends_when_all_that_it_saved_is_durable():
    held = threading.Event()

    class Slow(InMemorySaver):
        def put(self, config, checkpoint, metadata, new_versions):
            if metadata["step"] == 2:
                held.wait(30)
            return super().put(config, checkpoint, metadata, new_versions)

    saver = Slow()
    graph = two_steps([]).compile(checkpointer=saver, backend="local")
    chunks = graph.stream({"log": []}, CONFIG)
    assert [next(iter(next(chunks))) for _ in range(3)][2] == "c"
    assert saver.get_tuple(CONFIG).metadata["step"] < 2
    held.set()
    assert list(chunks) == []
    assert saver.get_tuple(CONFIG).metadata["step"] == 2


@pytest.mark.parametrize(
    ("fails", "durability"),
    [
        *((fails, d) for fails in ("load", "checkpoint") for d in ("sync", "async", "exit")),
        *(("writes", d) for d in ("sync", "async")),
    ],
)
def test_a_saver_that_fails_ends_the_run_with_its_own_error(fails, durability):
    graph, _ = compiled([], fails=fails)
    with pytest.raises(OSError, match="the disk is full"):
        graph.invoke({"log": []}, CONFIG, durability=durability)


def test_after_a_failure_nothing_further_is_saved():
    told = []
    graph, saver = compiled(told, fails="writes")
    with pytest.raises(OSError, match="the disk is full"):
        graph.invoke({"log": []}, CONFIG)
    assert ("checkpoint", 1) not in told
    assert saver.get_tuple(CONFIG) is not None


def test_what_a_left_run_has_saved_is_gone_on_from():
    told = []
    graph, saver = compiled(told)
    for chunk in graph.stream({"log": ["in"]}, CONFIG, stream_mode="values", durability="sync"):
        if chunk["log"] == ["in", "a", "b"]:
            break
    # the next step may have ended before the run was left
    assert saver.get_tuple(CONFIG).metadata["step"] in (1, 2)
    assert graph.invoke(None, CONFIG) == {"log": ["in", "a", "b", "c"]}
    assert [entry for entry in told if entry == ("ran", "a")] == [("ran", "a")]


def test_an_error_is_saved_with_what_its_siblings_wrote():
    def bad(state):
        raise KeyError("broken")

    first = threading.Event()

    def good(state):
        first.set()
        return {"log": ["good"]}

    builder = StateGraph(Log)
    builder.add_node("bad", lambda state: (first.wait(30), bad(state)))
    builder.add_node("good", good)
    builder.add_edge(START, "bad")
    builder.add_edge(START, "good")
    saver = InMemorySaver()
    graph = builder.compile(checkpointer=saver, backend="local")
    with pytest.raises(KeyError, match="broken"):
        for chunk in graph.stream({"log": []}, CONFIG):
            assert chunk == {"good": {"log": ["good"]}}
    written = {c: v for _, c, v in saver.get_tuple(CONFIG).pending_writes}
    assert written["log"] == ["good"]
    assert written["__error__"] == "KeyError('broken')"


class Stuck(InMemorySaver):
    """A saver that holds the checkpoint of step 1 back, once."""

    def __init__(self):
        super().__init__()
        self.entered, self.released = threading.Event(), threading.Event()
        self.loaded = threading.Event()

    def get_tuple(self, config):
        self.loaded.set()
        return super().get_tuple(config)

    def put(self, config, checkpoint, metadata, new_versions):
        if metadata["step"] == 1 and not self.entered.is_set():
            self.entered.set()
            self.released.wait(30)
        return super().put(config, checkpoint, metadata, new_versions)


@pytest.fixture
def left():
    """A graph whose run was left while its saver was busy; what its nodes did; the saver."""
    told, saver = [], Stuck()
    graph = two_steps(told).compile(checkpointer=saver, backend="local")
    chunks = graph.stream({"log": ["in"]}, CONFIG)
    next(chunks)
    assert saver.entered.wait(30)
    chunks.close()
    saver.loaded.clear()
    yield graph, told, saver
    saver.released.set()


def test_a_run_waits_for_what_an_earlier_one_has_still_to_save(left):
    graph, told, saver = left
    results = []
    again = threading.Thread(target=lambda: results.append(graph.invoke(None, CONFIG)))
    again.start()
    assert not saver.loaded.wait(0.5), "it started from what was not saved yet"
    saver.released.set()
    again.join(30)
    assert results == [{"log": ["in", "a", "b", "c"]}]
    assert [told.count(("ran", name)) for name in ("a", "b")] == [1, 1]


def test_a_run_that_waited_in_vain_says_so(left, monkeypatch, caplog):
    graph, _, _ = left
    monkeypatch.setattr(saving, "_PATIENCE", 0.1)
    graph.invoke({"log": []}, CONFIG)
    assert "thread 't': an earlier run has not saved all of its checkpoints" in caplog.text


@pytest.mark.parametrize("durability", ["sync", "exit"])
def test_nothing_is_saved_of_an_input_that_is_refused(durability):
    told = []
    graph = two_steps(told).compile(checkpointer=Recorder(told), backend="local")
    with pytest.raises(EmptyInputError):
        graph.invoke(None, CONFIG, durability=durability)
    assert told == [("load", None)]


# --- the thread -----------------------------------------------------------------------------------


class Port:
    """Notes the saves that are made together; the first ones wait."""

    def __init__(self):
        self.saved = []
        self.begun, self.released = threading.Event(), threading.Event()

    def save(self, calls):
        self.begun.set()
        assert self.released.wait(30)
        ids = [args[0]["configurable"]["checkpoint_id"] for _, args in calls]
        self.saved.append([(call[0], at) for call, at in zip(calls, ids, strict=True)])


def of_writes(number):
    return SaveWrites("", f"w{number}", "task", "", (("log", number),))


def of_checkpoint(number, **values):
    return SaveCheckpoint("", f"c{number}", {"id": "new", "channel_values": values}, {}, {})


def saving_of(*jobs):
    """Let a thread carry out saves of which the first takes long, and return what it saved
    together, and what it told."""
    port, told = Port(), queue.SimpleQueue()
    thread = saving.SaverThread(port, {"configurable": {}, "metadata": {}}, told.put)
    for number, job in enumerate(jobs):
        thread.do(job)
        if not number:
            assert port.begun.wait(30)
    port.released.set()
    thread.close()
    assert thread.join(30)
    return port.saved, [told.get() for _ in range(told.qsize())], thread.carried_out


def test_saves_that_wait_are_made_together_in_their_order():
    jobs = [of_writes(0), of_checkpoint(0), of_writes(1), of_checkpoint(1), Sync("s"), of_writes(2)]
    saved, told, count = saving_of(*jobs)
    together = [("put", "c0"), ("put_writes", "w1"), ("put", "c1")]
    assert saved == [[("put_writes", "w0")], together, [("put_writes", "w2")]]
    assert (told, count) == ([Synced("s")], 5)


def test_not_all_saves_of_a_long_run_are_made_together():
    saved, _, count = saving_of(*map(of_writes, range(100)))
    assert [len(calls) for calls in saved] == [1, 33, 33, 33]
    assert count == 100


def test_what_comes_before_a_save_that_fails_is_saved(monkeypatch):
    refused = UnsupportedError("of a DeltaChannel")
    kept = saving.storable

    def storable(checkpoint):
        if checkpoint["channel_values"]:
            raise refused
        return kept(checkpoint)

    monkeypatch.setattr(saving, "storable", storable)
    jobs = [of_writes(0), of_writes(1), of_checkpoint(1, bad=1), of_writes(2), Sync("s")]
    saved, told, count = saving_of(*jobs)
    assert saved == [[("put_writes", "w0")], [("put_writes", "w1")]]
    assert (told, count) == ([StorageFailed(refused)], 2)
