"""A server with the local backend, and threads on it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.serve.clients.live import copied, serving


@pytest.fixture(scope="package")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a server of the tests' project."""
    with serving(copied(tmp_path_factory.mktemp("project")), heartbeat=0.2) as found:
        yield found
