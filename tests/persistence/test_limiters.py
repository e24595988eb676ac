"""A rate limiter that processes share."""

from __future__ import annotations

import asyncio
import pickle

import pytest

pytest.importorskip("langchain_core")

from langchain_core.rate_limiters import BaseRateLimiter, InMemoryRateLimiter

from distgraph.persistence import hosting
from distgraph.persistence.hosting import HostClient
from distgraph.persistence.placing import place
from distgraph.persistence.proxies import stand_in


class Counted(BaseRateLimiter):
    """Has a token at every third question."""

    def __init__(self) -> None:
        self.asked = 0

    def acquire(self, *, blocking: bool = True) -> bool:
        assert not blocking
        self.asked += 1
        return self.asked % 3 == 0

    async def aacquire(self, *, blocking: bool = True) -> bool:
        raise AssertionError("the synchronous form is enough")


def remote(limiter: BaseRateLimiter) -> BaseRateLimiter:
    """A stand-in as another process has it."""
    found = stand_in(
        pickle.loads(pickle.dumps(place(limiter))), HostClient(hosting.host().listen().ticket)
    )
    assert isinstance(found, BaseRateLimiter)
    return found


def test_stand_ins_take_the_tokens_of_one_limiter() -> None:
    limiter = InMemoryRateLimiter(requests_per_second=0.001, max_bucket_size=2)
    limiter.last, limiter.available_tokens = 0, 2
    one, two = remote(limiter), remote(limiter)
    taken = [one.acquire(blocking=False), two.acquire(blocking=False), one.acquire(blocking=False)]
    assert taken == [True, True, False]


def test_a_stand_in_waits_for_a_token_without_waiting_at_the_limiter() -> None:
    limiter = Counted()
    assert remote(limiter).acquire()
    assert asyncio.run(remote(limiter).aacquire())
    assert limiter.asked == 6


def test_it_waits_as_long_as_the_limiter_would_between_two_looks() -> None:
    limiter = InMemoryRateLimiter(check_every_n_seconds=0.03)
    assert place(limiter).traits == {"interval": 0.03}
    assert place(Counted()).traits == {"interval": 0.1}
