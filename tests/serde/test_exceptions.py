"""A node's exception at the caller: its own class, message, causes, notes and traceback."""

from __future__ import annotations

import io
import pickle
import sys
import threading
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from distgraph.contract.failure import ShippedError
from distgraph.errors import NodeFailed, Unsent
from distgraph.serde.exceptions import capture_error, rebuild_error, release_error
from distgraph.serde.pickling import dumps, dumps_code, dumps_data, loads
from distgraph.serde.tracebacks import read_frames
from tests.support.elsewhere import Elsewhere, main_program


class KeywordOnly(Exception):
    def __init__(self, *, code: int, why: str = "because") -> None:
        super().__init__(f"code {code}")
        self.code = code
        self.why = why


class OtherArguments(ValueError):
    def __init__(self, left: str, right: str) -> None:
        super().__init__(f"{left}-{right}")
        self.left = left


class Holding(Exception):
    def __init__(self, message: str, resource: Any) -> None:
        super().__init__(message)
        self.resource = resource
        self.size = 3


class FileTrouble(OSError):
    def __init__(self, path: str) -> None:
        super().__init__(2, "no such file", path)
        self.hint = "look elsewhere"


class OwnNew(Exception):
    def __new__(cls, first: int, second: int) -> OwnNew:
        return super().__new__(cls, first)

    def __init__(self, first: int, second: int) -> None:
        super().__init__(first)
        self.second = second


@dataclass(frozen=True)
class Frozen(Exception):
    code: int


@dataclass(frozen=True, slots=True)
class FrozenSlots(Exception):
    code: int


class ReadOnlyArgs(Exception):
    def __init__(self, code: int) -> None:
        super().__init__(code)
        self.code = code

    @property
    def args(self) -> Any:
        return ("read only",)


class Slotted(Exception):
    __slots__ = ("code",)

    def __init__(self, code: int) -> None:
        super().__init__()
        self.code = code


class Unspeakable(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no")


class Payload:
    def __init__(self, value: int) -> None:
        self.value = value


THREAD = "threading.Thread"


def shipped(exc: BaseException, **options: Any) -> ShippedError:
    try:
        raise exc
    except BaseException as caught:
        return capture_error(caught, **options)


def ship(exc: BaseException) -> BaseException:
    return rebuild_error(loads(dumps(shipped(exc))))  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    "exc",
    [
        ValueError("bad value"),
        ValueError(),
        KeyError("k"),
        KeywordOnly(code=3),
        OtherArguments("a", "b"),
        FileTrouble("/there"),
        OwnNew(1, 2),
        FileNotFoundError(2, "nope", "/x"),
        UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte"),
        SystemExit(3),
        KeyboardInterrupt(),
        StopIteration(4),
        NodeFailed("n", "t", "tb"),
    ],
    ids=lambda exc: type(exc).__name__,
)
def test_class_arguments_text_and_attributes_are_as_they_were(exc: BaseException) -> None:
    back = ship(exc)
    assert type(back) is type(exc)
    assert str(back) == str(exc)
    assert back.args == exc.args
    own = {k: v for k, v in vars(back).items() if k != "__notes__"}
    assert own == vars(exc)


@pytest.mark.parametrize(
    "exc",
    [OwnNew(1, 2), Frozen(3), FrozenSlots(3), ReadOnlyArgs(3), KeywordOnly(code=3), Slotted(3)],
    ids=lambda exc: type(exc).__name__,
)
@pytest.mark.parametrize("dump", [dumps_data, dumps_code])
def test_an_exception_as_a_value_travels(exc: Any, dump: Any) -> None:
    back = loads(dump([exc]))[0]
    assert type(back) is type(exc)
    assert (back.__reduce__()[1], vars(back)) == (exc.__reduce__()[1], vars(exc))
    assert getattr(back, "code", None) == getattr(exc, "code", None)


def test_what_built_in_classes_keep_outside_of_their_dict_arrives() -> None:
    back = ship(FileTrouble("/there"))
    assert isinstance(back, FileTrouble)
    assert (back.errno, back.strerror, back.filename) == (2, "no such file", "/there")


def test_arguments_without_equality_arrive() -> None:
    back = ship(ValueError(Payload(5)))
    assert (type(back), back.args[0].value) == (ValueError, 5)


