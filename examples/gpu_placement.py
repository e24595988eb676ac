"""A model that is loaded once per worker and serves many tasks: on GPUs, or on CPUs without any.

    python examples/gpu_placement.py "parsing of command lines"
    python examples/gpu_placement.py --pretend-gpus 1    # a GPU's placement, without having one

A class given as a node is constructed once in each worker of a pool, and called for each task.
With ``num_gpus`` each worker reserves a GPU. The model here turns texts into vectors, by the words
that occur together in the documentation of Python's standard library, and finds the modules that
are nearest to a question. It computes with PyTorch where that is installed.
"""

from __future__ import annotations

import argparse
import importlib
import logging
import math
import operator
import os
import random
import re
import sysconfig
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Annotated, Any, TypedDict

from distgraph import START, RayOptions, Send, StateGraph
from whoran import WhoRan, tell

DIMENSIONS = 64
BATCH = 16

Bag = dict[int, float]
Vector = list[float]


class Batch(TypedDict):
    """The input of one task."""

    number: int
    """Of the batch."""
    texts: dict[str, str]
    """By name."""


class State(TypedDict, total=False):
    """The state of the run."""

    question: str
    texts: dict[str, str]
    vectors: Annotated[list[tuple[str, Vector]], operator.add]
    nearest: list[tuple[str, float]]


class Weights:
    """A matrix that stays where it was loaded: on a GPU, or in the memory of the process."""

    def __init__(self, rows: list[Vector]) -> None:
        self.rows: Any = rows
        self.device = "the CPU"
        try:
            self.torch: Any = importlib.import_module("torch")
        except ImportError:
            self.torch = None
            return
        if self.torch.cuda.is_available():
            self.device = str(self.torch.cuda.get_device_name())
        where = "cuda" if self.torch.cuda.is_available() else "cpu"
        self.rows = self.torch.tensor(rows, device=where)

    def times(self, bags: list[Bag]) -> list[Vector]:
        """Return for each bag the sum of the rows that it names, each times its weight."""
        if self.torch is None:
            return [
                [sum(w * self.rows[row][i] for row, w in bag.items()) for i in range(DIMENSIONS)]
                for bag in bags
            ]
        left = self.torch.zeros((len(bags), len(self.rows)), device=self.rows.device)
        for index, bag in enumerate(bags):
            for row, weight in bag.items():
                left[index, row] = weight
        vectors: list[Vector] = (left @ self.rows).tolist()
        return vectors


class Encoder:
    """Turns texts into vectors. Costly to construct, as a model whose weights are loaded."""

    made = 0
    """Instances in this process."""

    def __init__(self, corpus: list[str]) -> None:
        Encoder.made += 1
        bags = [Counter(words(text)) for text in corpus]
        self.documents = Counter(word for bag in bags for word in bag)
        self.rows = {word: row for row, word in enumerate(self.documents)}
        signatures = [signature(word) for word in self.rows]
        rows = [[0.0] * DIMENSIONS for _ in signatures]
        for bag in bags:
            together = total([signatures[self.rows[word]] for word in bag])
            for word in bag:
                rows[self.rows[word]] = total([rows[self.rows[word]], together])
        self.weights = Weights([unit(row) for row in rows])
        # to a worker that reserved a GPU, Ray shows this one only
        self.reserved = os.environ.get("CUDA_VISIBLE_DEVICES") or "none"
        tell("load", f"instance {Encoder.made}", device=self.weights.device, gpu=self.reserved)

    def __call__(self, batch: Batch) -> State:
        """Encode one batch."""
        tell("encode", batch["number"], device=self.weights.device, gpu=self.reserved)
        bags = [
            {
                self.rows[word]: count / self.documents[word]
                for word, count in Counter(words(text)).items()
                if word in self.rows
            }
            for text in batch["texts"].values()
        ]
        vectors = [unit(vector) for vector in self.weights.times(bags)]
        return {"vectors": list(zip(batch["texts"], vectors, strict=True))}


def words(text: str) -> list[str]:
    """Return the longer words of a text."""
    return re.findall(r"[a-z]{4,}", text.lower())


