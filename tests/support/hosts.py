"""Several hosts on one machine: network namespaces with addresses of their own on one bridge.

A Ray cluster of such hosts has traffic that crosses a network, which can be cut, delayed and
joined again. Needs root and iproute2.
"""

from __future__ import annotations

import itertools
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from types import TracebackType
from typing import Any

from tests.support.slow_wire import CLONE, SlowWire

ROOT = pathlib.Path(__file__).parents[2]

_PORT = 6379

_numbers = itertools.count()


def why_not_slow() -> str | None:
    """Return why this machine cannot have hosts with slow cables; None if it can."""
    found = why_not()
    if found is None and not os.access(CLONE, os.R_OK | os.W_OK):
        found = f"slow cables need {CLONE}"
    return found


def why_not() -> str | None:
    """Return why this machine cannot have such hosts; None if it can."""
    if shutil.which("ip") is None:
        return "hosts need iproute2 (the command ip)"
    name = f"dgx{os.getpid()}"
    made = subprocess.run(["ip", "netns", "add", name], capture_output=True, text=True)
    if made.returncode:
        return f"hosts need the right to make network namespaces: {made.stderr.strip()}"
    subprocess.run(["ip", "netns", "del", name], check=True)
    return None


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True)


class Hosts:
    """Hosts 1 to ``count``, each with a network and a ``/tmp/ray`` of its own.

    Args:
        count: How many.
        slow: Hosts with a slow cable: the seconds for which a frame is on its way, in each
            direction.
    """

    def __init__(self, count: int, slow: Mapping[int, float] | None = None) -> None:
        self.count = count
        self._slow = dict(slow or {})
        self.wires: dict[int, SlowWire] = {}
        """The slow cables, by host."""
        self._tag = f"{os.getpid() % 100_000}x{next(_numbers)}"
        self._net = f"10.{80 + os.getpid() % 150}.7"
        self._folder = pathlib.Path(tempfile.mkdtemp(prefix="distgraph-hosts-"))

    def __enter__(self) -> Hosts:
        os.makedirs("/tmp/ray", exist_ok=True)
        _ip("link", "add", f"dgb{self._tag}", "type", "bridge")
        _ip("link", "set", f"dgb{self._tag}", "up")
        for host in range(1, self.count + 1):
            name, veth = self._name(host), self._veth(host)
            _ip("netns", "add", name)
            if host in self._slow:
                inside = f"dgi{self._tag}-{host}"
                self.wires[host] = SlowWire((veth, inside), self._slow[host])
                _ip("link", "set", inside, "netns", name)
                _ip("-n", name, "link", "set", inside, "name", "eth0")
            else:
                _ip("link", "add", veth, "type", "veth", "peer", "name", "eth0", "netns", name)
            _ip("link", "set", veth, "master", f"dgb{self._tag}", "up")
            _ip("-n", name, "addr", "add", f"{self.address(host)}/24", "dev", "eth0")
            _ip("-n", name, "link", "set", "eth0", "up")
            _ip("-n", name, "link", "set", "lo", "up")
            (self._folder / str(host)).mkdir()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for host in range(1, self.count + 1):
            with suppress(subprocess.CalledProcessError):
                self.kill(host)
                _ip("netns", "del", self._name(host))
        for wire in self.wires.values():
            wire.close()
        with suppress(subprocess.CalledProcessError):
            _ip("link", "del", f"dgb{self._tag}")
        shutil.rmtree(self._folder, ignore_errors=True)

    def _name(self, host: int) -> str:
        return f"dg{self._tag}-{host}"

    def _veth(self, host: int) -> str:
        return f"dgv{self._tag}-{host}"

    def address(self, host: int) -> str:
        return f"{self._net}.{host}"

    def start(self, host: int, words: Sequence[str], **options: Any) -> subprocess.Popen[str]:
        """Start a program on a host."""
        bind = 'mount --bind "$0" /tmp/ray; exec "$@"'
        inside = ["ip", "netns", "exec", self._name(host), "unshare", "-m", "bash", "-c", bind]
        env = {name: value for name, value in os.environ.items() if "proxy" not in name.lower()}
        env |= {"PYTHONPATH": str(ROOT), "RAY_AUTH_MODE": "disabled"}
        env.pop("RAY_ADDRESS", None)
        env |= options.pop("env", {})
        return subprocess.Popen(
            [*inside, str(self._folder / str(host)), *words],
            env=env,
            cwd=ROOT,
            text=True,
            **options,
        )

    def start_ray(self, cpus: Sequence[float]) -> None:
        """Start a Ray cluster with a node on each host.

        Host i has the resource ``host<i>``; all but the first one have the resource ``far``.
        """
        ray = str(pathlib.Path(sys.executable).with_name("ray"))
        for host, number in enumerate(cpus, 1):
            where = (
                ["--head", "--port", str(_PORT), "--include-dashboard", "false"]
                if host == 1
                else ["--address", f"{self.address(1)}:{_PORT}"]
            )
            words = [ray, "start", *where, "--node-ip-address", self.address(host)]
            far = "" if host == 1 else ', "far": 100'
            words += ["--num-cpus", str(number), "--resources", f'{{"host{host}": 100{far}}}']
            words += ["--object-store-memory", str(200 << 20), "--disable-usage-stats"]
            done = self.start(host, words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
            output, _ = done.communicate(timeout=60)
            assert done.returncode == 0, output

    def start_program(
        self, module: str, *words: str, host: int = 1, **environment: str
    ) -> subprocess.Popen[str]:
        """Start a module of the tests on a host, connected to the cluster."""
        env = {"RAY_ADDRESS": f"{self.address(1)}:{_PORT}", **environment}
        return self.start(
            host, [sys.executable, "-m", module, *words], env=env, stdout=subprocess.PIPE
        )

    def cut(self, host: int) -> None:
        """Take a host off the network."""
        _ip("link", "set", self._veth(host), "down")

    def join(self, host: int) -> None:
        """Put a host back."""
        _ip("link", "set", self._veth(host), "up")

    def kill(self, host: int) -> None:
        """Kill all processes of a host, which loses its memory."""
        end = time.monotonic() + 20
        while time.monotonic() < end:
            found = subprocess.run(
                ["ip", "netns", "pids", self._name(host)], check=True, capture_output=True
            ).stdout.split()
            if not found:
                return
            for pid in found:
                with suppress(OSError):
                    os.kill(int(pid), signal.SIGKILL)
            time.sleep(0.05)
