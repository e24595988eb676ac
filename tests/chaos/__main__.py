"""Runs under random faults for some minutes, and prints figures: ``python -m tests.chaos``."""

from __future__ import annotations

import argparse
import random
import sys
import time

import ray

from tests.chaos.faults import BOUND, KINDS, Figures, graph, hitter, run_once


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=5.0)
    parser.add_argument("--seed", type=int, default=None)
    options = parser.parse_args()
    seed = options.seed if options.seed is not None else random.randrange(1 << 32)
    print(f"seed {seed}")
    ray.init(address="local", num_cpus=4, include_dashboard=False, log_to_driver=False)
    chance, figures, compiled = random.Random(seed), Figures(), graph()
    run_once(compiled, figures, lambda pid: None)
    until = time.monotonic() + options.minutes * 60
    while time.monotonic() < until:
        run_once(compiled, figures, hitter(figures, chance, KINDS, 0.01))
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
