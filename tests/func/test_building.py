"""What is checked when a function is decorated, and what comes of it."""

import functools
import pickle

import cloudpickle
import pytest

from distgraph import func
from distgraph.func import entrypoint, task
from distgraph.types import CachePolicy, RetryPolicy
from tests.support.engines import Engine


@task
def doubled(value: int) -> int:
    """Double a value."""
    return value * 2


@task(name="other", ray_options={"num_cpus": 0.5})
async def renamed(value):
    return value


@entrypoint()
def workflow(number: int) -> str:
    return str(number)


class Untyped:
    pass


def test_a_task_looks_like_its_function():
    assert doubled.__doc__ == "Double a value." and doubled.__name__ == "doubled"
    assert renamed.__name__ == renamed.name == "other" and renamed.func.__name__ == "renamed"
    assert repr(doubled) == "task(doubled)"


def generator(value):
    yield value


async def async_generator(value):
    yield value


class Generating:
    def __call__(self, value):
        yield value


@pytest.mark.parametrize("decorate", [task, entrypoint()], ids=["task", "entrypoint"])
@pytest.mark.parametrize(
    "function", [generator, async_generator, functools.partial(generator, 1), Generating()]
)
def test_generators_are_refused(decorate, function):
    with pytest.raises(NotImplementedError, match="Generators are not supported"):
        decorate(function)


def test_an_entrypoint_takes_one_argument():
    with pytest.raises(ValueError, match="at least one parameter"):
        entrypoint()(lambda: 1)
    with pytest.raises(ValueError, match="'second' would have no value"):

        @entrypoint()
        def wrong(first, second, third=3, *, config):
            return first


def test_a_decorator_may_supply_arguments_of_an_entrypoint_and_of_a_task():
    def supplying(function):
        @functools.wraps(function)
        def call(value):
            return function(value, "supplied")

        return call

    @task
    @supplying
    def inner(value, more):
        return [value, more]

    @entrypoint(backend="local")
    @supplying
    def outer(value, more):
        return [inner(value).result(), more]

    assert outer.invoke(1) == [[1, "supplied"], "supplied"]


@pytest.mark.parametrize("name", ["a|b", "a:b"])
def test_names_that_namespaces_cannot_hold(name):
    with pytest.raises(ValueError, match="reserved"):
        task(name=name)(lambda value: value)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"ray_options": {"num_cpu": 1}}, "Did you mean 'num_cpus'"),
        ({"ray_options": {"concurrency": 2}}, "makes a pool"),
        ({"ray_options": {"placement": "async"}}, "needs an `async def`"),
        ({"timeout": -1.0}, "greater than 0"),
        ({"retry_policy": "often"}, "retry_policy takes a RetryPolicy"),
        ({"cache_policy": "long"}, "cache_policy takes a CachePolicy"),
    ],
)
def test_options_are_checked(options, message):
    with pytest.raises((ValueError, TypeError), match=message):
        task(**options)(lambda value: value)


def test_a_timeout_is_checked_before_there_is_a_function():
    with pytest.raises(ValueError, match="greater than 0"):
        task(timeout=0)
    with pytest.raises(ValueError, match="greater than 0"):
        entrypoint(timeout=0)


def test_options_of_langgraph_are_taken():
    from langgraph import types

    made = task(
        retry_policy=[types.RetryPolicy(max_attempts=2)], cache_policy=types.CachePolicy(ttl=3)
    )(lambda value: value)
    assert [policy.max_attempts for policy in made.retry] == [2]
    assert type(made.retry[0]) is RetryPolicy and type(made.cache) is CachePolicy
    assert made.cache.ttl == 3


def test_a_task_of_a_module_travels_by_its_name():
    assert pickle.loads(pickle.dumps(doubled)) is doubled
    blob, _ = doubled.decorated.shipped()
    assert pickle.loads(blob) is doubled.decorated and len(blob) < 300


def test_a_function_behind_an_entrypoint_travels_by_its_name():
    assert pickle.loads(pickle.dumps(workflow.decorated)) is workflow.decorated


def test_a_local_task_travels_by_value():
    factor = 3

    @task
    def local(value):
        return value * factor if value else local

    copy = cloudpickle.loads(cloudpickle.dumps(local))
    assert copy.func(2) == 6 and copy.name == "local"
    assert copy.func(0) is copy


def test_the_drawing_is_langgraphs():
    drawn = []
    for engine in (Engine("langgraph"), Engine("local")):

        @engine.module("func").entrypoint()
        def workflow(number: int) -> str:
            return str(number)

        drawn.append(workflow)
    theirs, ours = drawn
    assert ours.get_graph().draw_mermaid() == theirs.get_graph().draw_mermaid()
    assert ours.get_graph().to_json()["edges"] == theirs.get_graph().to_json()["edges"]


def plain(value):
    return value


def typed(value: dict[str, int]) -> list[int]:
    return list(value.values())


def final(value: str) -> "entrypoint.final[int, str]":
    return entrypoint.final(value=1, save=value)


@pytest.mark.parametrize("function", [plain, typed, final])
def test_schemas_are_langgraphs(function):
    from langgraph.func import entrypoint as theirs

    if function is final:
        expected = theirs()(plain.__class__(plain.__code__, globals(), "final"))
        expected_input, expected_output = {"title": "LangGraphInput", "type": "string"}, "integer"
        made = entrypoint()(function)
        assert made.get_input_jsonschema() == expected_input
        assert made.get_output_jsonschema()["type"] == expected_output
        assert expected.get_output_jsonschema() == {"title": "LangGraphOutput"}
        return
    ours, expected = entrypoint()(function), theirs()(function)
    assert ours.get_input_jsonschema() == expected.get_input_jsonschema()
    assert ours.get_output_jsonschema() == expected.get_output_jsonschema()


def test_the_names_of_the_package():
    assert set(func.__all__) == {"TaskFunction", "TaskFuture", "entrypoint", "task"}
