"""Runs under faults, and prints figures.

``python -m tests.chaos --minutes 5``: random faults for some minutes.
``python -m tests.chaos --steps 1000``: one saved run, whose processes are killed in turn.
``python -m tests.chaos --events 10000000``: one run of many events, and the memory that it takes.
``--mirror``: with a mirror of the broker, whose death then ends no run.
"""

from __future__ import annotations

import argparse
import os
import random
import sys
import time

import ray

from tests.chaos import events, steps
from tests.chaos.faults import BOUND, KINDS, Figures, graph, hitter, run_once


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--steps", type=int, default=None)
    parser.add_argument("--events", type=int, default=None)
    parser.add_argument("--every", type=int, default=50, help="supersteps between two kills")
    parser.add_argument("--mirror", action="store_true")
    options = parser.parse_args()
    if options.mirror:
        os.environ["DISTGRAPH_MIRROR"] = "1"
    ray.init(address="local", num_cpus=4, include_dashboard=False, log_to_driver=False)
    if options.events is not None:
        return not events.report(options.events)
    if options.steps is not None:
        return not steps.report(options.steps, options.every)
    seed = options.seed if options.seed is not None else random.randrange(1 << 32)
    print(f"seed {seed}")
    chance, figures, compiled = random.Random(seed), Figures(), graph()
    run_once(compiled, figures, lambda pid: None)
    begin = minute = time.monotonic()
    while time.monotonic() < begin + options.minutes * 60:
        run_once(compiled, figures, hitter(figures, chance, KINDS, 0.01))
        if time.monotonic() >= minute + 60:
            minute = time.monotonic()
            print(
                f"{(minute - begin) / 60:.0f} min: runs {figures.runs}, events {figures.events}, "
                f"faults {figures.faults.total()}, errors {figures.typed_errors.total()}, "
                f"violations {len(figures.violations)}, "
                f"{events.resident(os.getpid())} MiB in this process",
                flush=True,
            )
    per_minute = figures.events / ((time.monotonic() - begin) / 60)
    print(f"events per minute {per_minute:.0f}")
    print(f"runs {figures.runs}, exact {figures.exact}, events {figures.events}")
    print(f"resets {figures.resets}, faults {dict(figures.faults)}")
    print(f"typed errors {dict(figures.typed_errors)}")
    print(f"longest run {figures.longest:.1f} s, bound {BOUND:.0f} s")
    print(f"lost, repeated or out of order: {len(figures.violations)}")
    for violation in figures.violations[:20]:
        print(" ", violation)
    return bool(figures.violations or figures.longest > BOUND)


if __name__ == "__main__":
    sys.exit(main())
