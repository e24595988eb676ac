"""What ``python -m distgraph doctor`` says of an installation and a cluster: the rules, as text."""

from __future__ import annotations

import platform
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib import metadata

from distgraph import status

__all__ = ("EXTRAS", "Machine", "extras", "heading", "installed", "problems", "table", "verdict")

EXTRAS = {
    "langchain": ("langchain-core",),
    "agents": ("langchain", "langgraph"),
    "checkpoint": ("langgraph-checkpoint",),
    "sqlite": ("langgraph-checkpoint-sqlite",),
    "postgres": ("langgraph-checkpoint-postgres", "psycopg"),
    "serve": ("langgraph-sdk", "starlette", "uvicorn"),
    "progress": ("rich",),
    "otel": ("opentelemetry-api", "opentelemetry-sdk"),
}
"""Packages of each extra, without those that other extras or Ray bring."""

ONLY_HERE = ("progress",)
"""Extras that the calling process needs, and no other machine."""

_COMPARED = ("Python", "ray", "distgraph")
_PACKAGES = ("cloudpickle", "pydantic", *(name for names in EXTRAS.values() for name in names))
_EVERYWHERE = [n for n in _PACKAGES if all(n not in EXTRAS[extra] for extra in ONLY_HERE)]


@dataclass(frozen=True)
class Machine:
    """One machine of the cluster, as a worker process on it sees it."""

    name: str
    resources: dict[str, float] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    """Of Python and of installed packages."""
    error: str | None = None
    """Why there is no answer."""


def installed() -> dict[str, str]:
    """Return the versions of Python, distgraph, Ray and the packages of the extras, here."""
    import distgraph

    found = {"Python": platform.python_version(), "distgraph": distgraph.__version__}
    for name in ("ray", *_PACKAGES):
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            pass
    return found


def extras(versions: dict[str, str]) -> list[str]:
    """Return a line for each extra: what is installed of it, or the command that installs it."""
    lines = []
    for extra, names in EXTRAS.items():
        missing = [name for name in names if name not in versions]
        lines.append(
            f"  {extra}: not installed (pip install 'distgraph[{extra}]')"
            if missing
            else f"  {extra}: {', '.join(f'{name} {versions[name]}' for name in names)}"
        )
    return lines


def problems(here: dict[str, str], machines: Sequence[Machine]) -> list[str]:
    """Return what does not fit, each with the remedy.

    Python, Ray and distgraph must be the same everywhere. Other packages that this process has
    must exist on every machine, as nodes import them there; not those of ``ONLY_HERE``.
    """
    found = []
    for machine in machines:
        if machine.error is not None:
            found.append(f"{machine.name} does not answer: {machine.error}")
            continue
        for name in _COMPARED:
            there, ours = machine.versions.get(name), here.get(name)
            if ours is None or there == ours:
                continue
            has = f"has {name} {there}" if there else f"has no {name}"
            remedy = (
                f"install Python {ours} there, or run the program with Python {there}"
                if name == "Python"
                else f"run `pip install {name}=={ours}` there"
            )
            found.append(f"{machine.name} {has}, this process has {ours}: {remedy}")
        missing = [n for n in _EVERYWHERE if n in here and n not in machine.versions]
        if missing:
            found.append(
                f"{machine.name} lacks packages that this process has: run `pip install "
                f"{' '.join(f'{name}=={here[name]}' for name in dict.fromkeys(missing))}` there, "
                "or ship them with runtime_env"
            )
    return found


def table(machines: Sequence[Machine]) -> list[str]:
    """Return the machines as lines of a table."""
    rows: list[tuple[str, ...]] = [("machine", "CPUs", "GPUs", "Python", "Ray", "distgraph")]
    for machine in machines:
        amounts = [f"{machine.resources.get(key, 0):g}" for key in ("CPU", "GPU")]
        versions = [machine.versions.get(key, "-") for key in _COMPARED]
        rows.append((machine.name, *amounts, *versions))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return [
        "  "
        + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]


def heading(versions: dict[str, str]) -> str:
    """Return the line about this process."""
    ray = f"Ray {versions['ray']}" if "ray" in versions else "no Ray"
    return f"distgraph {versions['distgraph']}, Python {versions['Python']}, {ray}, {sys.platform}"


def verdict(found: Sequence[str]) -> list[str]:
    """Return the last lines."""
    if not found:
        return ["Everything fits."]
    return [f"{status.counted(len(found), 'problem')}:", *(f"  {text}" for text in found)]
