"""What is told where the cluster that ``RAY_ADDRESS`` names cannot be used. No Ray is started."""

import socket

import pytest

from actors import connect
from distgraph.errors import UnsupportedClusterError


@pytest.fixture(autouse=True)
def no_ray(monkeypatch):
    monkeypatch.setattr(connect.ray, "is_initialized", lambda: False)
    monkeypatch.setattr(connect, "_refuse_client", lambda: None)


def free_port():
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


def test_an_address_that_nobody_listens_at_is_told_at_once(monkeypatch):
    address = f"127.0.0.1:{free_port()}"
    monkeypatch.setenv("RAY_ADDRESS", address)
    with pytest.raises(UnsupportedClusterError, match="Connection refused") as caught:
        connect.ensure_ray()
    told = str(caught.value)
    assert told.startswith(f"there is no Ray cluster at RAY_ADDRESS={address} (")
    assert "unset RAY_ADDRESS to run on a local Ray" in told


@pytest.mark.parametrize("error", [ConnectionError("no running Ray"), ValueError("bad address")])
def test_what_ray_finds_wrong_with_an_address_is_told_with_the_remedy(monkeypatch, error):
    def init(**options):
        assert options["address"] == "somewhere"
        raise error

    monkeypatch.setenv("RAY_ADDRESS", "somewhere")
    monkeypatch.setattr(connect.ray, "init", init)
    with pytest.raises(UnsupportedClusterError, match=rf"RAY_ADDRESS=somewhere \({error}\)"):
        connect.ensure_ray()


def test_ray_client_is_refused_by_its_address(monkeypatch):
    monkeypatch.setenv("RAY_ADDRESS", "ray://127.0.0.1:10001")
    with pytest.raises(UnsupportedClusterError, match="which cannot stream a run"):
        connect.ensure_ray()
