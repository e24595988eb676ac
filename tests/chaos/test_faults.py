"""One fault of each kind, at a fixed event of a run."""

import pytest

from tests.chaos.faults import BOUND, Figures, fault, graph, run_once

pytestmark = [pytest.mark.ray, pytest.mark.faults, pytest.mark.timeout(180)]


@pytest.mark.parametrize(
    ("kind", "error"),
    [
        ("kill worker", None),
        ("pause worker", None),
        ("kill broker", "BrokerLost"),
        ("kill driver", "DriverLost"),
    ],
)
def test_a_fault_in_a_run_leaves_an_exact_stream_or_one_typed_error(ray_session, kind, error):
    figures, seen = Figures(), 0

    def hit(pid: int) -> None:
        nonlocal seen
        seen += 1
        if seen == 20:
            fault(kind, pid, figures)

    run_once(graph(), figures, hit)
    assert figures.violations == []
    assert figures.faults == {kind: 1}
    assert dict(figures.typed_errors) == ({} if error is None else {error: 1})
    assert figures.longest < BOUND
