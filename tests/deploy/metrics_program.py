"""A program with a Ray of its own whose metrics are exported: prints what Prometheus would read."""

from __future__ import annotations

import json
import socket
import time
import urllib.request
from typing import Any


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def _metrics(port: int) -> dict[str, float]:
    """Return the values of distgraph's metrics, added up over processes: by name and labels."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        text = answer.read().decode()
    found: dict[str, float] = {}
    for line in text.splitlines():
        if not line.startswith("ray_distgraph_"):
            continue
        name, _, rest = line.partition("{")
        labels, _, value = rest.rpartition("} ")
        own = [
            part
            for part in labels.split('",')
            if part.partition("=")[0] in ("graph", "node", "status")
        ]
        key = name + "".join(f" {part.strip(chr(34)).replace(chr(34), '')}" for part in sorted(own))
        found[key] = found.get(key, 0.0) + float(value)
    return found


def main() -> None:
    import ray

    from distgraph import START, StateGraph, StreamWriter
    from tests.support.graphs import Items

    port = _free_port()
    ray.init(
        address="local",
        num_cpus=1,
        include_dashboard=False,
        _metrics_export_port=port,
        _system_config={"metrics_report_interval_ms": 500},
        logging_level="ERROR",
        log_to_driver=False,
    )

    def write(state: Items, writer: StreamWriter) -> Any:
        for number in range(50):
            writer(number)
        return {"items": ["a"]}

    graph = StateGraph(Items).add_node("write", write).add_edge(START, "write").compile(name="g")
    for _ in range(3):
        list(graph.stream({"items": []}, stream_mode="custom"))
    until = time.monotonic() + 60
    found: dict[str, float] = {}
    while time.monotonic() < until:
        try:
            found = _metrics(port)
        except OSError:  # the agent is not up yet
            found = {}
        seen = (
            found.get("ray_distgraph_runs_ended_total graph=g status=done"),
            found.get("ray_distgraph_worker_events_total"),
        )
        if seen == (3.0, 150.0) and found.get("ray_distgraph_stream_events_total", 0.0) >= 150:
            break
        time.sleep(0.2)
    print(json.dumps(found))


if __name__ == "__main__":
    main()
