"""Errors for what a node hands over and cannot be sent: node, key or call, path and remedy."""

from types import SimpleNamespace

import pytest

from distgraph._internal.keys import RETURN, TASKS
from distgraph.contract.attempt import AttemptOutcome
from distgraph.errors import SerializationError
from distgraph.persistence.remote_resources import pack_arguments
from distgraph.types import Send
from distgraph.worker.unsent import unsent_error

REQUEST = SimpleNamespace(node="read", step=3)


def generator():
    yield 1


def told(**outcome):
    made = AttemptOutcome("task", 1, **{"status": "ok", **outcome})
    return str(unsent_error(made, REQUEST, ValueError("unknown")))


def test_an_update_is_named_by_its_key_and_the_path_in_it():
    message = told(writes=(("a", 1), ("b", {"rows": [0, generator()]})))
    assert message.startswith(
        "node 'read', step 3: its update of state key 'b' cannot be sent to other processes: "
        'update["b"]["rows"][1] (generator) cannot be pickled: '
    )
    assert "pass a list" in message
    assert message.endswith("ray_options={'affinity': 'run'}: they share one process")


def test_an_update_that_is_nested_too_deep_is_to_be_flattened():
    tree = None
    for _ in range(100_000):
        tree = [tree]
    assert told(writes=(("a", 1), ("b", {"tree": tree}))).startswith(
        "node 'read', step 3: its update of state key 'b' cannot be sent to other processes: "
        'update["b"]["tree"][0] (list) cannot be pickled: it is nested too deep for pickle. '
        "Remedy: flatten it, as into a list of items that name their parents; a higher "
        "sys.setrecursionlimit does not help. To hand the object itself to other nodes, "
    )


def test_the_argument_of_a_send_is_named_by_its_node():
    message = told(writes=((TASKS, Send("work", {"item": generator()})),))
    assert "what it sends to node 'work' cannot be sent" in message
    assert 'Send(...).arg["item"] (generator)' in message
    assert "affinity" not in message


def test_the_result_of_a_task_is_called_its_result():
    message = told(writes=((RETURN, [generator()]),))
    assert "what it returned cannot be sent" in message
    assert "result[0] (generator)" in message


def test_the_value_of_an_interrupt_is_called_its_value():
    asked = SimpleNamespace(value={"question": generator()})
    message = told(status="interrupt", interrupts=(asked,))
    assert "what it gave to interrupt() cannot be sent" in message
    assert 'value["question"] (generator)' in message


def test_a_command_to_the_parent_graph_is_named():
    message = told(status="command", value={"update": generator()})
    assert "the Command that it addressed to the parent graph" in message


def test_what_none_of_the_parts_explains_is_told_as_it_is():
    assert told() == "node 'read', step 3: what it returned cannot be sent back: unknown"


@pytest.mark.parametrize(
    ("method", "args", "kwargs", "path"),
    [
        (
            "put",
            (("notes",), "k", {"text": generator()}),
            {},
            'put() cannot be sent there: value["text"]',
        ),
        (
            "aput",
            (("notes",), "k", {"text": generator()}),
            {},
            'aput() cannot be sent there: value["text"]',
        ),
        ("search", (("notes",),), {"filter": {"at": generator()}}, 'filter["at"]'),
        ("own", (generator(),), {}, "args[0]"),
    ],
)
def test_an_argument_of_a_store_s_method_is_named(method, args, kwargs, path):
    with pytest.raises(SerializationError) as caught:
        pack_arguments("InMemoryStore", method, args, kwargs)
    assert str(caught.value).startswith("InMemoryStore, which is in another process: ")
    assert f"{path} (generator) cannot be pickled" in str(caught.value)
