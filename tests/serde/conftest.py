from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.elsewhere import Elsewhere


@pytest.fixture(scope="module")
def elsewhere() -> Iterator[Elsewhere]:
    """Another process, the same for all tests of a file."""
    with Elsewhere() as process:
        yield process
