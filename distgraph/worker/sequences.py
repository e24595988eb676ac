"""A LangChain ``Runnable`` as a node: how its steps run.

As in LangGraph, the steps of a sequence are steps of the node's own run, and steps hand on what
they stream where somebody looks at it (``astream_events``).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AsyncExitStack, contextmanager
from typing import Any

from distgraph._internal.loaded import loaded
from distgraph.langgraphs.vocabulary import private_if_loaded as _private
from distgraph.worker.chunk_sums import sum_of, sum_of_async

__all__ = ("ainvoke_steps", "invoke_steps", "step_tag", "steps_of")


def steps_of(runnable: Any) -> tuple[Any, ...]:
    """Return the steps of a sequence; any other Runnable is one step."""
    kinds = (loaded("langchain_core.runnables.base", "RunnableSequence"), _private("RunnableSeq"))
    if any(kind is not None and isinstance(runnable, kind) for kind in kinds):
        return tuple(runnable.steps)
    return (runnable,)


def step_tag(number: int) -> str:
    """Return the tag of what runs in a step of a node, counted from 1."""
    return f"seq:step:{number}"


def invoke_steps(runnable: Any, input: Any, config: Mapping[str, Any]) -> Any:
    """Run the sync form of a node's Runnable."""
    first, *others = steps_of(runnable)
    if _shows_chunks(config):
        chunks = first.stream(input, config)
        for number, step in enumerate(others, 2):
            chunks = step.transform(chunks, _of_step(config, number))
        return sum_of(chunks)
    result = first.invoke(input, config)
    for number, step in enumerate(others, 2):
        with _without_config():
            result = step.invoke(result, _of_step(config, number))
    return result


async def ainvoke_steps(runnable: Any, input: Any, config: Mapping[str, Any]) -> Any:
    """Run the async form of a node's Runnable."""
    first, *others = steps_of(runnable)
    if _shows_chunks(config):
        async with AsyncExitStack() as opened:
            chunks = first.astream(input, config)
            opened.push_async_callback(chunks.aclose)
            for number, step in enumerate(others, 2):
                chunks = step.atransform(chunks, _of_step(config, number))
                opened.push_async_callback(chunks.aclose)
            return await sum_of_async(chunks)
    result = await first.ainvoke(input, config)
    for number, step in enumerate(others, 2):
        with _without_config():
            result = await step.ainvoke(result, _of_step(config, number))
    return result


def _shows_chunks(config: Mapping[str, Any]) -> bool:
    """Whether a handler of the caller's shows what a step streams."""
    handlers = getattr(config.get("callbacks"), "handlers", ())
    return any(getattr(handler, "shows_chunks", False) for handler in handlers)


def _of_step(config: Mapping[str, Any], number: int) -> Any:
    callbacks = config.get("callbacks")
    if callbacks is None or not hasattr(callbacks, "remove_tags"):
        return config
    callbacks = callbacks.copy()
    callbacks.remove_tags([step_tag(1)])
    callbacks.add_tags([step_tag(number)], False)
    return {**config, "callbacks": callbacks}


@contextmanager
def _without_config() -> Iterator[None]:
    """Hide the node's config from LangChain: a later step has but the one that it is given.

    LangChain would merge the two, and with them the tags of two steps.
    """
    around = loaded("langchain_core.runnables.config", "var_child_runnable_config")
    token = around.set({})
    try:
        yield
    finally:
        around.reset(token)