def signature(word: str) -> Vector:
    """Return a vector that is the word's own, the same in every process."""
    chance = random.Random(word)
    return [chance.choice((-1.0, 1.0)) for _ in range(DIMENSIONS)]


def total(vectors: list[Vector]) -> Vector:
    """Add up vectors."""
    return [sum(column) for column in zip(*vectors, strict=True)] or [0.0] * DIMENSIONS


def unit(vector: Vector) -> Vector:
    """Return a vector of length one, in the same direction."""
    length = math.hypot(*vector) or 1.0
    return [value / length for value in vector]


def batches(state: State) -> list[Send]:
    """Send the texts in batches to the model, and the question as one more."""
    items = [*state["texts"].items(), ("", state["question"])]
    groups = [dict(items[start : start + BATCH]) for start in range(0, len(items), BATCH)]
    return [Send("encode", Batch(number=n, texts=group)) for n, group in enumerate(groups)]


def rank(state: State) -> State:
    """Find the texts that are nearest to the question."""
    vectors = dict(state["vectors"])
    question = vectors.pop("")
    nearness = {
        name: sum(a * b for a, b in zip(vector, question, strict=True))
        for name, vector in vectors.items()
    }
    return {"nearest": sorted(nearness.items(), key=lambda item: -item[1])[:5]}


def build_graph(corpus: list[str], gpus: int) -> Any:
    """Build the graph; with GPUs each worker of the model reserves one."""
    options: RayOptions = {"concurrency": (1, 2)}
    if gpus:
        options = {"num_gpus": 1, "concurrency": (1, gpus)}
    builder = StateGraph(State)
    builder.add_node("encode", partial(Encoder, corpus), ray_options=options)
    builder.add_node(rank)
    builder.add_conditional_edges(START, batches, ["encode"])
    return builder.add_edge("encode", "rank").compile()


def documentation() -> dict[str, str]:
    """Return how the modules of Python's standard library describe themselves, by name."""
    found = {}
    for path in sorted(Path(sysconfig.get_path("stdlib")).glob("[a-z]*.py")):
        text = path.read_text("utf-8", errors="replace")
        described = re.match(r'(?:#[^\n]*\n|\s)*r?"""(.*?)"""', text, re.DOTALL)
        if described:
            found[path.stem] = described[1]
    return found


def connect(pretended: int) -> int:
    """Connect to Ray, or start it here, and return how many GPUs it has."""
    if os.environ.get("DISTGRAPH_BACKEND") == "local":
        return 0
    import ray

    address = os.environ.get("RAY_ADDRESS", "local")
    ray.init(address, num_gpus=pretended or None, logging_level=logging.ERROR)
    resources: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
    return int(resources.get("GPU", 0))


def main() -> None:
    """Ask, and print where the model was loaded, what it served, and what is nearest."""
    assert __doc__
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("question", nargs="?", default="parsing of command line arguments")
    parser.add_argument(
        "--pretend-gpus",
        type=int,
        default=0,
        metavar="N",
        help="let a Ray that is started here count N GPUs, there or not",
    )
    arguments = parser.parse_args()
    gpus = connect(arguments.pretend_gpus)
    if gpus:
        print(f"GPUs: {gpus}; each worker of the model reserves one")
    else:
        print("GPUs: none; the model runs on CPUs")
    texts = documentation()
    graph = build_graph(list(texts.values()), gpus)
    who = WhoRan()
    for mode, chunk in graph.stream(
        {"question": arguments.question, "texts": texts}, stream_mode=["custom", "updates"]
    ):
        if mode == "custom":
            who.add(chunk)
            where = f"process {chunk['pid']} on {chunk['device']}, GPU reserved: {chunk['gpu']}"
            print(f"{chunk['what']} {chunk['about']}: {where}")
        elif "rank" in chunk:
            print(f"nearest to {arguments.question!r}:")
            for name, nearness in chunk["rank"]["nearest"]:
                print(f"  {nearness:.2f} {name}: {texts[name].strip().splitlines()[0]}")
    who.show()


if __name__ == "__main__":
    main()
