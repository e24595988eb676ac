"""Exceptions that cross from a worker to the caller."""

import socket
import sys
import threading

import pydantic
import pytest

from tests.support.graphs import Items

pytestmark = [pytest.mark.ray, pytest.mark.timeout(60)]


class OutOfPaper(Exception):
    """Takes keyword-only arguments, which pickle's default cannot give back."""

    def __init__(self, *, tray: int, office: str = "main") -> None:
        super().__init__(f"tray {tray} of {office} is empty")
        self.tray = tray
        self.office = office


class HoldsAThread(Exception):
    def __init__(self) -> None:
        super().__init__("has a thread", threading.Thread())


def deep_down(error):
    raise error


def fail_with(on_ray, make, is_async=False):
    def node(state):
        deep_down(make())

    async def anode(state):
        deep_down(make())

    builder = on_ray.StateGraph(Items).add_node("printer", anode if is_async else node)
    return on_ray.compile(builder.add_edge(on_ray.START, "printer"))


def notes(error):
    return "\n".join(getattr(error, "__notes__", []))


@pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
def test_a_class_with_keyword_only_arguments_is_caught_as_itself(on_ray, is_async):
    graph = fail_with(on_ray, lambda: OutOfPaper(tray=2), is_async)
    with pytest.raises(OutOfPaper) as caught:
        graph.invoke({"items": []})
    assert type(caught.value) is OutOfPaper
    assert (caught.value.tray, caught.value.office) == (2, "main")
    assert str(caught.value) == "tray 2 of main is empty"


@pytest.mark.skipif(sys.version_info < (3, 11), reason="notes of exceptions are of Python 3.11")
def test_notes_tell_node_step_host_and_the_remote_traceback(on_ray):
    with pytest.raises(OutOfPaper) as caught:
        fail_with(on_ray, lambda: OutOfPaper(tray=2)).invoke({"items": []})
    text = notes(caught.value)
    assert "'printer'" in text
    assert "step 1" in text
    assert socket.gethostname() in text
    assert "deep_down" in text
    assert "test_remote_errors.py" in text


def test_an_exception_that_holds_a_thread_arrives_as_itself_and_says_what_is_lost(on_ray):
    with pytest.raises(HoldsAThread, match="has a thread") as caught:
        fail_with(on_ray, HoldsAThread).invoke({"items": []})
    assert caught.value.args[0] == "has a thread"
    assert "Thread" in repr(caught.value.args[1])
    if sys.version_info >= (3, 11):
        assert "argument 1" in notes(caught.value)
        assert "deep_down" in notes(caught.value)


def test_an_exception_whose_class_cannot_travel_arrives_as_node_failed(on_ray):
    from distgraph.errors import NodeFailed

    def make():
        lock = threading.Thread()

        class Guarded(Exception):
            guard = lock

        return Guarded("made there")

    with pytest.raises(NodeFailed) as caught:
        fail_with(on_ray, make).invoke({"items": []})
    assert caught.value.type_name.endswith("Guarded")
    assert "made there" in str(caught.value)
    assert "deep_down" in caught.value.traceback_text
    assert "printer" in str(caught.value) + notes(caught.value)


def test_a_class_made_inside_the_node(on_ray):
    def make():
        class Inner(ValueError):
            pass

        return Inner("made there")

    with pytest.raises(ValueError, match="made there") as caught:
        fail_with(on_ray, make).invoke({"items": []})
    assert type(caught.value).__name__ == "Inner"


class Form(pydantic.BaseModel):
    n: int


def validation_error():
    try:
        Form(n="many")
    except pydantic.ValidationError as error:
        return error


def test_a_validation_error_of_pydantic(on_ray):
    with pytest.raises(pydantic.ValidationError) as caught:
        fail_with(on_ray, validation_error).invoke({"items": []})
    assert caught.value.errors()[0]["loc"] == ("n",)


@pytest.mark.skipif(sys.version_info < (3, 11), reason="exception groups are of Python 3.11")
def test_an_exception_group(on_ray):
    def make():
        return ExceptionGroup("both", [OutOfPaper(tray=1), KeyError("k")])  # noqa: F821

    with pytest.raises(ExceptionGroup) as caught:  # noqa: F821
        fail_with(on_ray, make).invoke({"items": []})
    first, second = caught.value.exceptions
    assert (type(first), first.tray, type(second)) == (OutOfPaper, 1, KeyError)


@pytest.mark.parametrize("error", [KeyboardInterrupt, GeneratorExit], ids=lambda e: e.__name__)
def test_what_is_no_exception_still_ends_the_run(on_ray, error):
    with pytest.raises(BaseException) as caught:
        fail_with(on_ray, error).invoke({"items": []})
    assert not isinstance(caught.value, (TimeoutError, AssertionError))


def test_a_result_that_cannot_be_pickled_names_the_node(on_ray):
    builder = on_ray.StateGraph(Items).add_node("locks", lambda s: {"items": [threading.Thread()]})
    with pytest.raises(Exception, match="locks") as caught:
        on_ray.compile(builder.add_edge(on_ray.START, "locks")).invoke({"items": []})
    assert "items" in str(caught.value) + notes(caught.value)


def test_an_event_that_cannot_be_pickled_names_the_node(on_ray):
    def node(state, writer):
        writer("fine")
        writer(threading.Thread())

    builder = on_ray.StateGraph(Items).add_node("locks", node).add_edge(on_ray.START, "locks")
    stream = on_ray.compile(builder).stream({"items": []}, stream_mode="custom")
    assert next(stream) == "fine"
    with pytest.raises(Exception, match="(?i)thread") as caught:
        next(stream)
    assert "locks" in str(caught.value) + notes(caught.value)