def test_what_does_not_pickle_is_replaced_by_a_typed_placeholder_with_a_note() -> None:
    back = ship(Holding("m", threading.Thread()))
    assert isinstance(back, Holding)
    assert (str(back), back.size) == ("m", 3)
    assert isinstance(back.resource, Unsent)
    assert (back.resource.field, back.resource.type_name) == ("attribute 'resource'", THREAD)
    with pytest.raises(AttributeError, match="holds a threading.Thread"):
        back.resource.join()
    assert back.__notes__ == [f"Could not be sent from the worker: attribute 'resource' ({THREAD})"]


def test_an_argument_that_does_not_pickle_reads_as_it_did() -> None:
    exc = ValueError("held by", threading.Thread())
    back = ship(exc)
    assert (type(back), str(back), repr(back)) == (ValueError, str(exc), repr(exc))
    assert isinstance(back.args[1], Unsent)
    assert back.__notes__ == [f"Could not be sent from the worker: argument 1 ({THREAD})"]  # type: ignore[attr-defined]


def test_a_class_with_parts_that_do_not_pickle_keeps_its_name_and_its_bases(
    elsewhere: Elsewhere,
) -> None:
    def there() -> ShippedError:
        import threading

        thread = threading.Thread()

        class Local(KeyError):
            guard = thread

            def held(self) -> Any:
                return thread

        return capture_error(Local("x"))

    back: Any = rebuild_error(elsewhere(there))
    assert type(back).__name__ == "Local"
    assert isinstance(back, KeyError)
    assert (str(back), back.args) == ("'x'", ("x",))
    assert isinstance(type(back).guard, Unsent)
    assert back.__notes__[0].endswith(f"Local ({THREAD} in it)")


def test_a_class_that_is_missing_at_the_caller_becomes_node_failed(elsewhere: Elsewhere) -> None:
    def there() -> ShippedError:
        import types

        module = types.ModuleType("only_there")
        exec("class Odd(Exception): pass", module.__dict__)
        sys.modules["only_there"] = module
        try:
            raise module.Odd("strange") from KeyError("root")
        except Exception as exc:
            return capture_error(exc)

    back = rebuild_error(elsewhere(there))
    assert type(back) is NodeFailed
    assert str(back) == "only_there.Odd: strange"
    assert back.type_name == "only_there.Odd"
    assert "only_there.Odd: strange" in back.traceback_text
    assert isinstance(back.__cause__, KeyError)


def test_a_script_s_own_class_comes_home_as_itself(elsewhere: Elsewhere) -> None:
    script = main_program(
        "told = 0\n"
        "class Mine(Exception):\n"
        "    def __init__(self, *, code):\n"
        "        super().__init__(f'code {code}')\n"
        "        self.code = code\n"
        "    def tell(self):\n"
        "        global told\n"
        "        told += self.code\n"
        "def node():\n"
        "    raise Mine(code=4)\n"
    )

    def there(node: Any) -> ShippedError:
        try:
            return node()  # type: ignore[no-any-return]
        except Exception as exc:
            return capture_error(exc)

    back = rebuild_error(elsewhere(there, script["node"]))
    assert type(back) is script["Mine"]
    assert (str(back), back.code) == ("code 4", 4)
    back.tell()
    assert script["told"] == 4


def test_causes_and_contexts_are_rebuilt() -> None:
    try:
        try:
            try:
                raise KeyError("root")
            except KeyError as root:
                raise KeywordOnly(code=1) from root
        except KeywordOnly:
            raise ValueError("top")  # noqa: B904
    except ValueError as exc:
        back = rebuild_error(loads(dumps(capture_error(exc))))
    assert back.__cause__ is None
    assert type(back.__context__) is KeywordOnly
    assert type(back.__context__.__cause__) is KeyError
    assert back.__context__.__cause__.args == ("root",)
    assert back.__context__.__suppress_context__ is True
    assert not hasattr(back.__context__, "__notes__")


def test_a_suppressed_context_stays_suppressed() -> None:
    try:
        try:
            raise KeyError("hidden")
        except KeyError:
            raise ValueError("top") from None
    except ValueError as exc:
        back = rebuild_error(loads(dumps(capture_error(exc))))
    assert (back.__cause__, back.__suppress_context__) == (None, True)
    assert type(back.__context__) is KeyError


