"""Exceptions that cross from a worker to the caller."""

import socket
import sys
import threading
import traceback
import types
from typing import Annotated, TypedDict

import pydantic
import pytest

from distgraph.errors import NodeFailed
from tests.support.graphs import Items

pytestmark = pytest.mark.ray


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


def test_notes_tell_node_step_and_host(on_ray):
    with pytest.raises(OutOfPaper) as caught:
        fail_with(on_ray, lambda: OutOfPaper(tray=2)).invoke({"items": []})
    text = notes(caught.value)
    assert "'printer'" in text
    assert "step 1" in text
    assert socket.gethostname() in text


@pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
def test_the_traceback_goes_on_from_the_caller_to_the_line_of_the_node(ours, is_async):
    graph = fail_with(ours, lambda: OutOfPaper(tray=2), is_async)
    with pytest.raises(OutOfPaper) as caught:
        graph.invoke({"items": []})
    frames = traceback.extract_tb(caught.value.__traceback__)
    own = [f for f in frames if f.filename == __file__]
    names = [f.name for f in own]
    assert names[1:] == ["anode" if is_async else "node", "deep_down"]
    assert own[-1].line == "raise error"
    assert [f.name for f in frames if f not in own] == ["invoke", "follow"]
    assert frames[-1] is own[-1]
    assert "Traceback" not in notes(caught.value)


def test_a_traceback_of_a_script_names_its_file_and_quotes_its_line(ours, tmp_path):
    script = tmp_path / "script.py"
    script.write_text("def node(state):\n    return state['missing']  # here\n")
    scope = {"__name__": "__main__"}
    exec(compile(script.read_text(), str(script), "exec"), scope)
    builder = ours.StateGraph(Items).add_node("n", scope["node"]).add_edge(ours.START, "n")
    with pytest.raises(KeyError) as caught:
        ours.compile(builder).invoke({"items": []})
    text = "".join(traceback.format_exception(None, caught.value, caught.value.__traceback__))
    assert f"File \"{script}\", line 2, in node\n    return state['missing']  # here" in text
    assert "<dynamic-code>" not in text


def test_an_error_of_a_reducer_has_the_line_of_the_reducer(ours):
    def adds(left, right):
        return [*left, 1 / right]

    class State(TypedDict):
        items: Annotated[list, adds]

    builder = ours.StateGraph(State).add_node("n", lambda state: {"items": 0})
    graph = ours.compile(builder.add_edge(ours.START, "n"))
    with pytest.raises(ZeroDivisionError) as caught:
        graph.invoke({"items": 1})
    last = traceback.extract_tb(caught.value.__traceback__)[-1]
    assert (last.filename, last.name) == (__file__, "adds")
    assert "worker" not in notes(caught.value)


def test_an_exception_that_holds_a_thread_arrives_as_itself_and_says_what_is_lost(on_ray):
    with pytest.raises(HoldsAThread, match="has a thread") as caught:
        fail_with(on_ray, HoldsAThread).invoke({"items": []})
    assert caught.value.args[0] == "has a thread"
    assert "Thread" in repr(caught.value.args[1])
    if sys.version_info >= (3, 11):
        assert "argument 1" in notes(caught.value)


def test_a_class_that_holds_what_cannot_travel_keeps_its_name(on_ray):
    def make():
        lock = threading.Thread()

        class Guarded(KeyError):
            guard = lock

        return Guarded("made there")

    with pytest.raises(KeyError, match="made there") as caught:
        fail_with(on_ray, make).invoke({"items": []})
    assert type(caught.value).__name__ == "Guarded"
    assert "Guarded" in notes(caught.value)


def test_a_class_that_only_workers_have_is_caught_by_its_base(on_ray):
    def make():
        module = types.ModuleType("only_on_the_worker")
        exec("class Odd(ConnectionError): pass", module.__dict__)
        sys.modules["only_on_the_worker"] = module
        return module.Odd("strange")

    with pytest.raises(ConnectionError) as caught:
        fail_with(on_ray, make).invoke({"items": []})
    assert isinstance(caught.value, NodeFailed)
    assert caught.value.type_name == "only_on_the_worker.Odd"
    assert "deep_down" in caught.value.traceback_text


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
