"""Lists of checkpoints that only grow, on their way to a saver of another process."""

from collections import Counter
from contextlib import contextmanager

import pytest
from langchain_core.messages import AIMessage, HumanMessage
from langgraph.checkpoint.base import empty_checkpoint
from langgraph.checkpoint.memory import InMemorySaver

from distgraph.errors import SerializationError
from distgraph.persistence import place
from distgraph.persistence.encoded_items import SHORT
from distgraph.persistence.growing_lists import KEPT, SECONDS, KeptLists, SentLists
from distgraph.persistence.hosting import HostClient, host
from distgraph.persistence.proxies import stand_in
from distgraph.serde.pickling import dumps_data, loads

LONG = SHORT + 8
CONFIG = {"configurable": {"thread_id": "1", "checkpoint_ns": ""}}


class Time:
    """A clock, and the calls that are due later."""

    def __init__(self):
        self.now = 0.0
        self.due = []

    def after(self, seconds, call):
        self.due.append((self.now + seconds, call))

    def pass_(self, seconds):
        self.now += seconds
        due, self.due = self.due, []
        for when, call in due:
            if when <= self.now:
                call()
            else:
                self.due.append((when, call))


def sent_lists(*, channels=("items",)):
    return SentLists(lambda ns, name: name in channels)


def kept_lists(time=None):
    time = time or Time()
    return KeptLists(time.after, lambda: time.now)


def checkpoint(**values):
    return {"id": "c", "channel_values": values}


def carried(sent, kept, value):
    short = sent.shortened("", checkpoint(first=1, items=value, last=2))
    return kept.completed(loads(dumps_data(short)))


def tail(sent, value, ns=""):
    return sent.shortened(ns, checkpoint(items=value)).tails["items"].items


def test_of_a_list_that_grew_the_new_items_are_sent():
    sent, items = sent_lists(), list(range(LONG))
    assert tail(sent, items) == items
    assert tail(sent, [*items, "new"]) == ["new"]
    assert tail(sent, [*items, "new"]) == []


def test_of_a_list_that_changed_what_follows_the_change_is_sent():
    sent, items = sent_lists(), [object() for _ in range(LONG)]
    tail(sent, items)
    changed = [*items[:10], "other", *items[11:]]
    assert tail(sent, changed) == changed[10:]
    assert tail(sent, changed[:-2]) == []


def test_a_checkpoint_arrives_as_it_was_also_in_the_order_of_its_channels():
    sent, kept, items = sent_lists(), kept_lists(), [str(i) for i in range(LONG)]
    for value in (items, [*items, "new"], items[:-1], items[5:], [*items[:7], "x", *items[8:]]):
        arrived = carried(sent, kept, value)
        assert arrived == checkpoint(first=1, items=value, last=2)
        assert list(arrived["channel_values"]) == ["first", "items", "last"]


def test_each_checkpoint_has_a_list_of_its_own_of_the_same_items():
    sent, kept, items = sent_lists(), kept_lists(), [[i] for i in range(LONG)]
    first = carried(sent, kept, items)["channel_values"]["items"]
    first.append("of the saver")
    second = carried(sent, kept, [*items, "new"])["channel_values"]["items"]
    assert second == [*items, "new"]
    assert all(one is other for one, other in zip(first[:LONG], second, strict=False))


def test_a_message_that_has_no_id_yet_is_sent_again_and_what_follows_it():
    items = [HumanMessage("a", id=str(i)) for i in range(LONG)]
    fresh = AIMessage("b")
    sent = sent_lists()
    tail(sent, [*items, fresh, items[0]])
    fresh.id = "now"
    assert tail(sent, [*items, fresh, items[0]]) == [fresh, items[0]]


def test_short_lists_and_other_channels_are_sent_whole():
    items = list(range(LONG))
    assert sent_lists().shortened("", checkpoint(items=items[:SHORT])) is None
    assert sent_lists(channels=()).shortened("", checkpoint(items=items)) is None
    assert sent_lists().shortened("", checkpoint(items=tuple(items))) is None


