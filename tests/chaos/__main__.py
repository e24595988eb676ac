"""Runs under faults, and prints figures.

``python -m tests.chaos --minutes 5``: random faults of all kinds for some minutes.
``python -m tests.chaos --events 10000000``: the same until so many events were read.
``python -m tests.chaos --steps 1000``: one saved run, whose processes are killed in turn.
``python -m tests.chaos --run 10000000``: one run of many events, and the memory that it takes.
``--mirror``: with a mirror of the broker, whose death then ends no run.
"""

from __future__ import annotations

import argparse
import os
import random
import sys

import ray

from tests.chaos import events, steps
from tests.chaos.many import SILENCE, report


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--minutes", type=float, default=None)
    parser.add_argument("--events", type=int, default=None)
    parser.add_argument("--nodes", type=int, default=3, help="nodes of the cluster")
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--steps", type=int, default=None)
    parser.add_argument("--run", type=int, default=None)
    parser.add_argument("--every", type=int, default=50, help="supersteps between two kills")
    parser.add_argument("--mirror", action="store_true")
    options = parser.parse_args()
    if options.mirror:
        os.environ["DISTGRAPH_MIRROR"] = "1"
    if options.run is None and options.steps is None:
        os.environ["DISTGRAPH_SILENCE"] = str(SILENCE)
        seed = options.seed if options.seed is not None else random.randrange(1 << 32)
        minutes = options.minutes or (5.0 if options.events is None else None)
        return not report(
            random.Random(seed),
            seed,
            options.nodes,
            minutes=minutes,
            events=options.events,
            is_mirrored=options.mirror,
        )
    ray.init(address="local", num_cpus=4, include_dashboard=False, log_to_driver=False)
    if options.run is not None:
        return not events.report(options.run)
    return not steps.report(options.steps, options.every)


if __name__ == "__main__":
    sys.exit(main())
