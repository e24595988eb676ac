"""Requests for runs: parsed, checked, and kept with their runs."""

from __future__ import annotations

from collections.abc import Mapping, Set
from dataclasses import dataclass, field, fields
from typing import Any, Literal, get_args

from distgraph._internal.mistakes import nearest, warn_once
from distgraph.serve.errors import RequestError
from distgraph.types import Command, Send

__all__ = ("CLIENT_MODES", "RUN_FIELDS", "RunRequest", "engine_modes", "report_ignored")

CLIENT_MODES = (
    "values",
    "messages",
    "messages-tuple",
    "updates",
    "debug",
    "tasks",
    "checkpoints",
    "custom",
    "tools",
    "events",
)
"""Stream modes of LangGraph's clients, and ``tools``."""

MultitaskStrategy = Literal["enqueue", "reject", "interrupt", "rollback"]


def engine_modes(client_modes: tuple[str, ...]) -> tuple[str, ...]:
    """Return the stream modes of graphs that show what a client asked for."""
    found: dict[str, None] = {}
    for mode in client_modes:
        # the root's own stream, in mode ``events``, is that of ``updates``
        mode = {"messages-tuple": "messages", "events": "updates"}.get(mode, mode)
        found[mode] = None
    return tuple(found)


@dataclass(frozen=True, slots=True)
class RunRequest:
    """A request for a run."""

    assistant_id: str
    input: Any = None
    command: Mapping[str, Any] | None = None
    stream_mode: tuple[str, ...] = ("values",)
    """Modes as clients name them."""
    more_modes: tuple[str, ...] = ()
    """Further modes of graphs that the run's events show: the event protocol needs them."""
    stream_subgraphs: bool = False
    stream_resumable: bool = False
    config: Mapping[str, Any] = field(default_factory=dict)
    context: Any = None
    metadata: Mapping[str, Any] = field(default_factory=dict)
    checkpoint: Mapping[str, Any] = field(default_factory=dict)
    """Of ``checkpoint_id``, ``checkpoint_ns`` and ``checkpoint_map``, those that were given."""
    interrupt_before: Literal["*"] | tuple[str, ...] | None = None
    interrupt_after: Literal["*"] | tuple[str, ...] | None = None
    multitask_strategy: MultitaskStrategy = "enqueue"
    if_not_exists: Literal["reject", "create"] = "reject"
    on_disconnect: Literal["cancel", "continue"] = "continue"
    on_completion: Literal["delete", "keep"] = "delete"
    after_seconds: float = 0.0
    durability: Literal["sync", "async", "exit"] | None = None
    webhook: str | None = None
    strict_resume: bool = False
    """Whether a resume value that no question waits for ends the run with an error."""

    @classmethod
    def parse(cls, body: Any, *, more_modes: tuple[str, ...] = ()) -> RunRequest:
        """Return the request that a body describes. Fields that are unknown are left out.

        Raises:
            RequestError: 422 or 400: a field is missing or wrong; the detail names it.
        """
        if not isinstance(body, dict):
            raise RequestError(422, "the body must be a JSON object")
        given = {key: value for key, value in body.items() if value is not None}
        config = _object(given, "config")
        configurable = _object(config, "configurable", "config.configurable")
        if "context" in given and set(configurable) - _INTERNAL:
            raise RequestError(
                400,
                "give the configuration as context or as config.configurable, not as both; "
                "prefer context",
            )
        durability = _choice(given, "durability", ("sync", "async", "exit"), None)
        if durability is None and "checkpoint_during" in given:
            durability = "async" if given["checkpoint_during"] else "exit"
        checkpoint = dict(_object(given, "checkpoint"))
        if "checkpoint_id" in given:
            checkpoint["checkpoint_id"] = given["checkpoint_id"]
        command = _object(given, "command") if "command" in given else None
        return cls(
            assistant_id=_text(given, "assistant_id"),
            input=given.get("input"),
            command=command,
            stream_mode=_modes(given.get("stream_mode", "values")),
            more_modes=more_modes,
            stream_subgraphs=bool(given.get("stream_subgraphs", False)),
            stream_resumable=bool(given.get("stream_resumable", False)),
            config=config,
            context=given.get("context"),
            metadata=_object(given, "metadata"),
            checkpoint={k: v for k, v in checkpoint.items() if k in _CHECKPOINT and v is not None},
            interrupt_before=_nodes(given, "interrupt_before"),
            interrupt_after=_nodes(given, "interrupt_after"),
            multitask_strategy=_choice(
                given, "multitask_strategy", get_args(MultitaskStrategy), "enqueue"
            ),
            if_not_exists=_choice(given, "if_not_exists", ("reject", "create"), "reject"),
            on_disconnect=_choice(given, "on_disconnect", ("cancel", "continue"), "continue"),
            on_completion=_choice(given, "on_completion", ("delete", "keep"), "delete"),
            after_seconds=_seconds(given, "after_seconds"),
            durability=durability,
            webhook=_webhook(given.get("webhook")),
            strict_resume=bool(given.get("strict_resume", False)),
        )

    def engine_modes(self) -> tuple[str, ...]:
        """Return the modes with which the run is started. ``values`` is one of them."""
        modes = ("values", *engine_modes(self.stream_mode), *self.more_modes)
        return tuple(dict.fromkeys(modes))

    def engine_input(self) -> Any:
        """Return the input of the run: the client's, or its command.

        Raises:
            RequestError: 422: the command is wrong.
        """
        if self.command is None:
            return self.input
        # JavaScript's class Command says with lg_name what it is
        unknown = self.command.keys() - {"resume", "update", "goto", "lg_name"}
        if unknown:
            raise RequestError(422, f"command has no {', '.join(sorted(unknown))}")
        update = self.command.get("update")
        if isinstance(update, list):
            update = [tuple(pair) if isinstance(pair, list) else pair for pair in update]
        goto = self.command.get("goto")
        return Command(
            resume=self.command.get("resume"),
            update=update,
            goto=[_send(g) for g in goto] if isinstance(goto, list) else _send(goto or ()),
        )

    def kwargs(self) -> dict[str, Any]:
        """Return the request as JSON, as it is kept with the run."""
        return {
            "assistant_id": self.assistant_id,
            "input": self.input,
            "command": self.command,
            "stream_mode": list(self.stream_mode),
            "more_modes": list(self.more_modes),
            "stream_subgraphs": self.stream_subgraphs,
            "subgraphs": self.stream_subgraphs,
            "stream_resumable": self.stream_resumable,
            "resumable": self.stream_resumable,
            "config": self.config,
            "context": self.context,
            "checkpoint": self.checkpoint,
            "interrupt_before": self.interrupt_before,
            "interrupt_after": self.interrupt_after,
            "multitask_strategy": self.multitask_strategy,
            "on_disconnect": self.on_disconnect,
            "on_completion": self.on_completion,
            "after_seconds": self.after_seconds,
            "durability": self.durability,
            "webhook": self.webhook,
            "strict_resume": self.strict_resume,
        }

    @classmethod
    def of(cls, kwargs: Mapping[str, Any]) -> RunRequest:
        """Return the request that was kept with a run."""
        more = tuple(kwargs.get("more_modes") or ())
        given = {key: value for key, value in kwargs.items() if value is not None}
        return cls.parse(given, more_modes=more)