def test_namespaces_have_lists_of_their_own():
    sent, items = sent_lists(), list(range(LONG))
    tail(sent, items, "a:1")
    assert tail(sent, items, "b:2") == items


def test_what_was_forgotten_is_sent_whole():
    sent, kept, items = sent_lists(), kept_lists(), list(range(LONG))
    assert carried(sent, kept, items) is not None
    assert carried(sent, kept_lists(), [*items, "new"]) is None
    sent.forget()
    assert tail(sent, items) == items


def test_lists_that_are_not_used_are_dropped_after_a_while():
    time = Time()
    kept, items = kept_lists(time), list(range(LONG))
    used, unused = sent_lists(), sent_lists()
    carried(unused, kept, items)
    time.pass_(SECONDS - 1)
    carried(used, kept, items)
    time.pass_(1)
    assert carried(unused, kept, items) is None
    assert carried(used, kept, items) is not None
    time.pass_(SECONDS)
    assert time.due == []


def test_the_lists_used_last_are_kept():
    kept, items = kept_lists(), list(range(LONG))
    runs = [sent_lists() for _ in range(KEPT + 1)]
    for run in runs:
        carried(run, kept, items)
    assert carried(runs[0], kept, items) is None
    assert carried(runs[1], kept, items) is not None


# --- with a saver of another process --------------------------------------------------------------


class Messages(HostClient):
    """Counts its messages."""

    sent = 0

    def forward(self, *args):
        self.sent += 1
        return super().forward(*args)


class Noting(InMemorySaver):
    """Notes the checkpoints that it is given; the first ``failing`` calls fail."""

    def __init__(self):
        super().__init__()
        self.given = []
        self.failing = 0

    def put(self, config, checkpoint, metadata, new_versions):
        if self.failing:
            self.failing -= 1
            raise OSError("full")
        self.given.append(checkpoint)
        return super().put(config, checkpoint, metadata, new_versions)


@pytest.fixture
def saver():
    return Noting()


@pytest.fixture
def client():
    port = host().listen()
    made = Messages(port.ticket)
    yield made
    made.close()
    port.close()


def far(saver, client):
    made = stand_in(place(saver), client)
    made.send_tails(lambda ns, name: name == "items")
    return made


@pytest.fixture
def remote(saver, client):
    return far(saver, client)


def put(remote, items):
    versions = {"items": len(items)}
    whole = {**empty_checkpoint(), "channel_values": {"items": items}, "channel_versions": versions}
    return whole, remote.put(CONFIG, whole, {"step": 1}, versions)


def test_the_saver_is_given_whole_checkpoints(saver, remote):
    items = [HumanMessage("a", id=str(i)) for i in range(LONG)]
    puts = [put(remote, items[:count]) for count in range(LONG)]
    assert saver.given == [whole for whole, _ in puts]
    assert saver.get_tuple(puts[-1][1]).checkpoint["channel_values"]["items"] == items[: LONG - 1]


def test_after_a_failure_of_the_saver_the_next_checkpoint_is_whole(saver, remote):
    items = list(range(LONG))
    put(remote, items)
    saver.failing = 1
    with pytest.raises(OSError, match="full"):
        put(remote, [*items, "a"])
    put(remote, [*items, "a", "b"])
    assert saver.given[-1]["channel_values"]["items"] == [*items, "a", "b"]


def test_a_saver_process_that_has_dropped_a_list_is_sent_it_again(saver, remote, monkeypatch):
    items = list(range(LONG))
    put(remote, items)
    monkeypatch.setattr(host(), "_lists", KeptLists())
    put(remote, [*items, "a"])
    put(remote, [*items, "a", "b"])
    given = [c["channel_values"]["items"] for c in saver.given]
    assert given == [items, [*items, "a"], [*items, "a", "b"]]