def test_a_circle_of_causes_ends() -> None:
    first, second = ValueError("a"), ValueError("b")
    first.__cause__, second.__cause__ = second, first
    back = ship(first)
    assert back.__cause__ is not None
    assert back.__cause__.__cause__ is None


def test_the_cause_of_two_exceptions_is_one_object() -> None:
    root, cause, top = ValueError("root"), KeyError("cause"), RuntimeError("top")
    cause.__context__ = root
    top.__cause__, top.__context__ = cause, root
    back: Any = ship(top)
    assert repr(back.__cause__) == "KeyError('cause')"
    assert repr(back.__context__) == "ValueError('root')"
    assert back.__cause__.__context__ is back.__context__


def test_exceptions_that_hold_their_cause_too_take_a_bounded_size() -> None:
    class Last(Exception):
        def __init__(self, number: int, last: Any) -> None:
            super().__init__(number)
            self.last = last

    exc: Any = None
    for number in range(20):
        cause, exc = exc, Last(number, exc)
        exc.__cause__ = cause
    data = dumps(capture_error(exc))
    assert len(data) < 1_000_000
    back: Any = rebuild_error(loads(data))
    assert [back.args, back.last.args, back.last.last.args] == [(19,), (18,), (17,)]
    assert (back.__cause__.args, back.__cause__.__cause__.args) == ((18,), (17,))


def test_within_a_process_the_very_object_arrives() -> None:
    exc = Holding("m", threading.Thread())
    back = rebuild_error(shipped(exc, note_lines=("node 'n'",)), notes=("run r",))
    assert back is exc
    assert back.__notes__ == ["node 'n'", "run r"]  # type: ignore[attr-defined]


def test_notes_are_the_exception_s_the_worker_s_and_the_caller_s() -> None:
    exc = ValueError("x")
    exc.__notes__ = ["own"]  # type: ignore[attr-defined]
    there = loads(dumps(shipped(exc, note_lines=("node 'n', step 1",))))
    back = rebuild_error(there, notes=("run r",))
    assert back.__notes__ == ["own", "node 'n', step 1", "run r"]
    assert str(back) == "x"


def test_an_exception_that_was_never_raised_has_no_traceback_and_no_note_of_one() -> None:
    back: Any = rebuild_error(loads(dumps(capture_error(ValueError("x")))))
    assert back.__traceback__ is None
    assert not hasattr(back, "__notes__")


def test_the_rebuilt_traceback_prints_as_the_original_with_causes() -> None:
    def inner(state: dict[str, int]) -> int:
        return len(str(state["missing"])) + 1

    def outer() -> None:
        try:
            inner({})
        except KeyError as error:
            raise KeywordOnly(code=3) from error

    try:
        outer()
    except KeywordOnly as exc:
        told = "".join(traceback.format_exception(exc))
        back = rebuild_error(loads(dumps(capture_error(exc))))
    assert "".join(traceback.format_exception(back)) == told
    assert "len(str(state[" in told


def test_source_lines_of_a_file_that_only_the_worker_has_are_quoted(
    elsewhere: Elsewhere, tmp_path: Path
) -> None:
    path = tmp_path / "only_there.py"
    path.write_text("def node():\n    pass\n    raise ValueError('x')  # only there\n")

    def there(path: str) -> ShippedError:
        scope: dict[str, Any] = {"__name__": "only_there"}
        with open(path) as file:
            exec(compile(file.read(), path, "exec"), scope)
        try:
            scope["node"]()
        except ValueError as exc:
            shipped = capture_error(exc)
            release_error(shipped)
        return shipped

    found = elsewhere(there, str(path))
    path.unlink()
    text = "".join(traceback.format_exception(rebuild_error(found)))
    assert f'File "{path}", line 3, in node\n    raise ValueError(' in text
    assert "# only there" in text


def test_the_remote_traceback_starts_at_the_user_s_code() -> None:
    machinery: dict[str, Any] = {"__name__": "distgraph.worker.attempt"}
    exec("def call(f):\n    return f()\n", machinery)

    def node() -> None:
        raise ValueError("x")

    try:
        exec("call(node)", {**machinery, "node": node})
    except ValueError as exc:
        # the first frame is this test's own, as the last of the machinery is not
        exc.__traceback__ = exc.__traceback__.tb_next  # type: ignore[union-attr]
        text = capture_error(exc).taken().traceback_text
    assert "in node" in text
    assert "in call" not in text


