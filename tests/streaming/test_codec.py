from __future__ import annotations

import sys
import threading
import types

import pytest

from distgraph.contract.stream import Blob, Event, Segment
from distgraph.errors import SerializationError
from distgraph.streaming.codec import decode_events, encode_events, join_events, pack_event


def in_segment(blob: Blob, count: int) -> Segment:
    return Segment("t1", 1, 3, 1, count, blob)


EVENTS = [
    Event((), "custom", {"i": 1}),
    Event(("child:id",), "values", [1, "two", None, b"three"]),
    Event((), "updates", b"bytes are a payload too"),
]


@pytest.mark.parametrize("count", [1, 2, 3])
def test_events_come_back_as_they_were_encoded(count: int) -> None:
    events = EVENTS[-count:]
    assert decode_events(in_segment(encode_events(events), count)) == events
    packed = join_events([pack_event(event) for event in events])
    assert decode_events(in_segment(packed, count)) == events


def test_an_event_is_the_snapshot_of_its_payload_at_the_time_of_packing() -> None:
    payload = {"n": 1}
    packed = [pack_event(Event((), "custom", payload))]
    payload["n"] = 2
    packed.append(pack_event(Event((), "custom", payload)))
    decoded = decode_events(in_segment(join_events(packed), 2))
    assert [event.payload for event in decoded] == [{"n": 1}, {"n": 2}]


def test_objects_that_encoded_events_share_stay_shared() -> None:
    state = {"key": ["value"]}
    blob = encode_events([Event((), "values", state), Event((), "debug", {"payload": state})])
    values, debug = decode_events(in_segment(blob, 2))
    assert debug.payload["payload"] is values.payload


def test_events_of_one_process_pass_through_as_they_are() -> None:
    payload = object()
    (event,) = decode_events(in_segment([Event((), "custom", payload)], 1))
    assert event.payload is payload


def test_an_unpicklable_payload_names_its_source_its_mode_and_the_remedy() -> None:
    event = Event((), "custom", {"lock": threading.Thread()})
    with pytest.raises(SerializationError, match="node 'plan': a dict .*'custom'.*plain data"):
        pack_event(event, "node 'plan'")
    with pytest.raises(SerializationError, match="node 'plan': a dict .*'custom'"):
        encode_events([EVENTS[0], event], "node 'plan'")


def test_functions_and_local_classes_travel_by_value() -> None:
    class Local:
        x = 3

    blob = pack_event(Event((), "custom", (lambda n: n + 1, Local())))
    function, local = decode_events(in_segment(blob, 1))[0].payload
    assert (function(1), local.x) == (2, 3)


def test_a_payload_whose_class_is_missing_where_it_is_read_says_so() -> None:
    module = types.ModuleType("worker_only")
    sys.modules["worker_only"] = module
    exec("class Payload: pass", module.__dict__)
    blob = pack_event(Event((), "custom", module.Payload()))
    del sys.modules["worker_only"]
    with pytest.raises(SerializationError, match=r"task 't1', step 3, .*worker_only.*importable"):
        decode_events(in_segment(blob, 1))
