"""The pickled outcome of an attempt: as it is, with handles, or the error that says why not."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from distgraph.channels import UntrackedValue
from distgraph.contract.attempt import AttemptOutcome
from distgraph.errors import SerializationError
from distgraph.serde import references
from distgraph.serde.exceptions import rebuild_error
from distgraph.worker import outcomes, pinned
from distgraph.worker.outcomes import packed_outcome
from distgraph.worker.packing import unpack_outcome

SPEC = SimpleNamespace(
    channels={"live": UntrackedValue(object), "rows": None},
    nodes={"read": SimpleNamespace(retry=())},
)
PROGRAM: Any = SimpleNamespace(spec=SPEC, nodes={"read": None}, subgraphs={})
REQUEST: Any = SimpleNamespace(node="read", step=3, standing=None, graph_path=(), called=None)


def packed(*writes: tuple[str, Any], keeps: bool = False, saved: bool = False) -> bytes:
    outcome = AttemptOutcome("task", 2, "ok", writes=writes, published=5)
    return packed_outcome(outcome, REQUEST, PROGRAM, run_id="run", keeps=keeps, saved=saved)


def refusal(blob: bytes) -> str:
    outcome = unpack_outcome(blob)
    assert (outcome.task_id, outcome.attempt, outcome.published) == ("task", 2, 5)
    assert (outcome.status, outcome.writes) == ("error", ())
    assert outcome.error is not None
    error = rebuild_error(outcome.error)
    assert type(error) is SerializationError
    return str(error)


class Referred:
    """Stands for a reference to an object of a cluster."""

    def __reduce__(self) -> Any:
        return references.refer(self)


@pytest.fixture(autouse=True)
def nothing_stays() -> Any:
    yield
    pinned.drop(None)


def generator() -> Any:
    yield 1


def test_an_outcome_that_can_be_sent_is_sent_as_it_is() -> None:
    assert unpack_outcome(packed(("rows", [1]))).writes == (("rows", [1]),)


def test_a_value_that_cannot_be_sent_makes_its_error_the_outcome() -> None:
    message = refusal(packed(("rows", [generator()])))
    assert message.startswith("node 'read', step 3: its update of state key 'rows' cannot be sent")


def test_a_value_that_cannot_be_sent_stays_in_a_process_that_keeps_values() -> None:
    ((_, value),) = unpack_outcome(packed(("live", live := generator()), keeps=True)).writes
    assert value is live  # its handle is in the process that has it


def test_a_reference_in_what_is_saved_makes_its_error_the_outcome() -> None:
    message = refusal(packed(("live", 1), ("rows", [Referred()]), saved=True))
    assert message.startswith(
        "node 'read', step 3: its write of 'rows' holds a reference to an object of the Ray "
        "cluster, and the thread is saved by a checkpointer, which would outlive the object"
    )


@pytest.mark.parametrize(("key", "saved"), [("live", True), ("rows", False)])
def test_a_reference_in_what_is_not_saved_is_sent(key: str, saved: bool) -> None:
    blob: Any = packed((key, referred := Referred()), saved=saved)
    assert blob.references == (referred,)


def test_an_error_in_packing_itself_is_reported_as_that(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(outcome: AttemptOutcome) -> bytes:
        monkeypatch.undo()
        raise ValueError("no memory")

    monkeypatch.setattr(outcomes, "pack_outcome", fail)
    message = refusal(packed(("rows", 1)))
    assert message == "node 'read', step 3: what it returned cannot be sent back: no memory"
