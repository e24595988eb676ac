"""What a compiled graph asks for that cannot be honoured: told before anything runs."""

from __future__ import annotations

from typing import Any

from distgraph.errors import UnsupportedError

__all__ = ("refuse_graph", "refuse_node")

_BUILT_IN = ("langgraph.", "langchain.")


def refuse_graph(graph: Any, where: str, *, is_root: bool) -> None:
    """Refuse a graph by what was given to its ``compile`` or constructor.

    Raises:
        UnsupportedError: Names the option and the remedy.
    """
    if "__previous__" in graph.channels:
        raise UnsupportedError(
            f"{where} is an @entrypoint of LangGraph's functional API, which distgraph cannot run. "
            "Write it as a StateGraph: its tasks become nodes, started by edges or Send"
        )
    saver = graph.checkpointer
    if saver is not None and saver is not False and (is_root or saver is not True):
        raise UnsupportedError(
            f"{where} was compiled with checkpointer={_name(saver)}; this version keeps no "
            "checkpoints. Compile it without one"
        )
    options = {
        "cache": (graph.cache, "Compile it without one"),
        "cache_policy": (graph.cache_policy, "Leave it out"),
        "retry_policy": (tuple(graph.retry_policy or ()) or None, "Leave it out"),
        "step_timeout": (graph.step_timeout, "Set a timeout in the client that the node waits for"),
    }
    for option, (value, remedy) in options.items():
        if value is not None:
            raise UnsupportedError(f"{where}: {option}={_name(value)} cannot be honoured. {remedy}")
    for transformer in getattr(graph, "stream_transformers", ()):
        if not str(getattr(transformer, "__module__", "")).startswith(_BUILT_IN):
            raise UnsupportedError(
                f"{where}: stream transformer {_name(transformer)} cannot be honoured: distgraph "
                "streams by modes, not by stream_events(version='v3'). Compile without "
                "transformers, and transform the chunks where they are consumed"
            )


def refuse_node(node: Any, where: str) -> None:
    """Refuse a node by what was given to ``add_node``.

    Raises:
        UnsupportedError: Names the node, the option and the remedy.
    """
    remedies = {
        "retry_policy": "Leave it out, and catch and try again inside the node",
        "cache_policy": "Leave it out",
        "timeout": "Leave it out, and set one in the client that the node waits for",
        "error_handler_node": "Leave error_handler out, and catch the exception inside the node",
    }
    for option, remedy in remedies.items():
        if getattr(node, option, None):
            name = "error_handler" if option == "error_handler_node" else option
            raise UnsupportedError(f"{where}: {name} cannot be honoured. {remedy}")
    policy = getattr(node, "trace_policy", None)
    if policy is not None and not _says_nothing(policy):
        raise UnsupportedError(
            f"{where}: trace_policy cannot be honoured: the caller's callbacks would see what it "
            "is to hide. Leave it out, or hide the values in the node"
        )


def refuse_remote(runnable: Any, where: str) -> None:
    """Refuse a graph that another server runs.

    Raises:
        UnsupportedError: It is one.
    """
    if type(runnable).__name__ == "RemoteGraph":
        raise UnsupportedError(
            f"{where} is a RemoteGraph, whose engine is elsewhere. Call it from a function that "
            "is the node: def node(state): return remote.invoke(state)"
        )


def _says_nothing(policy: Any) -> bool:
    """Whether a policy is the stand-in that LangChain's middleware has where none is set."""
    for process in (policy.process_inputs, policy.process_outputs):
        if process is None:
            continue
        if process.__module__ != "langchain.agents.middleware._trace_policy":
            return False
        captured = [cell.cell_contents for cell in process.__closure__ or ()]
        default = process.__globals__.get("_DEFAULT_TRACE_POLICY")
        if default is not None or any(type(c).__name__ == "TracePolicy" for c in captured):
            return False
    return True


def _name(value: Any) -> str:
    if isinstance(value, (bool, int, float, str)):
        return repr(value)
    return getattr(value, "__name__", None) or f"{type(value).__name__}(...)"