if sys.version_info < (3, 11):
    BaseExceptionGroup = ExceptionGroup = Exception


@pytest.mark.skipif(sys.version_info < (3, 11), reason="exception groups are built in from 3.11 on")
class TestGroups:
    def test_groups_are_rebuilt_recursively(self) -> None:
        thread = threading.Thread()
        inner = ExceptionGroup("inner", [Holding("h", thread), KeyError("k")])
        exc = ExceptionGroup("outer", [KeywordOnly(code=1), inner])
        back = ship(exc)
        assert type(back) is ExceptionGroup
        assert str(back) == "outer (2 sub-exceptions)"
        first, second = back.exceptions
        assert (type(first), first.code) == (KeywordOnly, 1)
        assert (type(second), second.message) == (ExceptionGroup, "inner")
        assert [type(e) for e in second.exceptions] == [Holding, KeyError]
        assert second.exceptions[0].size == 3

    def test_a_group_is_caught_by_its_members(self) -> None:
        caught = []
        try:
            raise ship(ExceptionGroup("g", [KeywordOnly(code=1), ValueError("v")]))
        except BaseException as exc:
            matched, rest = exc.split(KeywordOnly)  # type: ignore[attr-defined]
            caught = [matched.exceptions[0].code, str(rest.exceptions[0])]
        assert caught == [1, "v"]

    def test_a_group_is_raised_from_one_of_its_members(self) -> None:
        members = [ValueError(number) for number in range(30)]
        exc = ExceptionGroup("g", members)
        exc.__cause__ = exc.__context__ = members[0]
        for member in members[1:]:
            member.__context__ = members[0]
        back: Any = ship(exc)
        assert [member.args for member in back.exceptions] == [(n,) for n in range(30)]
        assert back.__cause__ is back.__context__ is back.exceptions[0]
        assert all(member.__context__ is back.exceptions[0] for member in back.exceptions[1:])

    def test_a_group_of_base_exceptions_travels(self) -> None:
        back = ship(BaseExceptionGroup("g", [KeyboardInterrupt()]))
        assert type(back) is BaseExceptionGroup
        assert type(back.exceptions[0]) is KeyboardInterrupt


def test_errors_of_pydantic_and_openai_keep_their_class() -> None:
    pydantic = pytest.importorskip("pydantic")
    openai = pytest.importorskip("openai")
    from tests.support.openai_server import OpenAIServer

    class Model(pydantic.BaseModel):  # type: ignore[misc, name-defined]
        x: int

    with pytest.raises(pydantic.ValidationError) as invalid:
        Model(x="a")
    back: Any = ship(invalid.value)
    assert type(back) is pydantic.ValidationError
    assert back.args == invalid.value.args
    assert back.errors() == invalid.value.errors()

    with OpenAIServer(["slow down"], status=429) as server:
        client = openai.OpenAI(api_key="k", base_url=server.base_url, max_retries=0)
        with pytest.raises(openai.RateLimitError) as limited:
            client.chat.completions.create(model="m", messages=[])
    back = ship(limited.value)
    assert type(back) is openai.RateLimitError
    assert (str(back), back.status_code) == (str(limited.value), 429)


def test_an_exception_whose_text_fails_is_still_itself() -> None:
    back = ship(Unspeakable("x"))
    assert type(back) is Unspeakable
    with pytest.raises(RuntimeError, match="no"):
        str(back)


def test_what_is_shipped_needs_none_of_the_classes_on_the_way() -> None:
    modules = set()

    class Reader(pickle.Unpickler):
        def find_class(self, module: str, name: str) -> Any:
            modules.add(module)
            return super().find_class(module, name)

    Reader(io.BytesIO(dumps(shipped(KeywordOnly(code=3))))).load()
    assert modules <= {*("distgraph.contract.failure", "copyreg", "builtins")}


def test_the_first_and_the_last_frames_of_an_endless_recursion_are_kept() -> None:
    def begins() -> None:
        goes_on(2000)

    def goes_on(left: int) -> None:
        return goes_on(left - 1)

    with pytest.raises(RecursionError) as caught:
        begins()
    names = [frame.name.rpartition(".")[2] for frame in read_frames(caught.value.__traceback__)]
    assert "begins" in names[:20]
    assert (len(names), names[-1]) == (400, "goes_on")
