"""What tests of the server have in common."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

import httpx


class Event(NamedTuple):
    event: str
    data: Any
    id: str | None


def parse_sse(text: str) -> list[Event]:
    """Return the events of a stream."""
    found = []
    for block in text.split("\r\n\r\n"):
        fields = dict(
            line.split(": ", 1) for line in block.split("\r\n") if line and not line.startswith(":")
        )
        if "event" in fields:
            found.append(Event(fields["event"], json.loads(fields["data"]), fields.get("id")))
    return found


def without_ids(event: str) -> str:
    """Return an event's name without the task ids of its namespace."""
    mode, *ns = event.split("|")
    return "|".join((mode, *(part.split(":")[0] for part in ns)))


def new_thread(http: httpx.Client, **body: Any) -> str:
    """Create a thread, and return its id."""
    made = http.post("/threads", json=body)
    assert made.status_code == 200, made.text
    return str(made.json()["thread_id"])


def run(http: httpx.Client, thread_id: str | None, **body: Any) -> httpx.Response:
    """Start a run, and wait for its result."""
    path = "/runs/wait" if thread_id is None else f"/threads/{thread_id}/runs/wait"
    return http.post(path, json=body)


def background(http: httpx.Client, thread_id: str, **body: Any) -> dict[str, Any]:
    """Start a run in the background."""
    made = http.post(f"/threads/{thread_id}/runs", json=body)
    assert made.status_code == 200, made.text
    started: dict[str, Any] = made.json()
    return started


def events(http: httpx.Client, thread_id: str | None, **body: Any) -> list[Event]:
    """Start a run, and return its events."""
    path = "/runs/stream" if thread_id is None else f"/threads/{thread_id}/runs/stream"
    response = http.post(path, json=body)
    assert response.status_code == 200, response.text
    return parse_sse(response.text)
