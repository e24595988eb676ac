"""What is told where the cluster that ``RAY_ADDRESS`` names cannot be used. No Ray is started."""

import re
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
    assert told.endswith("Without RAY_ADDRESS, programs run on a local Ray that starts by itself")


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


def of_a_cluster_with_a_token(monkeypatch, **environment):
    """Set the environment of a caller, and let a head refuse whatever token there is."""
    from ray import _raylet
    from ray.exceptions import AuthenticationError

    def refuse(address):
        assert address == "127.0.0.1:6379"
        raise AuthenticationError("RPC error: InvalidAuthToken: it is wrong. Ensure that ...")

    for name in ("RAY_AUTH_MODE", "RAY_AUTH_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    given = {"RAY_ADDRESS": "127.0.0.1:6379", "RAY_AUTH_TOKEN_PATH": "/no/token"} | environment
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(connect, "_knock", lambda address: None)
    monkeypatch.setattr(_raylet, "GcsClient", refuse)
    monkeypatch.setattr(connect.ray, "init", lambda **options: pytest.fail("Ray retries for 24 s"))


@pytest.mark.parametrize(
    "environment", [{}, {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "bbbb"}], ids=["none", "wrong"]
)
def test_a_token_that_the_cluster_refuses_is_told_at_once(monkeypatch, environment):
    of_a_cluster_with_a_token(monkeypatch, **environment)
    with pytest.raises(UnsupportedClusterError) as caught:
        connect.ensure_ray()
    told = str(caught.value)
    assert told.startswith(
        "the Ray cluster at 127.0.0.1:6379 refuses the authentication token of this process "
        "(InvalidAuthToken: it is wrong). Set RAY_AUTH_MODE=token, and RAY_AUTH_TOKEN or "
    )
    assert "bbbb" not in told


def test_a_process_that_has_a_token_and_does_not_send_it_is_told_how(monkeypatch, tmp_path):
    token = tmp_path / "auth_token"
    token.write_text("aaaa")
    of_a_cluster_with_a_token(monkeypatch, RAY_AUTH_TOKEN_PATH=str(token))
    with pytest.raises(UnsupportedClusterError) as caught:
        connect.ensure_ray()
    assert str(caught.value) == (
        "the Ray cluster at 127.0.0.1:6379 asks for an authentication token, which this process "
        "has and does not send. Set the environment variable RAY_AUTH_MODE=token"
    )


def test_a_token_that_is_asked_for_and_missing_is_told_before_ray_aborts(monkeypatch, tmp_path):
    of_a_cluster_with_a_token(
        monkeypatch, RAY_AUTH_MODE="token", RAY_AUTH_TOKEN_PATH=str(tmp_path / "none")
    )
    with pytest.raises(UnsupportedClusterError, match=r"\(this process has no token\)"):
        connect.ensure_ray()


def test_a_cluster_that_takes_the_token_is_joined_with_a_line_that_says_its_size(
    monkeypatch, capsys
):
    from ray import _raylet

    of_a_cluster_with_a_token(monkeypatch, DISTGRAPH_STATUS="on")
    monkeypatch.setattr(_raylet, "GcsClient", lambda address: None)
    monkeypatch.setattr(connect.ray, "init", lambda **options: None)
    nodes = [
        {"Alive": True, "Resources": {"CPU": 8.0, "GPU": 1.0}},
        {"Alive": True, "Resources": {"CPU": 16.0, "GPU": 1.0}},
        {"Alive": False, "Resources": {"CPU": 99.0}},
    ]
    monkeypatch.setattr(connect.ray, "nodes", lambda: nodes)
    connect.ensure_ray()
    first, second = capsys.readouterr().err.splitlines()
    assert first == "distgraph: joining 127.0.0.1:6379 …"
    assert re.fullmatch(
        r"distgraph: joined 127\.0\.0\.1:6379: 2 machines, 24 CPUs, 2 GPUs … \d+\.\d s", second
    )
