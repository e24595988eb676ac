"""The models of the guides answer from a loopback server."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.openai_server import OpenAIServer


@pytest.fixture
def hosted_models(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Point OpenAI's clients at a server on this machine.

    Yields: its base URL.
    """
    with OpenAIServer() as server:
        monkeypatch.setenv("OPENAI_API_KEY", "sk-test")
        monkeypatch.setenv("OPENAI_BASE_URL", server.base_url)
        yield server.base_url
