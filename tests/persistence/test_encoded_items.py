"""Messages of lists that grow are serialized once, to the bytes that LangGraph makes of them."""

import functools

import pytest
from langchain_core.messages import AIMessage, HumanMessage
from langgraph.checkpoint.base import empty_checkpoint
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.checkpoint.serde.jsonplus import JsonPlusSerializer

from distgraph.persistence.encoded_items import SHORT, EncodedLists, encoder_of
from tests.persistence.savers import config

LONG = SHORT + 8
SIZES = (0, 1, 3, 30, 254, 255, 256, 60_000, 65_535, 65_536, 70_000)


class Counted(HumanMessage):
    """Counts how often it is serialized."""

    times: int = 0

    def model_dump(self, **options):
        object.__setattr__(self, "times", self.times + 1)
        return super().model_dump(**options)


def encoded_lists(saver=None, channels=("items",)):
    return EncodedLists(lambda ns, name: name in channels, encoder_of(saver or InMemorySaver()))


def checkpoint(items):
    values = {"first": 1, "items": items, "last": [2]}
    return {**empty_checkpoint(), "channel_values": values}


@pytest.mark.parametrize(
    "item",
    [
        *[AIMessage("x" * size, id="1") for size in SIZES],
        *["x" * size for size in (0, 5, 70_000)],
        *[1, -1, None, 2.5, b"bytes", {"a": AIMessage("b")}, [HumanMessage("c")], ("t",), {1, 2}],
    ],
    ids=lambda item: type(item).__name__,
)
def test_an_item_is_serialized_to_the_same_bytes(item):
    encode, serde = encoder_of(InMemorySaver()), JsonPlusSerializer()
    assert serde.dumps_typed([0, encode(item)]) == serde.dumps_typed([0, item])


@pytest.mark.parametrize("size", range(1, 20))
def test_small_extensions_are_found_whatever_their_length(size):
    class Named:
        def get_secret_value(self):
            return "x" * size

    encode, serde = encoder_of(InMemorySaver()), JsonPlusSerializer()
    assert type(encode(Named())).__name__ == "Ext"
    assert serde.dumps_typed([encode(Named())]) == serde.dumps_typed([Named()])


def test_a_message_is_serialized_once_for_all_checkpoints():
    lists, items = encoded_lists(), [Counted("a", id=str(n)) for n in range(LONG)]
    serde = JsonPlusSerializer()
    for count in range(SHORT + 1, LONG + 1):
        serde.dumps_typed(lists.encoded("", checkpoint(items[:count])))
    assert [item.times for item in items] == [1] * LONG


def test_a_checkpoint_is_serialized_to_the_same_bytes():
    lists, serde = encoded_lists(), JsonPlusSerializer()
    items = [HumanMessage("a", id=str(n)) for n in range(LONG)]
    changed = [*items[:9], HumanMessage("b", id="9"), *items[10:]]
    for value in (items[:-4], items, changed, items[5:], [*items[:3], *items], items[:2]):
        whole = checkpoint(value)
        given = lists.encoded("", whole)
        assert serde.dumps_typed(given) == serde.dumps_typed(whole)
        assert whole["channel_values"]["items"] is value


def test_postgres_stores_the_bytes_that_it_would_make_itself(postgres):
    module = pytest.importorskip("langgraph.checkpoint.postgres")
    items = [HumanMessage("a", id=str(n)) for n in range(LONG)]
    whole = checkpoint(items)
    whole["channel_versions"] = versions = dict.fromkeys(whole["channel_values"], "1.0")
    with module.PostgresSaver.from_conn_string(postgres.new_database()) as saver:
        saver.setup()
        encoded = encoded_lists(saver).encoded("", whole)
        assert encoded is not whole
        for thread, given in (("plain", whole), ("encoded", encoded)):
            saver.put(config(thread), given, {"source": "input", "step": -1}, versions)
        stored = {
            thread: saver.conn.execute(
                "select channel, type, blob from checkpoint_blobs where thread_id = %s "
                "order by channel",
                [thread],
            ).fetchall()
            for thread in ("plain", "encoded")
        }
        read = saver.get_tuple(config("encoded")).checkpoint["channel_values"]
    assert stored["encoded"] == stored["plain"]
    assert [row["channel"] for row in stored["plain"]] == ["items", "last"]
    assert read == {"first": 1, "items": items, "last": [2]}


def test_a_message_that_has_no_id_yet_is_serialized_again():
    lists, serde = encoded_lists(), JsonPlusSerializer()
    items = [*(HumanMessage("a", id=str(n)) for n in range(LONG)), HumanMessage("b")]
    lists.encoded("", checkpoint(items))
    items[-1].id = "now"
    whole = checkpoint(items)
    assert serde.dumps_typed(lists.encoded("", whole)) == serde.dumps_typed(whole)


def test_other_channels_and_short_lists_are_left_as_they_are():
    items = [HumanMessage("a", id=str(n)) for n in range(LONG)]
    whole, short = checkpoint(items), checkpoint(items[:SHORT])
    assert encoded_lists(channels=()).encoded("", whole) is whole
    assert encoded_lists().encoded("", short) is short


def test_namespaces_have_lists_of_their_own():
    lists = encoded_lists()
    one, other = ([Counted("a", id=str(n)) for n in range(LONG)] for _ in range(2))
    for ns, items in (("a:1", one), ("b:2", other), ("a:1", one), ("b:2", other)):
        lists.encoded(ns, checkpoint(items))
    assert [item.times for item in (*one, *other)] == [1] * (2 * LONG)


def test_what_cannot_be_serialized_is_the_error_of_the_whole_list():
    lists, serde = encoded_lists(), JsonPlusSerializer()
    given = lists.encoded("", checkpoint([object()] * LONG))
    with pytest.raises(TypeError, match="not msgpack serializable: object"):
        serde.dumps_typed(given)


def patched():
    saver = InMemorySaver()
    saver.put = lambda *given: None
    return saver


class Derived(InMemorySaver):
    """May look at what it is given."""


class DerivedSerializer(JsonPlusSerializer):
    """May look at what it serializes."""


@pytest.mark.parametrize(
    "saver",
    [
        Derived(),
        patched(),
        InMemorySaver(serde=DerivedSerializer()),
        InMemorySaver(serde=JsonPlusSerializer(pickle_fallback=True)),
        None,
    ],
    ids=["derived", "patched", "derived serializer", "pickles", "of another process"],
)
def test_a_saver_that_may_look_at_messages_is_given_them(saver):
    assert encoder_of(saver) is None


def test_code_that_is_put_around_put_of_all_savers_is_given_messages(monkeypatch):
    put = InMemorySaver.put

    @functools.wraps(put)
    def around(*given):
        return put(*given)

    assert encoder_of(InMemorySaver()) is not None
    monkeypatch.setattr(InMemorySaver, "put", around)
    assert encoder_of(InMemorySaver()) is None


def test_what_was_saved_is_read_as_it_was():
    saver, items = InMemorySaver(), [HumanMessage("a", id=str(n)) for n in range(LONG)]
    given = encoded_lists(saver).encoded("", checkpoint(items))
    named = saver.put(config(), {**given, "channel_versions": {"items": 1}}, {}, {"items": 1})
    assert saver.get_tuple(named).checkpoint["channel_values"]["items"] == items
