"""An event loop receives by itself while only its coroutines wait."""

from __future__ import annotations

import asyncio
import heapq
import queue
import select
import socket
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import pytest

from distgraph.wire import event_loops
from distgraph.wire.event_loops import AGAIN, LOOK, RARELY, REST, EventLoops, Rules, Verdict
from tests.support.tls import use_tls
from tests.wire.test_leading import Box, Ends, in_thread, lead_once, serving

pytestmark = pytest.mark.skipif(
    not hasattr(select, "epoll"), reason="event loops receive on Linux only"
)

# --- the rules ----------------------------------------------------------------------------------


def test_a_loop_that_was_replaced_waits_for_a_while() -> None:
    rules = Rules()
    rules.ends(5.0)
    assert not rules.may(5.0 + AGAIN - 0.01)
    assert rules.may(5.0 + AGAIN)


def look(rules: Rules, taken: int, is_ready: bool = False, has_ended: bool = False) -> Verdict:
    return rules.look(taken, is_ready=is_ready, has_ended=has_ended)


def test_what_two_looks_in_a_row_find_waits_for_a_blocked_loop() -> None:
    rules = Rules()
    rules.begin()
    assert look(rules, 0, is_ready=True) is Verdict.ON
    assert look(rules, 1, is_ready=True) is Verdict.ON  # it has taken something meanwhile
    assert look(rules, 1) is Verdict.ON  # and again
    assert look(rules, 1, is_ready=True) is Verdict.ON  # this may have come just now
    assert look(rules, 1, is_ready=True) is Verdict.BACK


def test_a_loop_that_has_ended_is_replaced_at_once() -> None:
    rules = Rules()
    rules.begin()
    assert look(rules, 0, has_ended=True) is Verdict.BACK


def test_nobody_looks_often_at_a_loop_for_which_nothing_comes() -> None:
    rules = Rules()
    rules.begin()
    for taken in (0, 1):
        assert look(rules, taken) is Verdict.ON
        assert [look(rules, taken) for _ in range(REST - 1)] == [Verdict.ON] * (REST - 1)
    assert look(rules, 1) is Verdict.REST
    assert look(rules, 1) is Verdict.REST
    rules.begin()
    assert look(rules, 1) is Verdict.ON


# --- with a fake wire, fake event loops and a fake time -----------------------------------------


class Wire:
    """The thread of the connections: makes calls when it is told to."""

    def __init__(self) -> None:
        self.now = 0.0
        self.calls: deque[Callable[[], object]] = deque()
        self.due: list[tuple[float, int, Callable[[], object]]] = []
        self.watched: dict[Any, Callable[[int], object]] = {}

    def soon(self, call: Callable[[], object]) -> None:
        self.calls.append(call)

    def after(self, seconds: float, call: Callable[[], object]) -> None:
        heapq.heappush(self.due, (self.now + seconds, len(self.due), call))

    def watch(self, file: Any, mask: int, ready: Callable[[int], object]) -> None:
        self.watched.pop(file, None)
        if mask:
            self.watched[file] = ready

    def run(self) -> None:
        while self.calls:
            self.calls.popleft()()

    def go_on(self, seconds: float) -> None:
        """Let time pass."""
        until = self.now + seconds
        self.run()
        while self.due and self.due[0][0] <= until:
            self.now, _, call = heapq.heappop(self.due)
            call()
            self.run()
        self.now = until


class Loop:
    """An event loop that runs once when it is told to."""

    def __init__(self) -> None:
        self.calls: deque[Callable[[], object]] = deque()
        self.readers: dict[int, Callable[[], object]] = {}
        self.closed = False

    def call_soon_threadsafe(self, call: Callable[..., object], *args: Any) -> None:
        if self.closed:
            raise RuntimeError("Event loop is closed")
        self.calls.append(partial(call, *args))

    def add_reader(self, number: int, call: Callable[[], object]) -> None:
        self.readers[number] = call

    def remove_reader(self, number: int) -> None:
        del self.readers[number]

    def is_closed(self) -> bool:
        return self.closed

    def run(self) -> None:
        while self.calls:
            self.calls.popleft()()
        for number, call in list(self.readers.items()):
            if select.select([number], [], [], 0)[0]:
                call()


