"""Placement of a node's attempts: the keys of ``ray_options``, validated by ``add_node``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Literal

from typing_extensions import TypedDict

from distgraph._internal.mistakes import nearest, nearest_key
from distgraph.loss_policy import LOSS_OPTIONS, checked_losses
from distgraph.types import OnLostAttempt

__all__ = (
    "AFFINITIES",
    "PLACEMENTS",
    "Affinity",
    "Kind",
    "Placement",
    "RayOptions",
    "ToolOptions",
    "in_other_form",
    "resolve",
    "validate",
)

Kind = Literal["task", "async", "thread", "pool"]
PLACEMENTS: tuple[Kind, ...] = ("task", "async", "thread")

Affinity = Literal["run", "thread"]
AFFINITIES: tuple[Affinity, ...] = ("run", "thread")
"""The attempts that share one process: those of a run, or of all runs with one ``thread_id``."""

_RESERVING = ("num_cpus", "num_gpus", "memory", "resources", "accelerator_type")
"""Options that reserve something for an attempt: a machine's shared executor cannot."""

_TARGETING = ("label_selector", "scheduling_strategy", "runtime_env")
"""Options that choose a machine or a process for an attempt."""


class RayOptions(TypedDict, total=False):
    """Resources and placement of one attempt of a node: Ray's options, and six of distgraph."""

    num_cpus: float | None
    """CPUs to reserve. Default: 1 for a plain function, none for ``async def`` and classes."""
    num_gpus: float | None
    """GPUs to reserve; a fraction shares one."""
    memory: float | None
    """Bytes to reserve."""
    resources: Mapping[str, float] | None
    """Amounts of custom resources, as machines declare them with ``ray start --resources``."""
    accelerator_type: str | None
    """Kind of GPU, as Ray names it."""
    label_selector: Mapping[str, str] | None
    """Labels that the machine must have."""
    scheduling_strategy: object
    """``"SPREAD"``, ``"DEFAULT"``, or one of Ray's strategy objects."""
    runtime_env: Mapping[str, Any] | None
    """Ray's runtime environment; a distinct one needs worker processes of its own."""
    placement: Literal["task", "async", "thread"] | None
    """A Ray task, a coroutine of the machine's executor, or a thread of that executor."""
    concurrency: int | tuple[int, int | None] | None
    """For a class: the number of workers that construct it, or the fewest and the most."""
    affinity: Affinity | None
    """``"run"``: one process for all such nodes of a run. ``"thread"``: of all runs of a thread."""
    max_attempts: int | None
    """Attempts in all where attempts are lost with their process; default: that of the run."""
    on_lost_attempt: OnLostAttempt | None
    """What follows if a lost attempt had events in the stream; default: that of the run."""
    lease: bool | None
    """``False``: each attempt is a Ray task of its own, also where workers are leased."""


class ToolOptions(RayOptions, total=False):
    """``RayOptions`` of a tool's calls, with limits of their own."""

    timeout: float | timedelta | None
    """Seconds, or a ``timedelta``, that one call may take."""
    max_concurrency: int | None
    """Calls of the tool that run at a time."""


_OF_ENVIRONMENTS = (
    "working_dir",
    "py_modules",
    "py_executable",
    "excludes",
    "pip",
    "uv",
    "conda",
    "container",
    "image_uri",
    "env_vars",
    "config",
    "nsight",
    "worker_process_setup_hook",
)
"""Keys of Ray's runtime environments; plug-ins of Ray may have others."""

_ALLOWED = (
    *_RESERVING,
    *_TARGETING,
    "placement",
    "concurrency",
    "affinity",
    *LOSS_OPTIONS,
    "lease",
)


@dataclass(frozen=True, slots=True)
class Placement:
    """The placement of one node's attempts.

    Attributes:
        kind: ``task``: a Ray task with ``options``. ``async``: a coroutine of the asynchronous
            executor of some machine. ``thread``: a thread of that executor, which holds no core.
            ``pool``: a task of an actor that has constructed the node's class.
        options: Options of ``ray.remote`` for the task, ``num_cpus`` always among them; empty for
            the other kinds.
    """

    kind: Kind
    options: Mapping[str, Any] = field(default_factory=dict)
    size: tuple[int, int | None] | None = None
    """Fewest and most workers of a pool; None for as many as the cluster has CPUs."""
    affinity: Affinity | None = None
    """The attempts that share one executor, which no others use; None: any executor will do."""
    lease: bool = True
    """Whether the task may serve other attempts with the same options after this one."""


def _number(node: str, key: str, value: Any) -> None:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or value < 0:
        raise ValueError(
            f"Node `{node}`: ray_options[{key!r}] must be a number that is not negative, "
            f"got {value!r}"
        )


