"""What workflows stream, chunk for chunk as LangGraph."""

import asyncio

import pytest
from langchain_core.language_models import GenericFakeChatModel
from langchain_core.messages import AIMessage

from tests.func.support import flow, returned

MODES = ["values", "updates", "custom", "tasks", "debug"]


@flow
def sequence(func, ns, **options):
    writer = ns.get_stream_writer

    @func.task
    def double(value, by=2):
        writer()({"node": "double", "value": value})
        return value * by

    @func.task(name="named")
    def inner(value):
        return value + 1

    @func.entrypoint(**options)
    def workflow(number):
        writer()({"node": "workflow"})
        first = returned(double(number))
        second = returned(inner(first))
        return {"got": returned(double(second, by=3))}

    return workflow


@flow
def awaited(func, ns, **options):
    @func.task
    async def double(value, *, writer):
        writer({"node": "double"})
        await asyncio.sleep(0)
        return value * 2

    @func.entrypoint(**options)
    async def workflow(number):
        return await double(await double(number))

    return workflow


@flow
def nested(func, ns, **options):
    @func.task(**options.pop("task", {}))
    def inner(value, writer):
        writer({"node": "inner"})
        return value + 1

    @func.task(**options.pop("outer", {}))
    def outer(value):
        return returned(inner(value)) + returned(inner(value * 10))

    @func.entrypoint(**options)
    def workflow(number):
        return returned(outer(number))

    return workflow


# What a task writes before it calls another, and the beginning of the other, have no order: they
# come from different processes. So chunks of several modes are compared task by task.


@pytest.mark.parametrize("mode", [*MODES, MODES], ids=str)
def test_tasks_one_after_the_other(differ, mode):
    differ.stream(sequence, 3, parallel=isinstance(mode, list), stream_mode=mode)


@pytest.mark.parametrize("version, subgraphs", [("v1", False), ("v1", True), ("v2", True)])
def test_shapes_of_chunks(differ, version, subgraphs):
    # "v2" without subgraphs: LangGraph gives custom writes of tasks the namespace of their caller
    differ.stream(
        sequence, 3, parallel=True, stream_mode=MODES, subgraphs=subgraphs, version=version
    )


def test_async_tasks_in_an_async_entrypoint(differ):
    differ.stream(awaited, 3, stream_mode=MODES, reference_face="async")


@pytest.mark.parametrize("subgraphs", [False, True])
def test_tasks_that_call_tasks(differ, subgraphs):
    differ.stream(nested, 3, stream_mode=MODES, subgraphs=subgraphs)


@pytest.mark.parametrize("build", [sequence, awaited, nested])
def test_what_invoke_returns(differ, build):
    reference = "async" if build is awaited else None
    differ.invoke(build, 3, reference_face=reference)


def test_tags_and_metadata_reach_the_tasks(differ):
    config = {"tags": ["mine"], "metadata": {"user": "ada"}, "configurable": {"key": "v"}}

    @flow
    def telling(func, ns, **options):
        @func.task
        def tell(config):
            keys = ("langgraph_node", "langgraph_path", "langgraph_triggers", "langgraph_step")
            told = {key: config["metadata"][key] for key in (*keys, "user")}
            return {**told, "tags": list(config["tags"]), "key": config["configurable"]["key"]}

        @func.entrypoint(**options)
        def workflow(number):
            return returned(tell())

        return workflow

    differ.stream(telling, 3, config=config, stream_mode=["updates", "tasks"])


@flow
def chatting(func, ns, **options):
    @func.task
    def chat(text):
        model = GenericFakeChatModel(messages=iter([AIMessage("hello there", id="fixed")]))
        return model.invoke(text)

    @func.entrypoint(**options)
    def workflow(text):
        return returned(chat(text)).content

    return workflow


@pytest.mark.parametrize("subgraphs", [False, True])
def test_tokens_of_a_model_in_a_task(differ, subgraphs):
    outcome = differ.stream(
        chatting, "hi", stream_mode=["messages", "updates"], subgraphs=subgraphs
    )
    assert outcome.chunks


@flow
def passing_messages(func, ns, **options):
    @func.task
    def write(text):
        return AIMessage(text, id="one")

    @func.task
    def read(message):
        return message

    @func.entrypoint(**options)
    def workflow(text):
        first = returned(write(text))
        return [returned(read(first)), AIMessage("last", id="two")]

    return workflow


def test_whole_messages_that_tasks_return(differ):
    differ.stream(passing_messages, "hi", stream_mode=["messages", "updates"])


@flow
def two_at_once(func, ns, **options):
    @func.task
    def left(value, writer):
        writer({"node": "left"})
        return value + 1

    @func.task
    def right(value, writer):
        writer({"node": "right"})
        return value - 1

    @func.entrypoint(**options)
    def workflow(number):
        calls = [left(number), right(number)]
        return [returned(call) for call in calls]

    return workflow


def test_tasks_side_by_side(differ):
    differ.stream(two_at_once, 3, parallel=True, stream_mode=["updates", "custom", "tasks"])
