"""The version of distgraph."""

__version__ = "0.1.0"