class Line:
    """A connection. What comes is taken by the wire while it watches, or by an event loop."""

    def __init__(self, is_tls: bool = False) -> None:
        self.far, self.near = socket.socketpair()
        self.is_tls = is_tls
        self.closed = False
        self.watched = True
        self.taken: list[bytes] = []

    def take_turn(self) -> bool:
        return not self.is_tls

    def watch_by(self, poll: select.epoll) -> int:
        poll.register(self.near, select.POLLIN)
        return self.near.fileno()

    def watch_less(self) -> None:
        self.watched = False

    def watch_again(self) -> None:
        self.watched = True

    def take_frames(self) -> None:
        self.taken.append(self.near.recv(100))


class World:
    def __init__(self, lines: int = 2) -> None:
        self.wire = Wire()
        self.lines = [Line() for _ in range(lines)]
        self.threads_wait = False
        self.thread_leads = False
        self.event_loops: Any = EventLoops(
            self.wire,  # type: ignore[arg-type]
            lambda: self.lines,  # type: ignore[arg-type,return-value]
            self.take,
            lambda: self.threads_wait,
            lambda: self.wire.now,
        )

    def take(self, lines: Sequence[Any]) -> bool:
        if self.thread_leads:
            return False
        for line in lines:
            line.take_frames()
        return True

    @property
    def watched(self) -> list[bool]:
        """On which lines the wire's thread receives."""
        return [line.watched for line in self.lines]


@pytest.fixture
def world() -> World:
    return World()


def started(world: World) -> Loop:
    """Return an event loop that receives."""
    loop = Loop()
    world.event_loops.wait([loop])
    loop.run()
    world.wire.run()
    assert world.watched == [False, False]
    return loop


def test_the_only_loop_takes_what_comes_on_all_lines(world: World) -> None:
    loop = started(world)
    for line in world.lines:
        line.far.send(b"x")
    loop.run()
    assert [line.taken for line in world.lines] == [[b"x"], [b"x"]]
    assert not world.wire.calls


def test_the_wire_receives_for_two_loops_and_the_last_one_that_stays_receives(
    world: World,
) -> None:
    loop = started(world)
    other = Loop()
    world.event_loops.wait([loop, other])
    world.wire.run()
    loop.run()
    assert world.watched == [True, True]
    assert not loop.readers
    world.wire.go_on(10 * AGAIN)
    other.run()
    assert world.watched == [True, True]
    world.event_loops.wait([other])
    other.run()
    world.wire.run()
    assert world.watched == [False, False]
    assert other.readers


def test_a_loop_that_follows_another_receives_at_once(world: World) -> None:
    first = started(world)
    second = Loop()
    first.closed = True
    world.event_loops.wait([second])
    world.wire.run()
    assert world.watched == [True, True]
    second.run()
    world.wire.run()
    assert world.watched == [False, False]
    world.lines[0].far.send(b"x")
    second.run()
    assert world.lines[0].taken == [b"x"]


def test_a_blocked_loop_is_replaced_until_it_goes_on(world: World) -> None:
    loop = started(world)
    world.wire.go_on(10 * LOOK)
    world.lines[1].far.send(b"x")
    world.wire.go_on(2 * LOOK)
    assert world.watched == [True, True]
    world.lines[1].take_frames()  # on the wire's thread
    world.wire.go_on(5 * AGAIN)
    assert world.watched == [True, True]
    loop.run()
    world.wire.run()
    assert world.watched == [False, False]
    world.lines[1].far.send(b"y")
    loop.run()
    assert world.lines[1].taken == [b"x", b"y"]


