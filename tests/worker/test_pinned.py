"""Values that stay in a pinned worker, without a worker."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from distgraph.channels import UntrackedValue
from distgraph.contract.attempt import AttemptOutcome
from distgraph.errors import SerializationError
from distgraph.serde.pickling import dumps, loads
from distgraph.types import Send
from distgraph.worker import pinned

CHANNELS: dict[str, Any] = {"live": UntrackedValue(object), "rows": None}


@pytest.fixture(autouse=True)
def nothing_stays() -> Any:
    yield
    pinned.drop(None)


def handled(*writes: tuple[str, Any], standing: Any = None) -> tuple[Any, ...]:
    request: Any = SimpleNamespace(node="start", step=1, standing=standing)
    return pinned.pinned(
        AttemptOutcome("t", 1, "ok", writes=writes), request, CHANNELS, "run"
    ).writes


def test_a_value_that_cannot_be_pickled_has_a_handle() -> None:
    live = iter(x for x in "ab")
    (key, handle), rows = handled(("live", live), ("rows", [1]))
    assert (key, type(handle), rows) == ("live", pinned.Pinned, ("rows", [1]))
    assert loads(dumps(handle)) is live
    pinned.drop("run")
    assert type(loads(dumps(handle))) is pinned.Pinned


def test_of_a_send_only_the_values_have_handles() -> None:
    live = iter(x for x in "ab")
    ((_, send),) = handled(("__pregel_tasks", Send("work", {"live": live, "n": 1}, timeout=3)))
    assert (send.node, send.arg["n"], send.timeout.run_timeout) == ("work", 1, 3)
    assert (type(send.arg["live"]), send.arg["live"].key) == (pinned.Pinned, "live")
    assert loads(dumps(send)).arg["live"] is live


def test_the_bare_argument_of_a_send_has_a_handle() -> None:
    live = iter(x for x in "ab")
    ((_, send),) = handled(("__pregel_tasks", Send("work", live)))
    assert (send.node, type(send.arg), send.arg.key) == ("work", pinned.Pinned, "Send('work')")


def test_a_checkpoint_holds_no_handle() -> None:
    live = iter(x for x in "ab")
    ((_, send),) = handled(("__pregel_tasks", Send("work", {"live": live})), standing=object())
    assert type(send.arg["live"]) is pinned.Pinned  # checkpoints leave the key out
    with pytest.raises(SerializationError, match="the value of 'rows' stays in the pinned worker"):
        handled(("__pregel_tasks", Send("work", {"rows": live})), standing=object())
    with pytest.raises(SerializationError, match="Send a dict with the value under a key that is"):
        handled(("__pregel_tasks", Send("work", live)), standing=object())
