"""LangGraph's dev server and ``distgraph serve``, told the same by the event protocol.

Both send the same events in each namespace on the channels that LangGraph's server delivers. What
is different on purpose is on the page "Event protocol", and is left out here by name.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple
from uuid import uuid4

import httpx
import pytest

pytest.importorskip("langgraph_api", reason="needs langgraph-cli[inmem]")

from tests.ecosystem.dev_server import dev_server
from tests.serve.clients.live import serving

GRAPHS = Path(__file__).with_name("protocol_graphs.py")
NAMES = ("ask", "chat", "fail", "inside", "nested", "slow", "two", "work")
DELIVERED = ["values", "messages", "lifecycle", "input"]
"""The channels on which LangGraph's server delivers something."""

ENDS = ("completed", "failed", "interrupted")

Event = dict[str, Any]
Told = list[Any]
"""What a server did, as far as it is to be the same."""


class Servers(NamedTuple):
    langgraph: str
    ours: str


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    folder = tmp_path_factory.mktemp("protocol")
    graphs = {name: f"{GRAPHS}:{name}" for name in NAMES}
    config = json.dumps({"dependencies": ["."], "graphs": graphs})
    for name in ("theirs", "ours"):
        (folder / name).mkdir()
        (folder / name / "langgraph.json").write_text(config)
    with dev_server(folder / "theirs") as theirs, serving(folder / "ours") as ours:
        yield Servers(theirs, ours)


class Thread:
    """A thread of a server, its one event stream, and what is to be the same."""

    def __init__(self, url: str) -> None:
        self.path = f"/threads/{uuid4()}"
        self.http = httpx.Client(base_url=url, timeout=30)
        self.last = 0

    def command(self, method: str, **params: Any) -> Any:
        body = {"id": 3, "method": method, "params": params}
        answer = self.http.post(f"{self.path}/commands", json=body).json()
        return answer.get("error", answer["type"])

    def start(self, graph: str, input: Any, **params: Any) -> Any:
        return self.command("run.start", assistant_id=graph, input=input, **params)

    def events(self, runs: int = 1, **body: Any) -> list[Event]:
        """Return the events after ``last`` up to the ends of some runs, and what comes at once
        after them: LangGraph's server sends the last values behind the end of an interrupted
        run."""
        found: list[Event] = []
        for timeout in (30, 0.7) if runs else (0.7,):
            asked = {"channels": DELIVERED, **body, "since": self.last}
            with suppress(httpx.ReadTimeout):
                for event in self._read(asked, timeout):
                    found.append(event)
                    self.last = event["seq"]
                    if timeout == 30 and sum(map(_ends_run, found)) == runs:
                        break
        assert sum(map(_ends_run, found)) >= runs, found
        return found

    def _read(self, body: dict[str, Any], timeout: float) -> Iterator[Event]:
        path = f"{self.path}/stream/events"
        with self.http.stream("POST", path, json=body, timeout=timeout) as response:
            assert response.status_code == 200, response.read()
            for line in response.iter_lines():
                if line.startswith("data: "):
                    yield json.loads(line.removeprefix("data: "))

    def run(self, graph: str, input: Any, **params: Any) -> list[Event]:
        assert self.start(graph, input, **params) == "success"
        return self.events()


def _ends_run(event: Event) -> bool:
    params = event["params"]
    at_root = event["method"] == "lifecycle" and not params["namespace"]
    return at_root and params["data"]["event"] in ENDS


def questions(events: list[Event]) -> dict[str, str]:
    """Return the ids of interrupts, by their payloads."""
    return {
        str(event["params"]["data"]["payload"]): event["params"]["data"]["interrupt_id"]
        for event in events
        if event["method"] == "input.requested"
    }


def shown(events: list[Event]) -> Told:
    """Return events without ids and times, in the order of each namespace and channel.

    Left out: ``input.answered``, which only this server sends; the additional field ``value`` of a
    question; what identifies a message and its model; the ends of subgraphs also name the task.
    """
    found: dict[str, list[Any]] = {}
    for event in events:
        method, params = event["method"], event["params"]
        data = params["data"]
        if method == "input.answered":
            continue
        if method == "lifecycle":
            data = {key: data[key] for key in ("event", "graph_name", "error") if key in data}
        elif method == "input.requested":
            data = data["payload"]
        elif method == "messages":
            data = {k: v for k, v in data.items() if k not in ("id", "run_id", "metadata")}
        elif "messages" in data:
            data = [(message["type"], _text(message["content"])) for message in data["messages"]]
        namespace = [segment.partition(":")[0] for segment in params["namespace"]]
        found.setdefault(f"{namespace} {method}", []).append(data)
    return sorted(found.items())


def _text(content: Any) -> str:
    return content if isinstance(content, str) else "".join(part["text"] for part in content)


Talk = Callable[[Thread], Told]


def plain(graph: str, input: Any, **params: Any) -> Talk:
    return lambda thread: shown(thread.run(graph, input, **params))


def replayed(thread: Thread) -> Told:
    first = thread.run("work", {"done": []})
    numbers = [event["seq"] for event in first]
    thread.last = 0
    again = thread.events()
    thread.last = numbers[3]
    rest = thread.events()
    return [
        [(e["seq"], e["event_id"]) for e in again] == [(e["seq"], e["event_id"]) for e in first],
        [event["seq"] for event in rest] == numbers[4:],
        numbers == sorted(set(numbers)),
        shown(again),
    ]