def test_what_cannot_be_sent_is_named_by_its_place_in_the_checkpoint(remote):
    items = [*range(LONG), open(__file__)]  # noqa: SIM115
    with pytest.raises(SerializationError, match=r'channel_values"\]\["items"\]\[24\]'):
        put(remote, items)
    items.pop().close()


def step(number, items):
    """Return the saves of a step: the writes of a task, and the checkpoint with the items."""
    versions = {"items": len(items)}
    whole = {**empty_checkpoint(), "channel_values": {"items": items}, "channel_versions": versions}
    at = {"configurable": {**CONFIG["configurable"], "checkpoint_id": f"c{number}"}}
    writes = ("put_writes", (at, [("items", items[-1:])], f"t{number}", "path"))
    return [
        writes,
        ("put", (CONFIG, {**whole, "id": f"c{number + 1}"}, {"step": number}, versions)),
    ]


def test_saves_of_several_steps_go_in_one_message(saver, client, remote):
    items = [HumanMessage("a", id=str(i)) for i in range(LONG)]
    remote.save([call for at in range(4) for call in step(at, items[: LONG - 4 + at])])
    assert client.sent == 1
    assert [len(c["channel_values"]["items"]) for c in saver.given] == list(range(LONG - 4, LONG))
    assert saver.given[-1]["channel_values"]["items"] == items[:-1]
    written = {at: list(by_task) for (_, _, at), by_task in saver.writes.items()}
    assert written == {f"c{at}": [(f"t{at}", 0)] for at in range(4)}


def test_nothing_is_saved_behind_a_failure(saver, remote):
    items = list(range(LONG))
    saver.failing = 1
    with pytest.raises(OSError, match="full"):
        remote.save([*step(0, items), *step(1, items)])
    assert saver.given == []
    assert [at for _, _, at in saver.writes] == ["c0"]
    remote.save(step(1, [*items, "new"]))
    assert saver.given[-1]["channel_values"]["items"] == [*items, "new"]


def test_saves_whose_lists_were_dropped_are_made_again(saver, client, remote, monkeypatch):
    items = list(range(LONG))
    remote.save(step(0, items))
    monkeypatch.setattr(host(), "_lists", KeptLists())
    remote.save([*step(1, [*items, "a"]), *step(2, [*items, "a", "b"])])
    assert client.sent == 1 + 1 + 4
    assert saver.given[-1]["channel_values"]["items"] == [*items, "a", "b"]
    assert [at for _, _, at in saver.writes] == ["c0", "c1", "c2"]


def test_of_several_saves_the_one_that_cannot_be_sent_is_named(saver, remote):
    items = [*range(LONG), open(__file__)]  # noqa: SIM115
    with pytest.raises(SerializationError, match=r"writes\[0\]\[1\]\[0\]"):
        remote.save([*step(0, items[:-1]), *step(1, items)])
    assert len(saver.given) == 1
    items.pop().close()


def test_a_saver_in_memory_serializes_a_message_once(client):
    saver = InMemorySaver()
    remote, count, serde = far(saver, client), Counter(), saver.serde
    items = [HumanMessage("a", id=str(i)) for i in range(LONG)]

    for at in range(SHORT + 1, LONG + 1):
        with counted(count):
            remote.put(*step(at, items[:at])[1][1])
    assert count == dict.fromkeys(map(str, range(LONG)), 1)
    found = saver.get_tuple(CONFIG)
    assert found.checkpoint["channel_values"]["items"] == items
    blob = saver.blobs["1", "", "items", LONG]
    assert blob == serde.dumps_typed(items)


@contextmanager
def counted(count):
    """Count, by message id, how often messages are serialized."""
    dump = HumanMessage.model_dump

    def counting(self, **options):
        count[self.id] += 1
        return dump(self, **options)

    HumanMessage.model_dump = counting
    try:
        yield
    finally:
        HumanMessage.model_dump = dump