_OTHERS = {
    "feedback_keys": "the server makes no links for feedback at LangSmith",
    "langsmith_tracer": "traces go where the environment of the server says",
}
"""Fields of LangGraph's clients without an effect, and why."""

RUN_FIELDS = frozenset(
    {each.name for each in fields(RunRequest)} - {"more_modes"}
    | {"checkpoint_id", "checkpoint_during"}
)
"""The fields of requests for runs that have an effect."""


def report_ignored(
    body: Mapping[str, Any], known: Set[str] = RUN_FIELDS, what: str = "runs"
) -> None:
    """Log the fields of a request that have no effect, each once in a process.

    Args:
        body: The request.
        known: The fields that have one.
        what: What the fields belong to.
    """
    ignored = [key for key, value in body.items() if value is not None and key not in known]
    warn_once(
        f"the field {key[:60]!r} of {what} has no effect: "
        + _OTHERS.get(key, f"it is unknown.{nearest(key, known, 0.8)}")
        for key in ignored
    )


_INTERNAL = frozenset(
    {"thread_id", "checkpoint_id", "checkpoint_ns", "checkpoint_map", "assistant_id", "graph_id",
     "run_id", "user_id"}
)  # fmt: skip

_CHECKPOINT = ("checkpoint_id", "checkpoint_ns", "checkpoint_map")


def _object(given: Mapping[str, Any], key: str, name: str | None = None) -> Mapping[str, Any]:
    value = given.get(key)
    if value is None:
        return {}
    if not isinstance(value, dict):
        raise RequestError(422, f"{name or key} must be an object, got {_shown(value)}")
    return value


def _text(given: Mapping[str, Any], key: str) -> str:
    value = given.get(key)
    if not isinstance(value, str) or not value:
        raise RequestError(422, f"{key} is required: a string, got {_shown(value)}")
    return value


def _choice(given: Mapping[str, Any], key: str, choices: tuple[str, ...], default: Any) -> Any:
    value = given.get(key, default)
    if value is not None and value not in choices:
        raise RequestError(422, f"{key} must be one of {', '.join(choices)}, got {_shown(value)}")
    return value


def _modes(given: Any) -> tuple[str, ...]:
    modes = [given] if isinstance(given, str) else given
    if not isinstance(modes, (list, tuple)):
        raise RequestError(422, f"stream_mode must be a mode or a list, got {_shown(given)}")
    for mode in modes:
        if mode not in CLIENT_MODES:
            raise RequestError(
                422, f"stream_mode {_shown(mode)} is unknown: choose from {', '.join(CLIENT_MODES)}"
            )
    return tuple(dict.fromkeys(modes)) or ("values",)


def _nodes(given: Mapping[str, Any], key: str) -> Literal["*"] | tuple[str, ...] | None:
    value = given.get(key)
    if value is None or value == []:
        return None
    if value == "*" or value == ["*"]:
        return "*"
    if isinstance(value, str):
        return (value,)
    if not isinstance(value, (list, tuple)) or not all(isinstance(n, str) for n in value):
        raise RequestError(422, f"{key} must be a list of nodes or '*', got {_shown(value)}")
    return tuple(value)


def _seconds(given: Mapping[str, Any], key: str) -> float:
    value = given.get(key, 0)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not value >= 0:
        raise RequestError(422, f"{key} must be a number of seconds from 0, got {_shown(value)}")
    return float(value)


def _webhook(given: Any) -> str | None:
    if given is None:
        return None
    if not isinstance(given, str) or not given.startswith(("http://", "https://")):
        raise RequestError(422, f"webhook must be an http or https URL, got {_shown(given)}")
    return given


def _send(given: Any) -> Any:
    if not isinstance(given, dict):
        return given
    if "node" not in given:
        raise RequestError(422, "command.goto must name nodes, or be {node, input}")
    return Send(str(given["node"]), given.get("input"))


def _shown(value: Any) -> str:
    return repr(value)[:100]