def test_a_loop_that_is_replaced_while_it_reads_lets_the_wire_look_again(world: World) -> None:
    loop = started(world)
    line = world.lines[0]

    def replaced(lines: Sequence[Any]) -> bool:
        world.event_loops.stop()
        world.wire.run()
        line.watch_less()  # the wire's thread sees that another one reads
        return True

    turn = world.event_loops._turn
    turn._take = replaced
    line.far.send(b"x")
    loop.run()
    assert not line.watched
    world.wire.run()
    assert line.watched


def test_the_wire_receives_while_a_thread_waits(world: World) -> None:
    loop = started(world)
    world.threads_wait = True
    world.event_loops.stop()
    world.wire.run()
    assert world.watched == [True, True]
    world.wire.go_on(10 * AGAIN)
    loop.run()
    assert world.watched == [True, True]
    world.threads_wait = False
    world.wire.go_on(AGAIN)
    loop.run()
    world.wire.run()
    assert world.watched == [False, False]


def test_a_loop_whose_coroutines_wait_too_early_is_asked_later(world: World) -> None:
    loop = started(world)
    world.event_loops.stop()
    world.event_loops.wait([])
    world.event_loops.wait([loop])
    world.wire.run()  # it has been replaced, and its coroutines have gone
    world.event_loops.wait([])
    world.wire.go_on(AGAIN - LOOK)
    world.event_loops.wait([loop])
    world.wire.go_on(2 * AGAIN)
    loop.run()
    world.wire.run()
    assert world.watched == [False, False]


def test_a_thread_that_waits_while_a_loop_is_asked_is_seen(world: World) -> None:
    loop = Loop()
    world.event_loops.wait([loop])
    loop.run()
    world.threads_wait = True
    world.wire.run()
    assert world.watched == [True, True]


def test_a_loop_takes_nothing_while_a_thread_leads(world: World) -> None:
    loop = started(world)
    world.thread_leads = True
    world.lines[0].far.send(b"x")
    loop.run()
    assert world.lines[0].taken == []


def test_a_loop_for_which_nothing_comes_is_looked_at_rarely(world: World) -> None:
    loop = started(world)
    world.wire.go_on((REST + 1) * LOOK)
    (ready,) = world.wire.watched.values()
    looks = len(world.wire.due)
    world.wire.go_on(RARELY / 2)
    assert len(world.wire.due) == looks
    world.lines[0].far.send(b"x")
    ready(1)
    assert not world.wire.watched
    world.wire.go_on(2 * LOOK)  # it is blocked
    assert world.watched == [True, True]
    assert not loop.closed


def test_a_loop_without_coroutines_that_wait_receives_a_while_longer(world: World) -> None:
    loop = started(world)
    world.event_loops.wait([])
    world.wire.go_on(LOOK)
    assert world.watched == [False, False]
    world.event_loops.wait([loop])
    world.event_loops.wait([])
    assert not world.wire.calls
    world.wire.go_on((REST + 1) * LOOK)
    loop.run()
    assert world.watched == [True, True]
    assert not loop.readers
    assert not world.wire.due


def test_a_loop_that_ends_while_its_coroutines_wait_is_replaced(world: World) -> None:
    loop = started(world)
    loop.closed = True
    world.wire.go_on(LOOK)
    assert world.watched == [True, True]


def test_lines_that_open_later_are_the_loops_too_and_those_that_close_are_not(
    world: World,
) -> None:
    loop = started(world)
    gone, kept = world.lines
    gone.closed = True
    world.lines[:] = [kept, Line()]
    world.wire.go_on(LOOK)
    assert gone.watched  # until it has ended
    assert world.watched == [False, False]
    world.lines[1].far.send(b"x")
    loop.run()
    assert world.lines[1].taken == [b"x"]


