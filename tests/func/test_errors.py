"""Failures of tasks and of entrypoints: who catches what."""

import asyncio
import threading

import pytest

from distgraph.errors import SerializationError
from distgraph.func import entrypoint, task
from tests.func.support import flow, returned

MODES = ["values", "updates", "tasks"]


class OutOfPaper(Exception):
    def __init__(self, *, tray):
        super().__init__(f"tray {tray} is empty")
        self.tray = tray


@task
def fail(tray):
    raise OutOfPaper(tray=tray)


@task
async def afail(tray):
    raise OutOfPaper(tray=tray)


@flow
def caught(func, ns, **options):
    @func.task
    def boom(value):
        raise KeyError(value)

    @func.entrypoint(**options)
    def workflow(number):
        try:
            return returned(boom(number))
        except KeyError as error:
            return f"caught {error}"

    return workflow


@flow
def uncaught(func, ns, **options):
    @func.task
    def boom(value):
        raise KeyError(value)

    @func.entrypoint(**options)
    def workflow(number):
        return returned(boom(number))

    return workflow


@flow
def ignored(func, ns, **options):
    @func.task
    def boom(value):
        raise KeyError(value)

    @func.task
    def after(value):
        return value

    @func.entrypoint(**options)
    def workflow(number):
        boom(number).exception()
        return returned(after(number))

    return workflow


@pytest.mark.parametrize("build", [caught, uncaught, ignored])
def test_what_is_streamed_of_a_failed_task(differ, build):
    differ.stream(build, 3, stream_mode=MODES)


@pytest.mark.parametrize("called", [fail, afail], ids=["sync", "async"])
def test_the_code_catches_the_tasks_own_exception(ours, called):
    @entrypoint()
    def workflow(tray):
        try:
            returned(called(tray))
        except OutOfPaper as error:
            return error.tray, "\n".join(error.__notes__ if hasattr(error, "__notes__") else ())

    tray, notes = workflow.invoke(2)
    assert tray == 2
    assert f"task with name '{called.name}'" in notes


def test_a_coroutine_catches_it_too(ours):
    @entrypoint()
    async def workflow(tray):
        results = await asyncio.gather(fail(tray), afail(tray + 1), return_exceptions=True)
        return [error.tray for error in results]

    assert workflow.invoke(1) == [1, 2]


@pytest.mark.parametrize("face", ["sync", "async"])
def test_the_caller_catches_what_nobody_caught(ours, face):
    @entrypoint()
    def workflow(tray):
        returned(fail(tray))

    with pytest.raises(OutOfPaper, match="tray 2 is empty") as caught:
        if face == "sync":
            workflow.invoke(2)
        else:
            asyncio.run(workflow.ainvoke(2))
    assert caught.value.tray == 2


def test_an_argument_that_cannot_be_sent_is_an_error_at_the_call(ours):
    @entrypoint()
    def workflow(number):
        try:
            fail(threading.Thread())
        except SerializationError as error:
            return str(error)

    told = workflow.invoke(1)
    if ours.name == "ray":
        assert "task 'fail', called by node 'workflow', cannot be sent" in told
    else:
        assert told is None


def test_a_result_that_cannot_be_sent_is_the_tasks_error(ours):
    @task
    def lock():
        return threading.Thread()

    @entrypoint()
    def workflow(number):
        try:
            returned(lock())
        except Exception as error:
            return str(error)

    told = workflow.invoke(1)
    if ours.name == "ray":
        assert "node 'lock', step " in told
    else:
        assert told is None


def test_a_task_that_captures_what_cannot_travel_is_named(ours):
    held = threading.Thread()

    @task
    def locked():
        assert not held.is_alive()
        return 1

    @entrypoint()
    def workflow(number):
        return returned(locked())

    if ours.name == "ray":
        with pytest.raises(SerializationError, match="held"):
            workflow.invoke(1)
    else:
        assert workflow.invoke(1) == 1


def test_an_entrypoint_that_fails_ends_its_tasks(ours, tmp_path):
    @task
    async def slow():
        (tmp_path / "started").touch()
        try:
            await asyncio.sleep(30)
        finally:
            (tmp_path / "ended").touch()

    @entrypoint()
    async def workflow(number):
        slow()
        while not (tmp_path / "started").exists():
            await asyncio.sleep(0.01)
        raise OutOfPaper(tray=number)

    with pytest.raises(OutOfPaper):
        workflow.invoke(1)
    for _ in range(500):
        if (tmp_path / "ended").exists():
            break
        threading.Event().wait(0.01)
    assert (tmp_path / "ended").exists()


def test_a_plain_function_that_returns_a_coroutine_is_told_so(ours):
    async def hidden():
        return 1

    @task
    def plain():
        return hidden()

    @entrypoint()
    def workflow(number):
        return returned(plain())

    with pytest.raises(TypeError, match="`plain` is a plain function that returned a coroutine"):
        workflow.invoke(1)


@pytest.mark.ray
def test_a_worker_that_dies_in_a_task(ray_session, monkeypatch):
    monkeypatch.setenv("DISTGRAPH_BACKEND", "ray")
    import os
    import signal

    from distgraph.errors import WorkerDied

    @task
    def die():
        os.kill(os.getpid(), signal.SIGKILL)

    @entrypoint()
    def workflow(number):
        try:
            returned(die())
        except WorkerDied as error:
            return "die" in str(error)

    assert workflow.invoke(1) is True
