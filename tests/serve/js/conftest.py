"""JavaScript clients: their packages, a server, and what each script has seen."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.serve.clients.live import copied, serving

FOLDER = Path(__file__).parent
SCRIPTS = sorted(
    file.stem for file in FOLDER.glob("*.mjs") if file.stem not in ("render", "report")
)
OLDEST_NODE = 20


@pytest.fixture(scope="session")
def node() -> str:
    """Path of node, with the clients' packages installed."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        pytest.skip("node and npm are not installed: the JavaScript clients are not tested")
    version = subprocess.run([node, "--version"], capture_output=True, text=True, check=True).stdout
    if int(version.lstrip("v").split(".")[0]) < OLDEST_NODE:
        pytest.skip(f"node {version.strip()} is too old: the clients need {OLDEST_NODE} or newer")
    lock, installed = FOLDER / "package-lock.json", FOLDER / "node_modules" / ".package-lock.json"
    if not installed.exists() or installed.stat().st_mtime < lock.stat().st_mtime:
        command = [npm, "ci", "--no-audit", "--no-fund", "--ignore-scripts"]
        made = subprocess.run(command, cwd=FOLDER, capture_output=True, text=True)
        assert made.returncode == 0, f"npm ci failed:\n{made.stderr[-2000:]}"
        installed.touch()
    return node


class Scripts:
    """Runs scripts against one server, each once, a few at a time."""

    def __init__(self, node: str, url: str, *, at_once: int = 3) -> None:
        self._node = node
        self._url = url
        self._pool = ThreadPoolExecutor(at_once)
        self._runs: dict[str, Future[subprocess.CompletedProcess[str]]] = {}

    def begin(self, name: str) -> Future[subprocess.CompletedProcess[str]]:
        """Start a script, unless it was started."""
        if name not in self._runs:
            self._runs[name] = self._pool.submit(self._run, name)
        return self._runs[name]

    def _run(self, name: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [self._node, str(FOLDER / f"{name}.mjs"), self._url],
            capture_output=True,
            text=True,
            timeout=300,
            cwd=FOLDER,
            env={"PATH": os.environ["PATH"]},  # no key of this machine's user
        )

    def output(self, name: str) -> str:
        """Return what a script printed."""
        ended = self.begin(name).result()
        assert ended.returncode == 0, f"{name}.mjs failed:\n{ended.stdout}\n{ended.stderr}"
        return ended.stdout

    def seen(self, name: str) -> dict[str, Any]:
        """Return what the client of a script saw."""
        found: dict[str, Any] = json.loads(self.output(name).splitlines()[-1])
        return found

    def close(self) -> None:
        self._pool.shutdown(cancel_futures=True)


@pytest.fixture(scope="session")
def local(node: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scripts]:
    """Scripts against a server with the local backend."""
    with serving(copied(tmp_path_factory.mktemp("project"))) as url:
        scripts = Scripts(node, url)
        for name in SCRIPTS:
            scripts.begin(name)
        yield scripts
        scripts.close()


@pytest.fixture(scope="session")
def on_ray_serve(
    node: str, ray_session: Any, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Scripts]:
    """Scripts against two replicas on Ray Serve."""
    from ray import serve

    from actors.serve import APPLICATION, ReplicaOptions, deploy
    from distgraph.serve.project import read_project
    from distgraph.serve.server import Settings

    folder = copied(tmp_path_factory.mktemp("on_serve"))
    file = folder / "langgraph.json"
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    serve.start(proxy_location="HeadOnly", http_options={"host": "127.0.0.1", "port": port})
    settings = Settings(backend="ray", folder=folder / "data", sole=False)
    application = deploy(read_project(file), file, settings, ReplicaOptions(replicas=2))
    serve.run(application, name=APPLICATION, route_prefix="/")
    scripts = Scripts(node, f"http://127.0.0.1:{port}", at_once=2)
    yield scripts
    scripts.close()
    serve.shutdown()
