"""One fault of each kind, at a fixed event of a run."""

import random
import signal

import pytest

import actors
from tests.chaos.faults import KINDS, SMALL, Chaos, Figures
from tests.support.cluster import wait_for_free_cpus

pytestmark = [pytest.mark.ray, pytest.mark.faults]

BOUND = 60.0
"""Seconds for the next chunk of a run, or for its end."""

ENDS = {
    "kill broker": "BrokerLost",
    "stop broker": "BrokerLost",
    "kill driver": "DriverLost",
    "stop driver": "DriverLost",
    "raise": "HarmError",
    "hold lock": "NodeTimeoutError",
    "leave": "left",
    "interrupt": "left",
}
"""How a run without a checkpointer and a mirror ends; exactly as if nothing had happened, else."""

CASES = [(kind, False, ENDS.get(kind, "exact")) for kind in KINDS if kind != "lose node"]
CASES += [("kill driver", True, "exact"), ("stop driver", True, "exact")]


@pytest.fixture
def chaos(ray_session, monkeypatch):
    monkeypatch.setenv("DISTGRAPH_SILENCE", "5")
    actors.end_session()
    handler = signal.getsignal(signal.SIGINT)
    yield Chaos(Figures(), random.Random(1), SMALL, is_mirrored=False)
    signal.signal(signal.SIGINT, handler)
    actors.end_session()


@pytest.mark.parametrize(("kind", "saved", "ended"), CASES)
def test_a_fault_in_a_run_leaves_an_exact_stream_or_one_typed_error(chaos, kind, saved, ended):
    assert chaos.run("none", saved=saved) == "exact"
    assert chaos.run(kind, saved=saved) == ended
    assert chaos.run("none", saved=saved) == "exact"
    figures = chaos.figures
    assert figures.violations == []
    assert figures.faults == {kind: 1}
    assert max(figures.waits.values()) < BOUND
    wait_for_free_cpus()
