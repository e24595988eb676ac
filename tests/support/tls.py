"""TLS for the wire, with certificates of the tests."""

from __future__ import annotations

from pathlib import Path

import pytest

FILES = Path(__file__).parents[1] / "wire" / "certificates"


def use_tls(
    monkeypatch: pytest.MonkeyPatch, certificate: str = "node", authority: str = "ca"
) -> None:
    """Turn TLS on, with these files."""
    monkeypatch.setenv("RAY_USE_TLS", "1")
    monkeypatch.setenv("RAY_TLS_SERVER_CERT", str(FILES / f"{certificate}.crt"))
    monkeypatch.setenv("RAY_TLS_SERVER_KEY", str(FILES / f"{certificate}.key"))
    monkeypatch.setenv("RAY_TLS_CA_CERT", str(FILES / f"{authority}.crt"))
