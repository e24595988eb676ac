"""Ray's long messages become one line each, which ends with the log to read."""

from __future__ import annotations

import pytest

from distgraph.ray_messages import LONGEST, Log, shortened

ADVICE = (
    "Some common causes include: (1) the process was killed by the OOM killer due to high memory "
    "usage, (2) ray stop --force was called, or (3) the worker crashed unexpectedly due to SIGSEGV "
    "or another unexpected error."
)


def died(kind: str, detail: str, task: str = "Lease ID") -> str:
    return (
        "A worker died or was killed while executing a task by an unexpected system error. To "
        f"troubleshoot the problem, check the logs for the dead worker. {task}: 0200bf Worker ID: "
        "ed4c Node ID: a926 Worker IP address: 192.0.2.2 Worker port: 37125 Worker PID: 19271 "
        f"Worker exit type: {kind} Worker exit detail: {detail}"
    )


CRASHED = died(
    "SYSTEM_ERROR",
    f"Worker unexpectedly exits with a connection error code 2. End of file. {ADVICE}",
)
REPEATED = (
    "[32m [repeated 3x across cluster] (Ray deduplicates logs by default. Set RAY_DEDUP_LOGS=0 to "
    "disable log deduplication, or see https://example.org for more options.)[0m"
)
PROCESS = "worker process 19271 on 192.0.2.2 died"
MEMORY = (
    "the machine ran out of memory. Give nodes more with ray_options={'memory': ...}, or lower "
    "max_concurrency. Log: raylet"
)


def place(log: Log) -> str:
    return "raylet" if log.worker is None else f"{log.worker}-{log.pid}@{log.ip}"


@pytest.mark.parametrize(
    ("message", "line"),
    [
        (
            CRASHED,
            f"{PROCESS}: it was killed, it crashed, or its code ended it. "
            "Log: ed4c-19271@192.0.2.2",
        ),
        (
            CRASHED + REPEATED,
            f"{PROCESS}: it was killed, it crashed, or its code ended it. "
            "Log: ed4c-19271@192.0.2.2 (3 times)",
        ),
        (
            died("NODE_OUT_OF_MEMORY", "Task was killed due to the node running low on memory."),
            f"{PROCESS}: its machine ran out of memory. Log: ed4c-19271@192.0.2.2",
        ),
        (
            died("SYSTEM_ERROR", "The leased worker has unrecoverable failure."),
            f"{PROCESS}: it was killed, it crashed, or its code ended it. "
            "Log: ed4c-19271@192.0.2.2",
        ),
        (
            died("USER_ERROR", "The module cannot be set up. " + "x" * 500, "RayTask ID"),
            f"{PROCESS}: The module cannot be set up. Log: ed4c-19271@192.0.2.2",
        ),
        (
            "A worker died or was killed while executing a task by an unexpected system error.",
            "worker process ? on ? died: Ray gives no reason. Log: raylet",
        ),
        (
            "[2026-11-28 15:02:00,117 E 135782 135782] (raylet) node_manager.cc:3069: 1 Workers "
            "(tasks / actors) killed due to memory pressure (OOM), 0 Workers crashed due to other "
            "reasons at node (ID: 351e, IP: 192.0.2.7) over the last time period. To see more "
            "information about the Workers killed on this node, use `ray logs raylet.out`",
            f"1 worker process was killed on 192.0.2.7: {MEMORY}",
        ),
        (
            "2 worker(s) were killed due to the node running low on memory. " + "x" * 900,
            f"2 worker processes were killed: {MEMORY}",
        ),
        (
            "Refer to the documentation on how to address the out of memory issue: https://...",
            "",
        ),
        (
            "WARNING: 12 PYTHON worker processes have been started on node: a926 with address: "
            "192.0.2.2. This could be a result of using a large number of actors, or due to tasks "
            "blocked in ray.get() calls.",
            "Ray has started 12 worker processes on 192.0.2.2. Tasks with fractions of a CPU and "
            "actor pools need a process each",
        ),
    ],
)
def test_a_known_message_is_one_short_line(message: str, line: str) -> None:
    assert shortened(message, place) == line
    assert len(line) < 200


def test_a_long_message_of_any_kind_is_cut_and_its_log_named() -> None:
    text = "[2026-11-28 15:02:00,117 W 13 13] (raylet) file.cc:306: Something " + "and more " * 90
    line = shortened(text, place)
    assert line is not None
    assert line.startswith("Ray: Something and more and more")
    assert line.endswith("… Log: raylet")
    assert len(line) < 250


@pytest.mark.parametrize("text", ["Resized to 4 CPUs.", "x" * LONGEST])
def test_other_messages_are_shown_as_they_are(text: str) -> None:
    assert shortened(text, place) is None
