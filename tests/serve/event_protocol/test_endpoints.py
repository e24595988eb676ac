"""Commands and event streams over HTTP and WebSocket, against a server."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any
from uuid import uuid4

import httpx
import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from tests.serve.event_protocol.support import TYPES

ALL = [
    "values",
    "updates",
    "messages",
    "tools",
    "lifecycle",
    "input",
    "tasks",
    "checkpoints",
    "custom",
]

Event = dict[str, Any]


class Thread:
    """A thread of the server, as a client sees it."""

    def __init__(self, url: str) -> None:
        self.id = str(uuid4())
        self.path = f"{url}/threads/{self.id}"

    def post(self, body: Any) -> httpx.Response:
        return httpx.post(f"{self.path}/commands", json=body, timeout=60)

    def command(self, method: str, **params: Any) -> dict[str, Any]:
        answer: dict[str, Any] = self.post({"id": 7, "method": method, "params": params}).json()
        assert answer["id"] == 7
        return answer

    def start(self, graph: str, input: Any, **params: Any) -> dict[str, Any]:
        answer = self.command("run.start", assistant_id=graph, input=input, **params)
        assert answer["type"] == "success", answer
        return answer

    @contextmanager
    def events(self, **body: Any) -> Iterator[Iterator[Event]]:
        """Open an event stream; all channels where none are named."""
        request = {"channels": ALL, **body}
        with httpx.stream(
            "POST", f"{self.path}/stream/events", json=request, timeout=10
        ) as response:
            assert response.status_code == 200, response.read()
            yield _parsed(response.iter_lines())

    def until(self, *ends: str, **body: Any) -> list[Event]:
        """Return the events up to the end of a run."""
        with self.events(**body) as events:
            return up_to(events, *ends)


def _parsed(lines: Iterator[str]) -> Iterator[Event]:
    for line in lines:
        if line.startswith("data: "):
            yield json.loads(line.removeprefix("data: "))


def up_to(events: Iterator[Event], *ends: str) -> list[Event]:
    """Return the events up to the root's ``lifecycle`` event with one of these names."""
    found = []
    for event in events:
        found.append(event)
        at_root = event["method"] == "lifecycle" and not event["params"]["namespace"]
        if at_root and event["params"]["data"]["event"] in ends:
            break
    return found


def of(events: list[Event], method: str) -> list[Any]:
    return [event["params"]["data"] for event in events if event["method"] == method]


@pytest.fixture
def thread(url: str) -> Thread:
    return Thread(url)


# --- runs and their events ------------------------------------------------------------------------


def test_a_run_delivers_on_all_nine_channels(thread: Thread) -> None:
    thread.start("work", {"question": "ok?"})
    work = thread.until("interrupted")
    talk = Thread(thread.path.rpartition("/threads/")[0])
    talk.start("agent", {"messages": [{"role": "user", "content": "weather"}]})
    chat = talk.until("completed")

    assert {event["method"] for event in work} | {event["method"] for event in chat} == {
        "values",
        "updates",
        "messages",
        "tools",
        "lifecycle",
        "input.requested",
        "tasks",
        "checkpoints",
        "custom",
    }
    for event in (*work, *chat):
        if event["method"] in TYPES:
            TYPES[event["method"]].validate_python(event["params"]["data"])


def test_the_events_of_a_question_and_its_answer(thread: Thread) -> None:
    thread.start("work", {"question": "ok?"})
    with thread.events(channels=["input", "lifecycle", "custom:a2a"]) as events:
        asked = up_to(events, "interrupted")
        [question] = of(asked, "input.requested")
        assert question["payload"] == question["value"] == {"question": "ok?"}

        answer = thread.command(
            "input.respond", namespace=[], interrupt_id=question["interrupt_id"], response="yes"
        )
        answered = up_to(events, "completed")

    assert answer["type"] == "success"
    assert answer["result"] == {}
    assert of(asked, "custom") == [{"name": "a2a", "payload": {"hello": "named"}}]
    assert of(answered, "input.answered") == [{"interrupt_ids": [question["interrupt_id"]]}]
    assert answered[0]["seq"] > answer["meta"]["applied_through_seq"] >= asked[-1]["seq"]


