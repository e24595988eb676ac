"""A cluster of several nodes: tasks land by their resources, one ordered stream comes back."""

import json
import os
import pathlib
import subprocess
import sys

import pytest

pytestmark = [pytest.mark.ray, pytest.mark.faults]

ROOT = pathlib.Path(__file__).parents[2]


def report_of(program, *arguments):
    """Run a program of this folder in a process of its own and return the JSON it prints.

    Ray prints as well, of the node that is lost.
    """
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    env.pop("RAY_ADDRESS", None)
    done = subprocess.run(
        [sys.executable, str(pathlib.Path(__file__).with_name(program)), *arguments],
        env=env,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=110,
    )
    assert done.returncode == 0, done.stderr
    (report,) = (line for line in done.stdout.splitlines() if line.startswith("{"))
    return json.loads(report)


def test_a_lost_machine_is_a_typed_error_behind_all_that_it_had_sent():
    report = report_of("lost_node.py")
    assert report["seen"] == [0, 1, 2, 3, 4]
    assert report["error"].startswith("node 'endless', step 1, attempt 1: the process or machine")
    print(f"known after {report['seconds']:.2f} s")
    assert report["next"] == {"n": 7}


def test_savers_stores_and_caches_are_reached_from_another_machine(tmp_path):
    report = report_of("storage_on_nodes.py", str(tmp_path))
    far = report["far"]
    assert far != report["here"]
    used = {
        "asked": ["go on?"],
        "items": [far, "cached", True, "in"],
        "answer": ["yes", far],
        "cached": 1,
        "store": far,
        "notes": True,
        "inner": ["in", "in"],
    }
    assert report["memory"] == used
    assert report["file"] == used


def test_tasks_land_by_their_resources_and_one_ordered_stream_comes_back():
    report = report_of("several_nodes.py")
    print(f"on three nodes: {report['seconds']:.2f} s")
    chunks, sides = report["chunks"], report["sides"]

    ran_on = dict(chunks[-1][1]["items"])
    assert ran_on == {**sides, "again": sides["left"]}
    assert len(set(sides.values())) == 2

    custom = [p for mode, p in chunks if mode == "custom"]
    for name in ("left", "right", "again"):
        assert [p["i"] for p in custom if p["node"] == name] == list(range(50))
        own = [m for m, p in chunks if name in p or p.get("node") == name]
        assert own == ["custom"] * 50 + ["updates"]
    assert [i for i, (mode, _) in enumerate(chunks) if mode == "values"] == [0, 103, 155]
    assert len(chunks) == 156
