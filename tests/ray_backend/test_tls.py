"""A Ray with TLS: all connections of a session use it, and nobody is let in without."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

pytestmark = [
    pytest.mark.ray,
    pytest.mark.programs,
    pytest.mark.skipif(shutil.which("openssl") is None, reason="certificates need openssl"),
]

NEW_KEY = "-newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes"


def openssl(folder: Path, words: str) -> None:
    subprocess.run(["openssl", *words.split()], cwd=folder, check=True, capture_output=True)


@pytest.fixture
def with_tls(tmp_path: Path) -> dict[str, str]:
    """The environment of a Ray with TLS. Its certificate names the address that Ray takes here."""
    import ray

    here = ray.util.get_node_ip_address()
    (tmp_path / "names").write_text(f"subjectAltName=DNS:localhost,IP:127.0.0.1,IP:{here}\n")
    openssl(tmp_path, f"req -x509 {NEW_KEY} -keyout ca.key -out ca.crt -days 2 -subj /CN=authority")
    openssl(tmp_path, f"req {NEW_KEY} -keyout node.key -out node.csr -subj /CN=node")
    signed = "-CA ca.crt -CAkey ca.key -CAcreateserial -out node.crt -days 2 -extfile names"
    openssl(tmp_path, f"x509 -req -in node.csr {signed}")
    env = {name: value for name, value in os.environ.items() if name != "RAY_ADDRESS"}
    return env | {
        "PYTHONPATH": str(ROOT),
        "RAY_USE_TLS": "1",
        "RAY_TLS_SERVER_CERT": str(tmp_path / "node.crt"),
        "RAY_TLS_SERVER_KEY": str(tmp_path / "node.key"),
        "RAY_TLS_CA_CERT": str(tmp_path / "ca.crt"),
    }


def test_a_run_streams_over_tls_and_who_does_not_use_it_is_refused(with_tls):
    done = subprocess.run(
        [sys.executable, "-m", "tests.ray_backend.tls_cluster"],
        env=with_tls,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    (spoken,) = found.pop("caller")
    assert spoken in ("TLSv1.2", "TLSv1.3")
    port = {
        "unix": "",
        "with the certificates": "let in",
        "without TLS": "refused",
        "with another certificate": "refused",
    }
    assert found == {
        "custom": [0, 1, 2, 3, 4, 5],
        "items": [
            ["worker", [spoken]],
            ["driver", [spoken]],
            ["executor", [spoken]],
            ["driver", [spoken]],
        ],
        "ports": {"superstep driver": port, "stream broker": port, "caller": port},
    }
