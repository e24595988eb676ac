"""Servers for the tests with real clients."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("langchain_openai")

from tests.conftest import _engines, _ready
from tests.support.differential import Differ
from tests.support.engines import REFERENCE, REFERENCE_AWAITS, Engine
from tests.support.openai_server import OpenAIServer, Reply


@pytest.fixture(scope="package", autouse=True)
def few_certificates(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Let clients read one certificate, not all: nothing here is encrypted, and it takes longest.

    A Ray that starts here inherits it.
    """
    import certifi

    bundle = Path(certifi.where()).read_text()
    end = "-----END CERTIFICATE-----\n"
    one = tmp_path_factory.mktemp("certificates") / "one.pem"
    one.write_text(bundle[bundle.index("-----BEGIN") : bundle.index(end) + len(end)])
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SSL_CERT_FILE", str(one))
        yield


_THEIRS = (REFERENCE,) if REFERENCE_AWAITS else ()


@pytest.fixture(params=_engines(*_THEIRS, "local", "ray"))
def engine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Engine:
    """Each engine in turn. LangGraph's own graphs are covered by the differential tests here."""
    return _ready(request, monkeypatch)


@pytest.fixture(params=_engines("ray", "distributed") or _engines("langgraph"))
def differ(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Differ:
    """Compares the reference with ours on Ray, and with ours on LangGraph's graphs."""
    return Differ(Engine(REFERENCE), _ready(request, monkeypatch))


@pytest.fixture
def serve() -> Iterator[Callable[..., OpenAIServer]]:
    """A function that starts a server of the given replies, until the test ends."""
    with contextlib.ExitStack() as servers:

        def start(*replies: Reply, **options: Any) -> OpenAIServer:
            return servers.enter_context(OpenAIServer(replies, **options))

        yield start
