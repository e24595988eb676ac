"""``python -m distgraph``, the same as the command ``distgraph``; see ``distgraph.cli``."""

from __future__ import annotations

from distgraph.cli import main

__all__ = ("main",)

if __name__ == "__main__":
    raise SystemExit(main())