def test_every_reader_gets_the_same_numbers_and_a_returning_one_the_rest(thread: Thread) -> None:
    thread.start("work", {"question": "ok?"})
    first = thread.until("interrupted")
    thread.start("work", "yes")
    rest = thread.until("completed", since=first[-1]["seq"])
    again = thread.until("completed")
    middle = first[len(first) // 2]["seq"]
    late = thread.until("completed", since=middle)

    ids = [event["event_id"] for event in (*first, *rest)]
    assert [event["event_id"] for event in again] == ids
    assert len(ids) == len(set(ids))
    assert [e["event_id"] for e in late] == [
        e["event_id"] for e in (*first, *rest) if e["seq"] > middle
    ]
    assert [event["seq"] for event in again] == sorted(event["seq"] for event in again)


def test_a_reader_may_come_back_in_the_middle_of_a_message(thread: Thread) -> None:
    thread.start("agent", {"messages": [{"role": "user", "content": "one two three"}]})
    whole = thread.until("completed", channels=["messages", "lifecycle"])
    for event in whole[:-1]:
        rest = thread.until("completed", channels=["messages", "lifecycle"], since=event["seq"])
        assert [e["params"]["data"] for e in rest] == [
            e["params"]["data"] for e in whole if e["seq"] > event["seq"]
        ]


def test_the_input_of_a_thread_that_waits_is_the_answer(thread: Thread) -> None:
    thread.start("work", {"question": "ok?"})
    first = thread.until("interrupted")
    thread.start("work", {"free": "text"})
    rest = thread.until("completed", since=first[-1]["seq"])
    assert of(rest, "values")[-1]["answer"] == "{'free': 'text'}"


def test_a_failure_keeps_its_error_for_later_readers(thread: Thread) -> None:
    thread.start("failing", {"question": "x"})
    live, replay = thread.until("failed"), thread.until("failed")
    assert [of(each, "lifecycle")[-1]["error"] for each in (live, replay)] == ["boom", "boom"]


def test_a_cancelled_run_is_interrupted(thread: Thread) -> None:
    run_id = thread.start("slow", {"question": "x"})["result"]["run_id"]
    with thread.events(channels=["custom", "lifecycle"]) as events:
        while next(events)["method"] != "custom":
            pass
        cancel = httpx.post(
            f"{thread.path}/runs/{run_id}/cancel?wait=0&action=interrupt", timeout=60
        )
        assert cancel.status_code == 202
        assert of(up_to(events, "interrupted"), "lifecycle")[-1]["event"] == "interrupted"


def test_a_run_can_go_on_from_an_earlier_checkpoint(thread: Thread) -> None:
    thread.start("work", {"question": "ok?"})
    first = thread.until("interrupted")
    after_first = next(
        data["id"]
        for event in first
        if event["method"] == "checkpoints" and not event["params"]["namespace"]
        for data in [event["params"]["data"]]
        if data["step"] == 1
    )
    thread.start("work", None, config={"configurable": {"checkpoint_id": after_first}})
    rest = thread.until("interrupted", since=first[-1]["seq"])
    nodes = [data["node"] for data in of(rest, "updates")]
    assert nodes == ["inner", "sub"]


def test_a_stream_opened_before_the_thread_gets_its_runs(thread: Thread) -> None:
    with thread.events(channels=["lifecycle"]) as events:
        thread.start("failing", {"question": "x"})
        assert len(up_to(events, "failed")) == 2


def test_a_silent_stream_shows_that_it_lives(thread: Thread) -> None:
    body = {"channels": ["values"]}
    with httpx.stream("POST", f"{thread.path}/stream/events", json=body, timeout=60) as response:
        assert next(response.iter_lines()) == ": heartbeat"


def test_a_reader_learns_that_something_is_no_longer_kept(
    thread: Thread, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DISTGRAPH_STREAM_KEPT_EVENTS", "6")
    run_id = thread.start("work", {"question": "ok?"})["result"]["run_id"]
    httpx.get(f"{thread.path}/runs/{run_id}/join", timeout=60)

    with thread.events(since=1) as events:
        lost = next(events)
        assert (lost["type"], lost["id"]) == ("error", None)
        assert "no longer kept" in lost["message"]
        rest = up_to(events, "interrupted")
    assert 0 < len(rest) < 20
    with thread.events(since=rest[0]["seq"]) as events:
        assert [e["seq"] for e in up_to(events, "interrupted")] == [e["seq"] for e in rest[1:]]
    with thread.events() as events:
        assert [e["seq"] for e in up_to(events, "interrupted")][-len(rest) :] == [
            e["seq"] for e in rest
        ]


def test_runs_of_the_run_protocol_are_events_too(thread: Thread, url: str) -> None:
    httpx.post(f"{url}/threads", json={"thread_id": thread.id}, timeout=60)
    body = {"assistant_id": "work", "input": {"question": "ok?"}, "stream_mode": ["updates"]}
    httpx.post(f"{thread.path}/runs/wait", json=body, timeout=60)
    events = thread.until("interrupted")
    assert [data["node"] for data in of(events, "updates")] == ["first", "sub"]
    assert len(of(events, "input.requested")) == 1


# --- refusals -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "id"),
    [
        ([], None),
        ({"method": "run.start"}, None),
        ({"id": "1", "method": "x"}, None),
        ({"id": 1}, 1),
    ],
)
def test_what_is_no_command_is_refused(thread: Thread, body: Any, id: int | None) -> None:
    response = thread.post(body)
    assert response.status_code == 400
    assert (response.json()["id"], response.json()["error"]) == (id, "invalid_argument")


def test_what_is_no_json_is_refused(thread: Thread) -> None:
    response = httpx.post(f"{thread.path}/commands", content=b"\x80\x04pickle", timeout=60)
    assert response.status_code == 400
    assert response.json()["error"] == "invalid_argument"
    opened = httpx.post(f"{thread.path}/stream/events", content=b"{", timeout=60)
    assert (opened.status_code, opened.json()) == (400, {"detail": "Invalid JSON in request body"})


@pytest.mark.parametrize(
    ("method", "params", "code"),
    [
        ("nope", {}, "unknown_command"),
        ("state.get", {"namespace": []}, "not_supported"),
        ("subscription.subscribe", {"channels": ["values"]}, "not_supported"),
        ("run.start", {"assistant_id": "nope", "input": {}}, "invalid_argument"),
        ("input.respond", {"namespace": [], "interrupt_id": "i", "response": 1}, "no_such_run"),
    ],
)
def test_a_command_that_cannot_be_is_refused(
    thread: Thread, method: str, params: dict[str, Any], code: str
) -> None:
    answer = thread.command(method, **params)
    assert (answer["type"], answer["error"]) == ("error", code)


@pytest.mark.parametrize("way", ["input.respond", "run.start"])
def test_an_answer_may_come_while_the_run_that_asks_has_not_ended(thread: Thread, way: str) -> None:
    with thread.events(channels=["input", "values", "lifecycle"]) as events:
        thread.start("slow_question", {"question": "ok?"})
        while (event := next(events))["method"] != "input.requested":
            pass
        interrupt_id = event["params"]["data"]["interrupt_id"]
        if way == "run.start":
            thread.start("slow_question", "yes")
        else:
            first = thread.command(way, namespace=[], interrupt_id=interrupt_id, response="yes")
            again = thread.command(way, namespace=[], interrupt_id=interrupt_id, response="no")
            assert (first["type"], again.get("error")) == ("success", "no_such_interrupt")
        after = up_to(events, "completed")
    assert [data["event"] for data in of(after, "lifecycle")] == [
        "interrupted",
        "running",
        "completed",
    ]
    assert of(after, "values")[-1]["answer"] == "yes"


def test_of_answers_that_arrive_at_once_one_counts(thread: Thread) -> None:
    thread.start("work", {"question": "ok?"})
    [question] = of(thread.until("interrupted"), "input.requested")
    params = {"namespace": [], "interrupt_id": question["interrupt_id"]}
    with ThreadPoolExecutor(8) as pool:
        answers = list(
            pool.map(lambda n: thread.command("input.respond", response=n, **params), range(8))
        )
    kinds = [answer.get("error") or answer["type"] for answer in answers]
    assert sorted(kinds) == ["no_such_interrupt"] * 7 + ["success"]


def test_an_answer_counts_once(thread: Thread) -> None:
    thread.start("work", {"question": "ok?"})
    [question] = of(thread.until("interrupted"), "input.requested")
    params = {"namespace": [], "interrupt_id": question["interrupt_id"], "response": 1}
    assert thread.command("input.respond", **params)["type"] == "success"
    assert thread.command("input.respond", **params)["error"] == "no_such_interrupt"


@pytest.mark.parametrize("body", [{}, {"channels": []}, {"channels": ["value"]}])
def test_an_event_stream_without_channels_is_refused(thread: Thread, body: Any) -> None:
    response = httpx.post(f"{thread.path}/stream/events", json=body, timeout=60)
    assert response.status_code == 400
    assert "channel" in response.json()["detail"]


def test_a_thread_id_is_a_uuid(url: str) -> None:
    response = httpx.post(f"{url}/threads/mine/commands", json={}, timeout=60)
    assert response.status_code == 422


# --- WebSocket ------------------------------------------------------------------------------------


@contextmanager
def socket(thread: Thread) -> Iterator[ClientConnection]:
    address = thread.path.replace("http://", "ws://") + "/stream/events"
    with connect(address, close_timeout=1) as connection:
        yield connection


def received(connection: ClientConnection) -> Any:
    return json.loads(connection.recv(timeout=60))


def sent(connection: ClientConnection, number: int, method: str, **params: Any) -> Any:
    """Send a command; return its answer. Events that come before it are lost."""
    connection.send(json.dumps({"id": number, "method": method, "params": params}))
    while True:
        answer = received(connection)
        if answer["type"] != "event":
            return answer


def socket_events(connection: ClientConnection) -> Iterator[Event]:
    while True:
        message = received(connection)
        if message["type"] == "event":
            yield message


def test_a_websocket_takes_commands_and_delivers_what_http_delivers(thread: Thread) -> None:
    with socket(thread) as connection:
        subscribed = sent(connection, 1, "subscription.subscribe", channels=ALL)
        assert subscribed["result"] == {"subscription_id": "sub-1", "replayed_events": 0}
        connection.send(
            json.dumps(
                {
                    "id": 2,
                    "method": "run.start",
                    "params": {"assistant_id": "work", "input": {"question": "ok?"}},
                }
            )
        )
        events = up_to(socket_events(connection), "interrupted")
    assert [e["event_id"] for e in events] == [e["event_id"] for e in thread.until("interrupted")]


def test_a_later_subscription_gets_what_it_missed_before_what_is_new(thread: Thread) -> None:
    thread.start("work", {"question": "ok?"})
    with socket(thread) as connection:
        sent(connection, 1, "subscription.subscribe", channels=["lifecycle"])
        up_to(socket_events(connection), "interrupted")
        second = sent(connection, 2, "subscription.subscribe", channels=["updates"])
        missed = [received(connection) for _ in range(second["result"]["replayed_events"])]
        assert [data["node"] for data in of(missed, "updates")] == ["first", "inner", "sub"]

        connection.send(
            json.dumps(
                {"id": 3, "method": "run.start", "params": {"assistant_id": "work", "input": "y"}}
            )
        )
        new = up_to(socket_events(connection), "completed")
    assert [data["node"] for data in of(new, "updates")] == ["ask"]


def test_a_subscription_ends_when_asked_to(thread: Thread) -> None:
    with socket(thread) as connection:
        name = sent(connection, 1, "subscription.subscribe", channels=["updates"])["result"]
        sent(connection, 2, "subscription.subscribe", channels=["lifecycle"])
        end = {"subscription_id": name["subscription_id"]}
        assert sent(connection, 3, "subscription.unsubscribe", **end)["type"] == "success"
        assert sent(connection, 4, "subscription.unsubscribe", **end)["error"] == (
            "no_such_subscription"
        )
        sent(connection, 5, "run.start", assistant_id="failing", input={"question": "x"})
        assert {e["method"] for e in up_to(socket_events(connection), "failed")} == {"lifecycle"}


@pytest.mark.parametrize("frame", ["no json", "[]", '{"id": "1"}'])
def test_a_bad_frame_is_answered_and_the_socket_stays(thread: Thread, frame: str) -> None:
    with socket(thread) as connection:
        connection.send(frame)
        answer = received(connection)
        assert (answer["type"], answer["id"], answer["error"]) == (
            "error",
            None,
            "invalid_argument",
        )
        assert sent(connection, 1, "nope")["error"] == "unknown_command"


def test_a_socket_of_no_thread_closes_with_the_status(url: str) -> None:
    with connect(f"{url.replace('http', 'ws')}/threads/mine/stream/events") as connection:
        with pytest.raises(ConnectionClosed):
            connection.recv(timeout=60)
        assert connection.close_code == 4422
