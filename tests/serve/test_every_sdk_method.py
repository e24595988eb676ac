"""Each public method of LangGraph's Python SDK does its work against the server."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable
from typing import Any

import pytest
from langgraph_sdk import get_client, get_sync_client

from tests.serve.conftest import SocketServer
from tests.serve.described import Described

RESOURCES = ("assistants", "threads", "runs", "crons", "store")
WORK: dict[str, Any] = {"assistant_id": "work", "input": {"done": []}}
CRON = {"assistant_id": "work", "schedule": "0 9 * * 1", "input": {"done": []}}
Told = dict[str, Any]
"""The answers so far, by method; that of ``threads.create`` is the thread of the others."""


def thread(told: Told) -> str:
    return str(told["threads.create"]["thread_id"])


def on_thread(told: Told) -> dict[str, Any]:
    return {"thread_id": thread(told), **WORK}


def of_run(told: Told) -> dict[str, Any]:
    return {"thread_id": thread(told), "run_id": told["runs.create"]["run_id"]}


def assistant(told: Told) -> dict[str, Any]:
    return {"assistant_id": told["assistants.create"]["assistant_id"]}


def cron(told: Told) -> dict[str, Any]:
    return {"cron_id": told["crons.create"]["cron_id"]}


def slow(told: Told, number: int) -> dict[str, Any]:
    run = told["slow"][number]
    return {"thread_id": run["thread_id"], "run_id": run["run_id"]}


def item(told: Told) -> dict[str, Any]:
    return {"namespace": ["every", "method"], "key": "k"}


CALLS: dict[str, Callable[[Told], dict[str, Any]]] = {
    "assistants.create": lambda told: {"graph_id": "work", "name": "mine"},
    "assistants.get": assistant,
    "assistants.get_graph": lambda told: {**assistant(told), "xray": True},
    "assistants.get_schemas": assistant,
    "assistants.get_subgraphs": lambda told: {**assistant(told), "recurse": True},
    "assistants.update": lambda told: {**assistant(told), "metadata": {"a": 1}},
    "assistants.get_versions": assistant,
    "assistants.set_latest": lambda told: {**assistant(told), "version": 1},
    "assistants.search": lambda told: {"graph_id": "work", "select": ["assistant_id"]},
    "assistants.count": lambda told: {"graph_id": "work"},
    "threads.create": lambda told: {"metadata": {"graph_id": "work"}},
    "threads.get": lambda told: {"thread_id": thread(told)},
    "threads.update": lambda told: {"thread_id": thread(told), "metadata": {"a": 1}},
    "runs.wait": on_thread,
    "runs.stream": on_thread,
    "runs.create": on_thread,
    "runs.join": of_run,
    "runs.join_stream": lambda told: {**of_run(told), "last_event_id": "-1"},
    "runs.get": of_run,
    "runs.list": lambda told: {"thread_id": thread(told), "select": ["run_id"]},
    "runs.create_batch": lambda told: {"payloads": [WORK, WORK]},
    "runs.cancel": lambda told: {**slow(told, 0), "wait": True},
    "runs.cancel_many": lambda told: {
        "thread_id": slow(told, 1)["thread_id"],
        "run_ids": [slow(told, 1)["run_id"]],
    },
    "runs.delete": of_run,
    "threads.get_state": lambda told: {"thread_id": thread(told), "subgraphs": True},
    "threads.update_state": lambda told: {"thread_id": thread(told), "values": {"done": ["x"]}},
    "threads.get_history": lambda told: {"thread_id": thread(told), "limit": 2},
    "threads.join_stream": lambda told: {"thread_id": thread(told), "last_event_id": "-1"},
    "threads.stream": lambda told: {"assistant_id": "work"},
    "threads.search": lambda told: {"ids": [thread(told)], "select": ["thread_id"]},
    "threads.count": lambda told: {"metadata": {"a": 1}},
    "threads.copy": lambda told: {"thread_id": thread(told)},
    "threads.prune": lambda told: {"thread_ids": [thread(told)], "strategy": "keep_latest"},
    "crons.create": lambda told: dict(CRON),
    "crons.create_for_thread": lambda told: {"thread_id": thread(told), **CRON},
    "crons.update": lambda told: {**cron(told), "enabled": False},
    "crons.search": lambda told: {"assistant_id": "work"},
    "crons.count": lambda told: {"assistant_id": "work"},
    "crons.delete": cron,
    "store.put_item": lambda told: {**item(told), "value": {"v": 1}},
    "store.get_item": item,
    "store.search_items": lambda told: {"namespace_prefix": ["every"]},
    "store.list_namespaces": lambda told: {"prefix": ["every"]},
    "store.delete_item": item,
    "threads.delete": lambda told: {"thread_id": thread(told)},
    "assistants.delete": assistant,
}
"""What each method is given, in the order of the calls."""

EXPECTED: dict[str, Callable[[Any], bool]] = {
    "assistants.get_versions": lambda found: [each["version"] for each in found] == [2, 1],
    "assistants.count": lambda found: isinstance(found, int) and found >= 2,
    "runs.wait": lambda found: found == {"done": ["first", "first", "child"]},
    "runs.stream": lambda found: [part.event for part in found] == ["metadata", *["values"] * 3],
    "runs.join": lambda found: found["done"][-1] == "child",
    "runs.join_stream": lambda found: found[-1].event == "values",
    "runs.list": lambda found: len(found) >= 3 and set(found[0]) == {"run_id"},
    "runs.create_batch": lambda found: len(found) == 2,
    "threads.get_history": lambda found: len(found) == 2,
    "threads.join_stream": lambda found: len(found) == 1,
    "threads.stream": lambda found: found == {"done": ["first", "first", "child"]},
    "threads.prune": lambda found: found == {"pruned_count": 1},
    "crons.update": lambda found: found["enabled"] is False,
    "store.get_item": lambda found: found["value"] == {"v": 1},
    "store.search_items": lambda found: [each["key"] for each in found["items"]] == ["k"],
    "store.list_namespaces": lambda found: found == {"namespaces": [["every", "method"]]},
}
"""What some of them answer. The others answer without an error."""

ENDLESS = frozenset({"threads.join_stream"})
"""Streams that go on with the thread: their first part is read."""


@pytest.mark.parametrize("get", [get_sync_client, get_client])
def test_no_method_is_forgotten(get: Callable[..., Any]) -> None:
    client = get(url="http://127.0.0.1:9", api_key=None)
    named = {
        f"{resource}.{name}"
        for resource in RESOURCES
        for name, _ in inspect.getmembers(getattr(client, resource), callable)
        if not name.startswith("_")
    }
    assert named == set(CALLS)
    of_client = {name for name in vars(client) if not name.startswith("_")}
    assert of_client == {*RESOURCES, "http"}


def called(client: Any, name: str, given: dict[str, Any]) -> Any:
    resource, _, method = name.partition(".")
    found = getattr(getattr(client, resource), method)
    parameters = inspect.signature(found).parameters.values()
    first = [given.pop(p.name) for p in parameters if p.kind is p.POSITIONAL_ONLY]
    return found(*first, **given)


def check(name: str, found: Any) -> None:
    assert EXPECTED.get(name, lambda found: True)(found), (name, found)


def test_each_sync_method_does_its_work_as_it_is_described(server: SocketServer) -> None:
    client = get_sync_client(url=server.url, api_key=None)
    plain = client.http.client
    Described(plain.get("/openapi.json").json()).watch(plain)
    threads = [client.threads.create()["thread_id"] for _ in range(2)]
    told: Told = {"slow": [client.runs.create(t, "slow", input={"ticks": 500}) for t in threads]}
    for name, given in CALLS.items():
        found = called(client, name, given(told))
        if name == "threads.stream":
            with found as stream:
                stream.run.start(input={"done": []})
                found = stream.output
        elif inspect.isgenerator(found):
            found = [next(found)] if name in ENDLESS else list(found)
        told[name] = found
        check(name, found)


def test_each_async_method_does_its_work(server: SocketServer) -> None:
    asyncio.run(_each_async(server.url))


async def _each_async(url: str) -> None:
    client = get_client(url=url, api_key=None)
    threads = [(await client.threads.create())["thread_id"] for _ in range(2)]
    started = [await client.runs.create(t, "slow", input={"ticks": 500}) for t in threads]
    told: Told = {"slow": started}
    for name, given in CALLS.items():
        found = called(client, name, given(told))
        if name == "threads.stream":
            async with found as stream:
                await stream.run.start(input={"done": []})
                found = await stream.output
        elif inspect.isawaitable(found):
            found = await found
        if hasattr(found, "__anext__"):
            found = [await anext(found)] if name in ENDLESS else [part async for part in found]
        told[name] = found
        check(name, found)
