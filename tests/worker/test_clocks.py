"""The clock of an attempt whose time is limited."""

import math
from types import SimpleNamespace
from unittest.mock import patch

from hypothesis import given
from hypothesis import strategies as st

from distgraph.types import TimeoutPolicy
from distgraph.worker import deadline
from distgraph.worker.deadline import Clock

moments = st.floats(0.0, 1e7)


@given(began=moments, limit=st.floats(1e-3, 1e3), kind=st.sampled_from(["run", "idle"]))
def test_the_elapsed_time_of_an_ended_attempt_reaches_its_limit(began, limit, kind):
    time = SimpleNamespace(now=began, monotonic=lambda: time.now)
    with patch.object(deadline, "time", time):
        clock = Clock(None, TimeoutPolicy(**{f"{kind}_timeout": limit}))
        clock.start()
        while (left := clock.left()) > 0:
            # at least to the next number: a sum may be rounded to where it began
            time.now = max(time.now + left, math.nextafter(time.now, math.inf))
    assert clock.late.kind == kind
    assert clock.late.elapsed >= limit