def validate(ray_options: Mapping[str, Any] | None, node: str = "") -> dict[str, Any]:
    """Check the names and the plain values of a node's ``ray_options`` and return a copy.

    Raises:
        ValueError: An unknown name (the nearest valid one is in the message) or a bad value.
    """
    if ray_options is None:
        return {}
    if not isinstance(ray_options, Mapping):
        raise ValueError(
            f"Node `{node}`: ray_options must be a mapping such as {{'num_cpus': 2}}, "
            f"got {type(ray_options).__name__}"
        )
    options = {key: value for key, value in ray_options.items() if value is not None}
    for key, value in options.items():
        if key not in _ALLOWED:
            raise ValueError(
                f"Node `{node}`: unknown ray_options key {key!r}.{nearest(key, _ALLOWED)} "
                f"Valid keys: {', '.join(_ALLOWED)}"
            )
        if key in ("num_cpus", "num_gpus", "memory"):
            _number(node, key, value)
    checked_losses(options, f"Node `{node}`: ray_options")
    environment = options.get("runtime_env")
    if isinstance(environment, Mapping) and (hint := nearest_key(environment, _OF_ENVIRONMENTS)):
        wrong = ", ".join(repr(key) for key in environment if key not in _OF_ENVIRONMENTS)
        raise ValueError(
            f"Node `{node}`: ray_options['runtime_env'] has unknown keys: {wrong}.{hint}"
        )
    resources = options.get("resources")
    if resources is not None:
        if not isinstance(resources, Mapping):
            raise ValueError(
                f"Node `{node}`: ray_options['resources'] must map names to amounts, "
                f"got {resources!r}"
            )
        for name, amount in resources.items():
            if name in ("CPU", "GPU"):
                raise ValueError(
                    f"Node `{node}`: ask for {name}s with ray_options["
                    f"{'num_cpus' if name == 'CPU' else 'num_gpus'!r}], not in 'resources'"
                )
            _number(node, f"resources.{name}", amount)
    placement = options.get("placement")
    if placement is not None and placement not in PLACEMENTS:
        raise ValueError(
            f"Node `{node}`: ray_options['placement'] must be one of "
            f"{', '.join(map(repr, PLACEMENTS))}, got {placement!r}."
            f"{nearest(placement, PLACEMENTS)}"
        )
    if options.get("affinity") not in (None, *AFFINITIES):
        raise ValueError(
            f"Node `{node}`: ray_options['affinity'] must be 'run' or 'thread', got "
            f"{options['affinity']!r}"
        )
    if not isinstance(options.get("lease", True), bool):
        raise ValueError(
            f"Node `{node}`: ray_options['lease'] must be True or False, got {options['lease']!r}"
        )
    if options.get("concurrency") is not None:
        options["concurrency"] = _pool_size(options["concurrency"], node)
        if placement is not None:
            raise ValueError(
                f"Node `{node}`: 'concurrency' makes a pool of workers, so 'placement' is not "
                "supported. Drop one of them"
            )
    return options


def _pool_size(value: Any, node: str) -> tuple[int, int | None]:
    fewest, most = value if isinstance(value, (tuple, list)) and len(value) == 2 else (value, value)
    whole = all(isinstance(n, int) and not isinstance(n, bool) for n in (fewest, most or 1))
    if not whole or fewest < 1 or (most is not None and most < fewest):
        raise ValueError(
            f"Node `{node}`: ray_options['concurrency'] is how many workers construct the class: "
            f"a number from 1, or (fewest, most); got {value!r}"
        )
    return fewest, most


def in_other_form(ray_options: Mapping[str, Any], is_async: bool) -> dict[str, Any]:
    """Return options that give the other form of a node's code, sync or async, the same place.

    Args:
        ray_options: Options of the node, for the form that ``is_async`` names.
        is_async: Whether that form is the async one.
    """
    place = resolve(ray_options, is_async)
    if place.affinity is not None or place.kind == "pool":
        return dict(ray_options)
    kind = place.kind if place.kind == "task" else "thread" if is_async else "async"
    return {**ray_options, "placement": kind}


def resolve(ray_options: Mapping[str, Any] | None, is_async: bool, node: str = "") -> Placement:
    """Return the placement of a node's attempts.

    A class runs in a pool of workers, which reserve no CPU by default. A sync node is a Ray task of
    one CPU. An async node runs in a machine's shared executor, unless its options name resources
    or a machine: the node is then a Ray task too.

    Raises:
        ValueError: Options that contradict each other, or are unknown.
    """
    options = validate(ray_options, node)
    for key in LOSS_OPTIONS:  # they are the driver's
        options.pop(key, None)
    affinity: Affinity | None = options.pop("affinity", None)
    if affinity is not None:
        if options:
            raise ValueError(
                f"Node `{node}`: with 'affinity' the attempts of a {affinity} share one process, "
                f"so {', '.join(sorted(options))} cannot be combined with it. Drop one of them"
            )
        return Placement("async" if is_async else "thread", affinity=affinity)
    size = options.pop("concurrency", None)
    if size is not None:
        if "lease" in options:
            raise ValueError(
                f"Node `{node}`: 'concurrency' makes a pool of workers, so 'lease' is not "
                "supported. Drop one of them"
            )
        # a worker that waits for work would hold its CPU all the same, and starve other nodes
        options.setdefault("num_cpus", 0)
        return Placement("pool", options, size)
    requested: Kind | None = options.pop("placement", None)
    if requested in ("async", "thread"):
        if options:
            raise ValueError(
                f"Node `{node}`: placement {requested!r} runs in an executor that is shared, so "
                f"{', '.join(sorted(options))} cannot be combined with it. Drop them, or use "
                "placement 'task'"
            )
        if requested == "async" and not is_async:
            raise ValueError(
                f"Node `{node}`: placement 'async' needs an `async def` node. Use 'thread' for a "
                "sync node that mostly waits"
            )
        if requested == "thread" and is_async:
            raise ValueError(
                f"Node `{node}`: placement 'thread' is for sync nodes; this one is `async def` "
                "and runs on the asynchronous executor already"
            )
        return Placement(requested)
    if requested is None and is_async and not options:
        return Placement("async")
    lease = options.pop("lease", True)
    options.setdefault("num_cpus", 1)
    return Placement("task", options, lease=lease)
