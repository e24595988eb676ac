"""A program on a cluster that grows and shrinks: two nodes need CPUs, and the head has none.

Prints a JSON object: the machines before, after, and in the end, and how many nodes ran.

The machines are those of Ray's fake provider, started as ``ray.cluster_utils.AutoscalingCluster``
does. That class needs a file that Ray's wheels lack, and stops every other Ray of this machine.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import traceback
from pathlib import Path
from typing import Any

HEAD, WORKER = "ray.head.default", "worker"
LIMIT = 200


def _config(address: str) -> dict[str, Any]:
    """Return what the autoscaler reads: at most two machines of two CPUs, for six idle seconds."""
    resources = {"CPU": 2, "object_store_memory": 100 << 20}
    return {
        "cluster_name": "distgraph",
        "provider": {
            "type": "fake_multinode",
            "gcs_address": address,
            # all machines have one address: without this, the autoscaler takes them for dead
            "use_node_id_as_ip": True,
            "disable_node_updaters": True,
        },
        "head_node_type": HEAD,
        "available_node_types": {
            HEAD: {"resources": {"CPU": 0}, "node_config": {}, "max_workers": 0},
            WORKER: {
                "resources": resources,
                "node_config": {},
                "min_workers": 0,
                "max_workers": 2,
            },
        },
        "max_workers": 2,
        "upscaling_speed": 1.0,
        "idle_timeout_minutes": 0.1,
        "auth": {},
        "docker": {},
        "file_mounts": {},
        "cluster_synced_files": [],
        "file_mounts_sync_continuously": False,
        **{
            f"{name}_commands": []
            for name in (
                "initialization",
                "setup",
                "head_setup",
                "worker_setup",
                "head_start_ray",
                "worker_start_ray",
            )
        },
    }


def _start(port: int, folder: str) -> subprocess.Popen[bytes]:
    import ray

    config = _config(f"{ray.util.get_node_ip_address()}:{port}")
    file = Path(folder) / "autoscaling.json"
    file.write_text(json.dumps(config))
    ray_command = Path(sys.executable).parent / "ray"
    command = [ray_command, "start", "--head", f"--port={port}", "--block", "--num-cpus=0"]
    command += [f"--autoscaling-config={file}", "--include-dashboard=false"]
    command += ["--object-store-memory=100000000"]
    # those of another Ray of this machine are taken, also where no dashboard is wanted
    command += [f"--dashboard-port={_free_port()}", f"--dashboard-agent-listen-port={_free_port()}"]
    fake = {
        "AUTOSCALER_UPDATE_INTERVAL_S": "1",
        "RAY_AUTH_MODE": "disabled",
        "RAY_FAKE_CLUSTER": "1",
        "RAY_TMPDIR": folder,
    }
    return subprocess.Popen(
        list(map(str, command)),
        env={**os.environ, **fake},
        stdout=sys.stderr,
        start_new_session=True,
    )


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("", 0))
        return int(found.getsockname()[1])


def _join(host: str, port: int, head: subprocess.Popen[bytes]) -> None:
    """Join the head, which may take its time: ``LIMIT`` is the bound."""
    import ray

    while True:
        try:
            # first a look at the port: Ray's own attempts end after a minute, with the process
            socket.create_connection((host, port), 5).close()
            ray.init(f"{host}:{port}", logging_level="ERROR", log_to_driver=False)
            return
        except OSError:  # also ConnectionError
            if head.poll() is not None:
                raise
            time.sleep(0.5)


def _measure() -> dict[str, int]:
    import ray

    from distgraph import START, StateGraph
    from tests.support.graphs import Items

    def machines() -> int:
        return sum(node["Alive"] for node in ray.nodes())

    def work(state: Items) -> Any:
        time.sleep(1)
        return {"items": ["a"]}

    builder = StateGraph(Items)
    for name in ("left", "right"):
        builder.add_node(name, work, ray_options={"num_cpus": 2}).add_edge(START, name)
    before = machines()
    ran = builder.compile(backend="ray").invoke({"items": []})["items"]
    after = machines()
    while machines() > before:  # ``LIMIT`` is the bound
        time.sleep(0.5)
    return {"before": before, "after": after, "ran": len(ran), "end": machines()}


def _give_up(number: int, frame: object) -> None:
    raise TimeoutError(f"not done after {LIMIT} s")


def main() -> None:
    signal.signal(signal.SIGALRM, _give_up)  # the cluster ends in any case
    signal.alarm(LIMIT)
    port = _free_port()
    with tempfile.TemporaryDirectory(prefix="ray", ignore_cleanup_errors=True) as folder:
        head = _start(port, folder)
        try:
            import ray

            _join(ray.util.get_node_ip_address(), port, head)
            print(json.dumps(_measure()), flush=True)
            ray.shutdown()
        except BaseException:
            traceback.print_exc()  # now: without its head, Ray may end this process at once
            raise
        finally:
            head.terminate()
            try:
                head.wait(20)
            except subprocess.TimeoutExpired:
                os.killpg(head.pid, signal.SIGKILL)


if __name__ == "__main__":
    main()
