"""Values that stay in a pinned worker, without a worker."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from distgraph.channels import UntrackedValue
from distgraph.contract.attempt import AttemptOutcome
from distgraph.errors import SerializationError
from distgraph.serde.pickling import dumps, loads
from distgraph.types import Command, Overwrite, Send
from distgraph.worker import pinned

CHANNELS: dict[str, Any] = {"live": UntrackedValue(object), "rows": None}


@pytest.fixture(autouse=True)
def nothing_stays() -> Any:
    yield
    pinned.drop(None)


AROUND: dict[str, Any] = {"outer": UntrackedValue(object)}


def handled(*writes: tuple[str, Any], standing: Any = None) -> tuple[Any, ...]:
    return taken(AttemptOutcome("t", 1, "ok", writes=writes), standing).writes


def taken(outcome: AttemptOutcome, standing: Any = None) -> AttemptOutcome:
    request: Any = SimpleNamespace(node="start", step=1, standing=standing)
    return pinned.pinned(outcome, request, CHANNELS, "run", AROUND)


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


def test_what_replaces_a_value_still_does() -> None:
    live = iter(x for x in "ab")
    for write in (Overwrite(live), {"__overwrite__": live}):
        ((_, replaces),) = handled(("live", write))
        assert (type(replaces), type(replaces.value)) == (Overwrite, pinned.Pinned)
        assert loads(dumps(replaces)).value is live


def test_of_a_command_to_the_graph_around_only_the_values_have_handles() -> None:
    live = iter(x for x in "ab")
    update = {"outer": live, "rows": [1]}
    given = Command(graph=Command.PARENT, update=update, goto=["next", Send("work", {"a": live})])
    command = taken(AttemptOutcome("t", 1, "command", value=given)).value
    goto = list(command.goto)
    assert (command.graph, goto[0], goto[1].node) == ("__parent__", "next", "work")
    assert (list(command.update), command.update["rows"]) == (["outer", "rows"], [1])
    for value in (command.update["outer"], goto[1].arg["a"]):
        assert type(value) is pinned.Pinned
        assert loads(dumps(value)) is live
    pairs = taken(AttemptOutcome("t", 1, "command", value=Command(graph="", update=[("a", live)])))
    assert [(key, type(value)) for key, value in pairs.value.update] == [("a", pinned.Pinned)]
    plain = Command(graph=Command.PARENT, update={"rows": [1]})
    assert taken(AttemptOutcome("t", 1, "command", value=plain)).value is plain


def test_the_keys_of_the_graph_around_decide_what_a_command_to_it_may_save() -> None:
    live = iter(x for x in "ab")
    for key, saved in (("outer", False), ("live", True)):
        command = Command(graph=Command.PARENT, update={key: live})
        outcome = AttemptOutcome("t", 1, "command", value=command)
        if saved:
            with pytest.raises(SerializationError, match="the value of 'live' stays in the pinned"):
                taken(outcome, standing=object())
        else:
            assert type(taken(outcome, standing=object()).value.update[key]) is pinned.Pinned
