"""Meets other versions of distgraph on a cluster, and machines without it; prints JSON.

A program of its own: it must not meet the Ray of the session that runs the tests.
"""

import json
import pathlib
import shutil
import sys
import time

import ray
from ray.cluster_utils import Cluster
from typing_extensions import TypedDict

import distgraph
from distgraph.graph import START, StateGraph

FAR = {"resources": {"far": 0.5}}


WITHOUT = """
import sys

class Finder:
    @staticmethod
    def find_spec(name, path=None, target=None):
        if name in ("distgraph", "actors"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Finder)
"""

PREFER = """
import importlib.machinery, sys

class Finder:
    @staticmethod
    def find_spec(name, path=None, target=None):
        if name in ("distgraph", "actors"):
            return importlib.machinery.PathFinder.find_spec(name, [{folder!r}])

sys.meta_path.insert(0, Finder)
"""
"""Workers put the caller's own folders before what is installed: this goes before both."""


class State(TypedDict, total=False):
    n: int


def another_version(folder: pathlib.Path) -> str:
    """Copy the packages to a folder, with another version number."""
    root = pathlib.Path(distgraph.__file__).parents[1]
    for package in ("distgraph", "actors"):
        shutil.copytree(root / package, folder / package)
    init = folder / "distgraph" / "_internal" / "version.py"
    line = f'__version__ = "{distgraph.__version__}"'
    text = init.read_text()
    assert line in text
    init.write_text(text.replace(line, '__version__ = "99.0"'))
    (folder / "sitecustomize.py").write_text(PREFER.format(folder=str(folder)))
    return str(folder)


def told(graph, ran):
    begin = time.perf_counter()
    try:
        graph.invoke({"n": 1})
        error = None
    except Exception as failure:
        error = failure
    return {
        "type": type(error).__name__,
        "message": str(error),
        "ran": ran.exists(),
        "seconds": time.perf_counter() - begin,
    }


def main():
    folder = pathlib.Path(sys.argv[1])
    other, ran = another_version(folder / "other"), folder / "ran"

    def node(state):
        ran.touch()
        return {"n": 2}

    def graph_of(function, **options):
        builder = StateGraph(State).add_node("n", function, **options).add_edge(START, "n")
        return builder.compile(backend="ray")

    without = folder / "without"
    without.mkdir()
    (without / "sitecustomize.py").write_text(WITHOUT)
    report = {}
    cluster = Cluster(
        initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False}
    )
    options = {"address": cluster.address, "log_to_driver": False, "logging_level": "ERROR"}
    ray.init(**options, runtime_env={"env_vars": {"PYTHONPATH": other}})
    report["session"] = told(graph_of(node), ran)
    ray.shutdown()
    ray.init(**options, runtime_env={"env_vars": {"PYTHONPATH": str(without)}})
    report["session without"] = told(graph_of(node), ran)
    ray.shutdown()

    ray.init(**options)
    for name, path in (("worker", other), ("worker without", str(without))):
        far = cluster.add_node(num_cpus=1, resources={"far": 1}, env_vars={"PYTHONPATH": path})
        cluster.wait_for_nodes()
        report[name] = told(graph_of(node, ray_options=FAR), ran)
        cluster.remove_node(far)
    report["here"] = told(graph_of(node), ran)
    print(json.dumps(report))
    ray.shutdown()
    cluster.shutdown()


if __name__ == "__main__":
    main()