def test_the_wire_receives_what_a_loop_cannot(world: World) -> None:
    world.lines[0].is_tls = True
    loop = Loop()
    world.event_loops.wait([loop])
    loop.run()
    world.wire.run()
    assert world.watched == [True, False]


def test_a_line_that_code_of_the_user_has_closed_stops_no_other(world: World) -> None:
    socket.close(world.lines[0].near.fileno())
    loop = Loop()
    world.event_loops.wait([loop])
    loop.run()
    world.wire.go_on(10 * LOOK)
    assert world.watched == [True, False]
    world.lines[0].near.detach()


def test_a_loop_that_cannot_watch_files_is_asked_once(world: World) -> None:
    class Proactor(Loop):
        asked = 0

        def add_reader(self, number: int, call: Callable[[], object]) -> None:
            self.asked += 1
            raise NotImplementedError

    loop = Proactor()
    for _ in range(3):
        world.event_loops.wait([loop])
        loop.run()
        world.event_loops.wait([])
        world.wire.go_on(AGAIN)
    assert loop.asked == 1
    assert world.watched == [True, True]


def test_a_file_that_code_of_the_user_has_closed_is_missed(world: World) -> None:
    started(world)
    world.wire.go_on((REST + 1) * LOOK)
    socket.close(world.event_loops._turn.poll.fileno())
    world.wire.go_on(RARELY)
    assert world.watched == [True, True]


def test_without_epoll_no_loop_receives(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_loops, "_CAN", False)
    loop = Loop()
    world.event_loops.wait([loop])
    assert not loop.calls


# --- with connections, event loops and threads --------------------------------------------------


@pytest.fixture
def ends() -> Iterator[Ends]:
    made = Ends()
    made.boxes[b"c"] = Box()
    yield made
    made.near.close()
    made.listener.close()


class Coroutine:
    """What one coroutine gets, and on which thread each frame was taken."""

    def __init__(self) -> None:
        self.got: list[tuple[bytes, int]] = []
        self.loop = asyncio.get_running_loop()
        self.event = asyncio.Event()

    def put(self, data: bytes) -> None:
        self.got.append((data, threading.get_ident()))
        self.loop.call_soon_threadsafe(self.event.set)

    async def read(self) -> tuple[bytes, int]:
        while not self.got:
            self.event.clear()
            await self.event.wait()
        return self.got.pop(0)


async def receive(ends: Ends) -> None:
    """Let this event loop receive, and wait until it does."""
    found, loop = ends.lead._event_loops, asyncio.get_running_loop()
    ends.lead.share((loop,))
    while (turn := found._turn) is None or turn.loop is not loop or not turn.holds(ends.near):
        await asyncio.sleep(0.001)


def test_an_event_loop_receives_in_its_own_thread(ends: Ends) -> None:
    async def read() -> None:
        box = ends.boxes[b"a"] = Coroutine()  # type: ignore[assignment]
        await receive(ends)
        for number in range(200):
            ends.send(b"a", b"%d" % number)
        got = [await box.read() for _ in range(200)]
        assert got == [(b"%d" % number, threading.get_ident()) for number in range(200)]
        ends.lead.share(())

    for _ in range(3):
        lead_once(ends, b"c")
        asyncio.run(read())


def test_a_thread_gets_its_frames_while_an_event_loop_is_blocked(ends: Ends) -> None:
    lead_once(ends, b"c")

    async def read() -> None:
        box = ends.boxes[b"a"] = Coroutine()  # type: ignore[assignment]
        await receive(ends)
        found = in_thread(ends, b"c")
        for number in range(50):
            ends.send(b"a", b"%d" % number)
        ends.send(b"c", b"for a thread")
        assert found.get(timeout=60)[0] == b"for a thread"  # blocks this event loop
        assert [(await box.read())[0] for _ in range(50)] == [b"%d" % n for n in range(50)]
        ends.lead.share(())

    asyncio.run(read())


