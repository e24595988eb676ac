"""Classes of exceptions that are hard to send: each is caught as it is with LangGraph."""

import asyncio
import dataclasses
import io
import json
import re
import socket
import sqlite3
import subprocess
import sys
import threading
import traceback
import urllib.error

import httpx
import pydantic
import pytest

from tests.support.graphs import Items

tenacity = pytest.importorskip("tenacity")


class ReadOnlyArgs(Exception):
    args = property(lambda self: ("fixed",))


class KeywordOnly(Exception):
    def __init__(self, *, a, b):
        super().__init__(f"{a}{b}")
        self.a, self.b = a, b


class Slots(Exception):
    __slots__ = ("x", "y")

    def __init__(self, x):
        self.x = x

    def __str__(self):
        return f"slots {self.x}"


@dataclasses.dataclass(frozen=True)
class Frozen(Exception):
    code: int
    held: object


class Unspeakable(Exception):
    def __str__(self):
        raise RuntimeError("no text")


class SpeaksOfASocket(Exception):
    def __init__(self, held):
        self.held = held

    def __str__(self):
        return f"open: {self.held.fileno() > 0}"


class Stubborn:
    def __reduce__(self):
        raise TypeError("never")


class HoldsWhatCannotBeSent(Exception):
    def __init__(self):
        super().__init__("held")
        self.stubborn, self.thread = Stubborn(), threading.Thread()
        self.generator, self.nested = (i for i in range(3)), {"a": [threading.Thread()]}
        self.code = 7


class HoldsItself(Exception):
    def __init__(self):
        super().__init__("itself")
        self.me = self


class NoSetattr(Exception):
    def __setattr__(self, name, value):
        raise AttributeError("frozen")


class OwnNew(Exception):
    def __new__(cls, *, z):
        made = super().__new__(cls, z)
        made.z = z
        return made

    def __init__(self, *, z):
        pass


class Form(pydantic.BaseModel):
    n: int


Made = type("Made", (LookupError,), {"extra": 5})


@tenacity.retry(stop=tenacity.stop_after_attempt(2), wait=tenacity.wait_none())
def unsteady():
    raise ConnectionError("down")


def answers_404():
    request = httpx.Request("GET", "http://host/")
    httpx.Response(404, request=request, text="nope").raise_for_status()


def with_cause():
    try:
        {}["k"]
    except KeyError as error:
        raise KeywordOnly(a=1, b=2) from error


def with_hidden_context():
    try:
        {}["k"]
    except KeyError:
        raise ValueError("shown") from None


def of_a_local_class():
    held = threading.Thread()

    class Here(ValueError):
        thread = held

    raise Here("here")


def raising(make):
    def raises():
        raise make()

    return raises


def too_deep():
    too_deep()


FAILURES = {
    "tenacity": unsteady,
    "read-only args": raising(lambda: ReadOnlyArgs("x")),
    "keyword only": raising(lambda: KeywordOnly(a=1, b=2)),
    "slots": raising(lambda: Slots(3)),
    "frozen": raising(lambda: Frozen(3, Stubborn())),
    "no text": raising(Unspeakable),
    "text of a field": raising(lambda: SpeaksOfASocket(socket.socket())),
    "unsendable fields": raising(HoldsWhatCannotBeSent),
    "itself": raising(HoldsItself),
    "no setattr": raising(lambda: NoSetattr("x")),
    "own new": raising(lambda: OwnNew(z=4)),
    "made by type()": raising(lambda: Made("m")),
    "local class": of_a_local_class,
    "pydantic": lambda: Form(n="many"),
    "subprocess": lambda: subprocess.run([sys.executable, "-c", "exit(3)"], check=True),
    "httpx": answers_404,
    "urllib": raising(lambda: urllib.error.HTTPError("http://h", 404, "n", {}, io.BytesIO(b"x"))),
    "cause": with_cause,
    "hidden context": with_hidden_context,
    "json": lambda: json.loads("{"),
    "unicode": lambda: b"\xff".decode(),
    "no file": lambda: open("/nowhere"),  # noqa: SIM115
    "sqlite": lambda: sqlite3.connect(":memory:").execute("nope"),
    "sys.exit": lambda: sys.exit(3),
    "ctrl-c": raising(KeyboardInterrupt),
    "holds an error": raising(lambda: RuntimeError("outer", KeywordOnly(a=1, b=2))),
    "attribute": lambda: None.missing,  # type: ignore[attr-defined]
    "syntax": lambda: compile("a b", "file", "exec"),
    "recursion": too_deep,
}
NATIVE = ("errno", "filename", "returncode", "cmd", "pos", "lineno", "name", "start", "code", "z")


def text(error):
    try:
        return re.sub("0x[0-9a-f]+", "0x", str(error))
    except RuntimeError as failed:
        return repr(failed)


def seen(error):
    """Return what a program can see of an error."""
    if error is None:
        return None
    frames = traceback.extract_tb(error.__traceback__)
    fields = {k: v if isinstance(v, (int, str)) else "…" for k, v in sorted(vars(error).items())}
    return (
        type(error).__name__,
        [base.__name__ for base in type(error).__mro__ if base.__name__ != type(error).__name__],
        text(error),
        {k: v for k, v in fields.items() if k != "__notes__"},
        {name: str(getattr(error, name, None)) for name in NATIVE},
        (frames[-1].filename, frames[-1].name, frames[-1].line) if frames else None,
        error.__suppress_context__,
        seen(error.__cause__),
        None if error.__context__ is error.__cause__ else seen(error.__context__),
    )


def caught(engine, fail):
    def node(state):
        fail()

    graph = engine.compile(
        engine.StateGraph(Items).add_node("node", node).add_edge(engine.START, "node")
    )
    with pytest.raises(BaseException) as info:
        graph.invoke({"items": []})
    return info.value


@pytest.mark.parametrize("which", FAILURES)
def test_an_exception_is_caught_as_it_was_raised(differ, which):
    fail = FAILURES[which]
    assert seen(caught(differ.contender, fail)) == seen(caught(differ.reference, fail))


def test_the_last_attempt_of_tenacity_can_be_read(ours):
    error = caught(ours, unsteady)
    assert isinstance(error, tenacity.RetryError)
    assert isinstance(error.last_attempt.exception(), ConnectionError)
    assert error.last_attempt.attempt_number == 2


def test_an_async_node_s_exception_has_its_line(ours):
    async def node(state):
        await asyncio.sleep(0)
        unsteady()

    builder = ours.StateGraph(Items).add_node("node", node).add_edge(ours.START, "node")
    with pytest.raises(tenacity.RetryError) as info:
        asyncio.run(ours.compile(builder).ainvoke({"items": []}))
    names = [frame.name for frame in traceback.extract_tb(info.value.__traceback__)]
    assert names[names.index("node") + 1] != "node"
    assert traceback.extract_tb(info.value.__cause__.__traceback__)[-1].name == "unsteady"
