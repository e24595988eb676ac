"""The models of the guides answer from a loopback server."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from langchain_openai.chat_models import _client_utils

from tests.support.openai_server import OpenAIServer


@pytest.fixture
def hosted_models(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Point OpenAI's clients at a server on this machine.

    Yields: its base URL.
    """
    # langchain-openai shares connections between models, whatever event loop they were made on
    _client_utils._cached_async_httpx_client.cache_clear()
    _client_utils._cached_sync_httpx_client.cache_clear()
    with OpenAIServer() as server:
        monkeypatch.setenv("OPENAI_API_KEY", "sk-test")
        monkeypatch.setenv("OPENAI_BASE_URL", server.base_url)
        yield server.base_url
