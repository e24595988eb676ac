"""Servers for the tests with real clients."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest

pytest.importorskip("langchain_openai")

from tests.support.openai_server import OpenAIServer, Reply


@pytest.fixture
def serve() -> Iterator[Callable[..., OpenAIServer]]:
    """A function that starts a server of the given replies, until the test ends."""
    with contextlib.ExitStack() as servers:

        def start(*replies: Reply, **options: Any) -> OpenAIServer:
            return servers.enter_context(OpenAIServer(replies, **options))

        yield start