def chosen(thread: Thread) -> Told:
    thread.run("work", {"done": []})
    told: Told = []
    for body in (
        {"namespaces": [["sub"]]},
        {"namespaces": [[]], "depth": 0},
        {"namespaces": [[]], "depth": 1},
        {"depth": 0},
    ):
        thread.last = 0
        at_root = body.get("namespaces") != [["sub"]]
        told.append(shown(thread.events(int(at_root), channels=["values", "lifecycle"], **body)))
    return told


def answered(graph: str) -> Talk:
    def talk(thread: Thread) -> Told:
        asked = thread.run(graph, {"question": "q"})
        (interrupt,) = questions(asked).values()
        given: Any = {"namespace": [], "interrupt_id": interrupt, "response": "yes"}
        told = [shown(asked), thread.command("input.respond", **given), shown(thread.events())]
        return [*told, thread.command("input.respond", **given)]

    return talk


def answered_by_a_start(thread: Thread) -> Told:
    return [shown(thread.run("ask", {"question": "q"})), shown(thread.run("ask", {"other": "x"}))]


def both_answered(thread: Thread) -> Told:
    asked = thread.run("two", {"got": []})
    responses = [
        {"namespace": [], "interrupt_id": interrupt, "response": payload.upper()}
        for payload, interrupt in sorted(questions(asked).items())
    ]
    return [thread.command("input.respond", responses=responses), shown(thread.events())]


def one_after_the_other(thread: Thread) -> Told:
    told: Told = []
    for payload, interrupt in sorted(questions(thread.run("two", {"got": []})).items()):
        given: Any = {"namespace": [], "interrupt_id": interrupt, "response": payload.upper()}
        told += [thread.command("input.respond", **given), shown(thread.events())]
    return told


def enqueued(thread: Thread) -> Told:
    told = [thread.start("slow", {"done": []})]
    time.sleep(0.5)
    return [*told, thread.start("slow", {"done": []}), shown(thread.events(2))]


def forked(thread: Thread) -> Told:
    thread.run("work", {"done": []})
    history = thread.http.post(f"{thread.path}/history", json={"limit": 10}).json()
    (before,) = [state for state in history if state["next"] == ["sub"]]
    configurable = {"checkpoint_id": before["checkpoint"]["checkpoint_id"]}
    return shown(thread.run("work", None, config={"configurable": configurable}))


def also_by_the_run_protocol(thread: Thread) -> Told:
    thread.run("work", {"done": []})
    (run,) = thread.http.get(f"{thread.path}/runs").json()
    state = thread.http.get(thread.path).json()
    history = thread.http.post(f"{thread.path}/history", json={"limit": 10}).json()
    return [
        run["status"],
        {key: state[key] for key in ("status", "values", "interrupts", "error")},
        [(each["next"], each["metadata"]["source"], each["metadata"]["step"]) for each in history],
    ]


def refused(thread: Thread) -> Told:
    told: Told = []
    bodies: list[Any] = [
        {},
        [],
        3,
        {"id": 1},
        {"id": 1, "method": 3},
        {"method": "run.start", "params": {}},
        {"id": 1, "method": "nope"},
        {"id": 1, "method": "run.start"},
        {"id": 1, "method": "run.start", "params": {"assistant_id": 3}},
        {"id": 1, "method": "input.respond"},
        {"id": 1, "method": "input.respond", "params": {"responses": []}},
        {"id": 1, "method": "input.respond", "params": {"interrupt_id": "x", "response": 1}},
        {"id": 1, "method": "subscription.subscribe", "params": {}},
    ]
    for body in bodies:
        answered = thread.http.post(f"{thread.path}/commands", json=body)
        found = answered.json()
        told.append((body, answered.status_code, found["type"], found["id"], found["error"]))
    unreadable = thread.http.post(f"{thread.path}/commands", content=b"{")
    told.append(unreadable.status_code)
    streams: list[Any] = [{}, [], {"channels": "values"}, {"channels": ["x"]}, {"channels": [3]}]
    for body in streams:
        refusal = thread.http.post(f"{thread.path}/stream/events", json=body)
        told.append((body, refusal.status_code, list(refusal.json())))
    unreadable = thread.http.post(f"{thread.path}/stream/events", content=b"{")
    return [*told, unreadable.status_code]


TALKS: dict[str, Talk] = {
    "a subgraph": plain("work", {"done": []}),
    "a chat": plain("chat", {"messages": [{"type": "human", "content": "hi", "id": "h"}]}),
    "a chat in a subgraph": plain("inside", {"messages": [{"type": "human", "content": "hi"}]}),
    "a failure": plain("fail", {"done": []}),
    "a failure in a subgraph": plain("work", {"done": [], "fail": True}),
    "replay by number": replayed,
    "namespaces and depths": chosen,
    "a question": answered("ask"),
    "a question in a subgraph": answered("nested"),
    "an input as answer": answered_by_a_start,
    "two questions at once": both_answered,
    "two questions, one after the other": one_after_the_other,
    "two runs": enqueued,
    "a fork": forked,
    "the run protocol": also_by_the_run_protocol,
    "what is refused": refused,
}


@pytest.mark.parametrize("name", TALKS)
def test_both_servers_tell_the_same(servers: Servers, name: str) -> None:
    theirs, ours = (TALKS[name](Thread(url)) for url in servers)
    assert ours == theirs