def test_what_comes_for_a_blocked_event_loop_is_taken_by_the_wire(ends: Ends) -> None:
    async def read() -> None:
        box = ends.boxes[b"a"] = Coroutine()  # type: ignore[assignment]
        await receive(ends)
        ends.send(b"a", b"x")
        while not box.got:
            time.sleep(0.001)  # blocks it
        assert await box.read() == (b"x", serving())
        ends.lead.share(())

    asyncio.run(read())


def test_the_end_of_the_connection_is_noticed_by_the_event_loop(ends: Ends) -> None:
    async def read() -> None:
        await receive(ends)
        ends.far.close()
        while ends.closed.empty():
            await asyncio.sleep(0.001)
        assert ends.closed.get() is None
        ends.lead.share(())

    asyncio.run(read())


def test_a_signal_handler_that_raises_where_an_event_loop_reads_ends_the_connection(
    ends: Ends,
) -> None:
    class Struck(BaseException):
        pass

    def strike(data: bytes) -> None:
        raise Struck

    async def read() -> None:
        noted: list[Any] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, found: noted.append(found))
        ends.boxes[b"c"].put = strike  # type: ignore[method-assign]
        await receive(ends)
        ends.send(b"c", b"x")
        while ends.closed.empty():
            await asyncio.sleep(0.001)
        assert "a signal handler has raised" in str(ends.closed.get())
        assert isinstance(noted[0]["exception"], Struck)
        ends.lead.share(())

    asyncio.run(read())
    assert ends.lead._leader == 0
    assert not ends.lead._place.locked()


def test_with_tls_the_wire_receives_for_an_event_loop(monkeypatch: pytest.MonkeyPatch) -> None:
    use_tls(monkeypatch)
    ends = Ends()

    async def read() -> None:
        box = ends.boxes[b"a"] = Coroutine()  # type: ignore[assignment]
        ends.lead.share((asyncio.get_running_loop(),))
        while ends.lead._event_loops._turn is None:
            await asyncio.sleep(0.001)
        ends.send(b"a", b"x" * 100_000)
        assert await box.read() == (b"x" * 100_000, serving())
        ends.lead.share(())

    asyncio.run(read())
    ends.near.close()
    ends.listener.close()


def test_event_loops_and_threads_in_turn_lose_nothing(ends: Ends) -> None:
    """Three event loops and two threads read at once, and each of them ends several times."""
    names = [b"l0", b"l1", b"l2"], [b"t0", b"t1"]
    each, rounds = 40, 4
    loops: list[asyncio.AbstractEventLoop] = []
    lock = threading.Lock()
    failed: queue.SimpleQueue[BaseException] = queue.SimpleQueue()

    def note(loop: asyncio.AbstractEventLoop, adds: bool) -> None:
        with lock:
            (loops.append if adds else loops.remove)(loop)
            ends.lead.share(tuple(loops))

    async def read(name: bytes) -> None:
        box = ends.boxes[name] = Coroutine()  # type: ignore[assignment]
        note(box.loop, True)
        for number in range(each):
            ends.send(name, b"%d" % number)
            if number % 2:
                assert [(await box.read())[0] for _ in range(2)] == [
                    b"%d" % (number - 1),
                    b"%d" % number,
                ]
        note(box.loop, False)

    def thread(name: bytes, is_async: bool) -> None:
        try:
            for _ in range(rounds):
                if is_async:
                    asyncio.run(read(name))
                    continue
                for number in range(each):
                    data = b"%d" % number
                    assert ends.read(name, partial(ends.send, name, data))[0] == data
        except BaseException as error:
            failed.put(error)

    ends.boxes.update({name: Box() for name in names[1]})
    threads = [
        threading.Thread(target=thread, args=(name, name in names[0]), daemon=True)
        for name in (*names[0], *names[1])
    ]
    for started_one in threads:
        started_one.start()
    for started_one in threads:
        started_one.join(60)
        assert not started_one.is_alive()
    assert failed.empty(), failed.get()
