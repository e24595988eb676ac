"""Only processes that know the secret are greeted, and what they said before does not help."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from distgraph.wire import greeting
from distgraph.wire.greeting import GreetingError, Peer

SECRET, ME = b"s" * 32, Peer("lease", "worker 7")


def exchange(dials: bytes, listens: bytes) -> Peer:
    asked, nonce = greeting.challenge()
    said, told = greeting.answer(asked, dials, ME)
    welcome, peer = greeting.check(said, listens, nonce)
    greeting.accepted(welcome, dials, told)
    return peer


def test_both_sides_know_the_secret():
    assert exchange(SECRET, SECRET) == ME


def test_a_wrong_secret_is_refused():
    with pytest.raises(GreetingError, match="does not know the secret"):
        exchange(b"x" * 32, SECRET)


def test_a_recorded_answer_is_refused_by_another_challenge():
    said, _ = greeting.answer(greeting.challenge()[0], SECRET, ME)
    with pytest.raises(GreetingError, match="does not know the secret"):
        greeting.check(said, SECRET, greeting.challenge()[1])


def test_a_recorded_welcome_is_refused_by_another_answer():
    asked, nonce = greeting.challenge()
    said, _ = greeting.answer(asked, SECRET, ME)
    welcome, _ = greeting.check(said, SECRET, nonce)
    _, told = greeting.answer(asked, SECRET, ME)
    with pytest.raises(GreetingError, match="does not know the secret"):
        greeting.accepted(welcome, SECRET, told)


def test_an_answer_sent_back_is_no_welcome():
    asked, _ = greeting.challenge()
    said, told = greeting.answer(asked, SECRET, ME)
    with pytest.raises(GreetingError, match="out of order"):
        greeting.accepted(said, SECRET, told)


def test_role_and_name_are_part_of_the_proof():
    asked, nonce = greeting.challenge()
    said, _ = greeting.answer(asked, SECRET, ME)
    with pytest.raises(GreetingError, match="does not know the secret"):
        greeting.check(said.replace(b"worker 7", b"worker 8"), SECRET, nonce)


def test_a_refusal_is_told_with_its_reason():
    _, told = greeting.answer(greeting.challenge()[0], SECRET, ME)
    with pytest.raises(GreetingError, match="it refuses: no more"):
        greeting.accepted(greeting.refusal("no more"), SECRET, told)


def test_another_version_is_named_with_a_remedy(monkeypatch):
    asked, _ = greeting.challenge()
    monkeypatch.setattr(greeting, "VERSION", 4)
    with pytest.raises(GreetingError, match=r"version 3 .* version 4: install the same version"):
        greeting.answer(asked, SECRET, ME)


@given(st.binary(max_size=200))
def test_garbage_is_refused_by_each_step(data):
    _, told = greeting.answer(greeting.challenge()[0], SECRET, ME)
    nonce = greeting.challenge()[1]
    for step in (
        lambda: greeting.answer(data, SECRET, ME),
        lambda: greeting.check(data, SECRET, nonce),
        lambda: greeting.accepted(data, SECRET, told),
    ):
        with pytest.raises(GreetingError):
            step()
