"""Names that LangGraph's modules offer: ours have them, or it is said here why not."""

from __future__ import annotations

import importlib
import pickle

import pytest
from pydantic import TypeAdapter, ValidationError

from distgraph.errors import (
    GraphInterrupt,
    NodeInterrupt,
    is_invalid_resume,
    mark_invalid_resume,
)
from distgraph.runtime import ExecutionInfo, Runtime, ServerInfo, server_info
from distgraph.serde.exceptions import capture_error, rebuild_error
from distgraph.types import Interrupt

LEFT_OUT = {
    "types": {
        # of the engine itself
        "CacheKey",
        "PregelExecutableTask",
        "ensure_valid_checkpointer",
        # annotations of chunks, which are plain tuples and dicts
        "CheckpointPayload",
        "CheckpointStreamPart",
        "CheckpointTask",
        "CustomStreamPart",
        "DebugPayload",
        "DebugStreamPart",
        "MessagesStreamPart",
        "StreamPart",
        "TaskPayload",
        "TaskResultPayload",
        "TasksStreamPart",
        "UpdatesStreamPart",
        "ValuesStreamPart",
    },
    "errors": {"TaskNotFound"},  # never raised by anything of LangGraph's
    "runtime": {"BaseUser"},  # of the server's SDK
    "constants": {"CONF", "CONFIG_KEY_CHECKPOINTER", "TASKS"},  # kept there for its server
    "channels": set(),
    "managed": set(),
}


@pytest.mark.parametrize("module", LEFT_OUT)
def test_what_a_module_offers_is_here_too(module: str) -> None:
    theirs = set(importlib.import_module(f"langgraph.{module}").__all__)
    ours = vars(importlib.import_module(f"distgraph.{module}"))
    assert theirs - ours.keys() == LEFT_OUT[module] & theirs


def test_an_interrupt_of_before_0_6_has_its_id_from_its_namespace() -> None:
    old = Interrupt("q", resumable=True, when="during", ns=["a:b", "c:d"])
    assert old == Interrupt.from_ns("q", "a:b|c:d")
    assert pickle.loads(pickle.dumps(old)) == old
    with pytest.raises(TypeError, match="Interrupt has no other"):
        Interrupt("q", other=1)


def test_a_node_interrupt_is_a_question() -> None:
    with pytest.warns(DeprecationWarning, match=r"distgraph\.types\.interrupt"):
        raised = NodeInterrupt("q")
    assert isinstance(raised, GraphInterrupt)
    assert raised.interrupts == (Interrupt("q"),)


def test_an_invalid_answer_is_known_as_one_on_the_other_side_too() -> None:
    try:
        TypeAdapter(int).validate_python("no")
    except ValidationError as error:
        assert not is_invalid_resume(error)
        mark_invalid_resume(error)
        shipped = pickle.loads(pickle.dumps(capture_error(error)))
    rebuilt = rebuild_error(shipped)
    assert isinstance(rebuilt, ValidationError)
    assert is_invalid_resume(rebuilt)


def test_a_runtime_takes_what_another_has() -> None:
    writer = [].append
    one = Runtime(context="a", store="s", previous=1)
    merged = one.merge(Runtime(context="b", stream_writer=writer))
    assert (merged.context, merged.store, merged.previous) == ("b", "s", 1)
    assert merged.stream_writer is writer
    assert one.merge(Runtime(context={})).context == "a"
    assert one.override(context="c").context == "c"


def test_fields_of_execution_info_are_patched() -> None:
    patched = Runtime(execution_info=ExecutionInfo(task_id="t")).patch_execution_info(task_id="u")
    assert patched.execution_info == ExecutionInfo(task_id="u")
    with pytest.raises(RuntimeError, match="no execution_info"):
        Runtime().patch_execution_info(task_id="u")


def test_a_server_says_in_configurable_what_it_is() -> None:
    class User:
        identity = "me"

    user = User()
    told = server_info({"assistant_id": "a", "graph_id": "g", "langgraph_auth_user": user})
    assert told == ServerInfo("a", "g", user)
    assert server_info({"langgraph_auth_user": {"name": "x"}, "thread_id": "t"}) is None
