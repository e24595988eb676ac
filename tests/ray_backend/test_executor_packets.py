"""What becomes of attempts that were sent to an executor, from the driver's view. No Ray runs."""

from types import SimpleNamespace

from actors import executors
from actors.executor_frames import ENDED, LEAVES, PACKET, TAKEN, ExecutorOpened, PacketHead
from actors.executors import Executor, PackedAttempts
from actors.lease_frames import CANCEL, PROGRAM, head, read_head
from distgraph.driver.ports import NotTaken
from distgraph.errors import WorkerDied
from distgraph.wire import Frame

DEAD = WorkerDied("its process is gone")


class Wire:
    """Notes the frames that are sent."""

    def __init__(self):
        self.sent = []

    def send(self, kind, *parts, wait):
        assert not wait
        self.sent.append(Frame(kind, parts, 0))

    @property
    def kinds(self):
        return [frame.kind for frame in self.sent]

    def packets(self):
        heads = [read_head(frame) for frame in self.sent if frame.kind == PACKET]
        return [PacketHead(*told).number for frame in heads for *told, parts in frame]

    def close(self):
        pass


class Sent:
    """An executor whose process is not there, and what came of its attempts."""

    def __init__(self):
        host = SimpleNamespace(
            by_ray={},
            outcomes={},
            program=lambda digest: (b"program", ()),
            calls=SimpleNamespace(spawn=lambda call: None),
            forget=lambda executor: None,
        )
        self.lost = []
        self.executor = Executor(host, None, self.lost.append, pinned=False)
        self.wire = Wire()
        self.ended = {}

    def open(self):
        self.executor.opened(self.wire, ExecutorOpened(self.executor.id))

    def submit(self, *names, program="graph", packed=b"packed"):
        jobs = [(name, lambda *came, name=name: self.ended.update({name: came})) for name in names]
        self.executor.submit(jobs, PackedAttempts(packed, (), program, False))

    def tell(self, kind, said, *parts):
        self.executor.received(Frame(kind, (head(said), *parts), 0))


def test_frames_wait_in_their_order_until_the_process_has_connected():
    sent = Sent()
    sent.submit("a")
    sent.executor.cancel(["a"])
    sent.submit("b")
    assert sent.wire.sent == []
    sent.open()
    assert sent.wire.kinds == [PROGRAM, PACKET, CANCEL, PACKET]


class Turns:
    """A loop on which runs have their turns together, or not."""

    def __init__(self):
        self.collects = False
        self.behind = []

    def collect(self, call):
        self.behind.append(call)
        return True


def test_packets_of_runs_that_have_their_turns_together_go_in_one_frame(monkeypatch):
    turns = Turns()
    monkeypatch.setattr(executors, "loop", lambda: turns)
    sent = Sent()
    sent.open()
    turns.collects = True
    sent.submit("a")
    sent.submit("b", "c")
    assert sent.wire.kinds == [PROGRAM]
    (flush,) = turns.behind
    flush()
    frame = sent.wire.sent[-1]
    heads = [PacketHead(*told) for *told, parts in read_head(frame)]
    assert [told.names for told in heads] == [["a"], ["b", "c"]]
    assert [parts for *_, parts in read_head(frame)] == [1, 1]
    assert frame.parts[1:] == (b"packed", b"packed")
    sent.submit("d")
    sent.executor.cancel(["d"])  # behind its packet
    turns.collects = False
    sent.submit("e")
    assert sent.wire.kinds == [PROGRAM, PACKET, PACKET, CANCEL, PACKET]


def test_a_large_packet_goes_alone(monkeypatch):
    turns = Turns()
    turns.collects = True
    monkeypatch.setattr(executors, "loop", lambda: turns)
    sent = Sent()
    sent.open()
    sent.submit("a")
    sent.submit("b", packed=bytes(executors.PIECE_SIZE + 1))
    sent.submit("c")
    turns.behind[-1]()
    assert sent.wire.kinds == [PROGRAM, PACKET, PACKET, PACKET]


def test_each_outcome_of_a_frame_goes_to_its_attempt():
    sent = Sent()
    sent.open()
    sent.submit("a", "b", "c")
    sent.tell(ENDED, (("c", "dropped"), ("a", "done")), b"outcome")
    assert sent.ended == {"c": (None, None), "a": (b"outcome", None)}
    assert sent.executor.load == 1


def test_outcomes_come_in_one_frame_with_the_packets_that_begin_meanwhile():
    sent = Sent()
    sent.open()
    sent.submit("a")
    sent.tell(TAKEN, sent.wire.packets())
    sent.submit("b")
    sent.tell(ENDED, ((sent.wire.packets()[-1], "taken"), ("a", "done")), b"outcome")
    assert sent.ended == {"a": (b"outcome", None)}
    sent.executor.gone(DEAD)
    assert sent.ended["b"] == (None, DEAD)  # it had begun


def test_a_packet_that_a_dead_process_did_not_begin_is_not_taken():
    sent = Sent()
    sent.open()
    sent.submit("begun")
    sent.tell(TAKEN, sent.wire.packets())
    sent.submit("not begun")
    sent.executor.gone(DEAD)
    assert sent.ended["begun"] == (None, DEAD)
    assert isinstance(sent.ended["not begun"][1], NotTaken)
    assert sent.lost == [sent.executor]


def test_a_graph_that_may_have_ended_its_process_is_not_sent_on_for_ever():
    sent = Sent()
    sent.open()
    sent.submit("a")
    sent.executor.gone(DEAD)
    assert sent.ended["a"] == (None, DEAD)


def test_what_is_sent_to_a_dead_process_is_not_taken():
    sent = Sent()
    sent.executor.gone(DEAD)
    sent.submit("a")
    assert isinstance(sent.ended["a"][1], NotTaken)


def test_what_a_damaged_process_refuses_is_not_taken_and_what_it_runs_goes_on():
    sent = Sent()
    sent.open()
    sent.submit("runs")
    sent.tell(TAKEN, sent.wire.packets())
    sent.submit("refused", "too")
    sent.tell(TAKEN, sent.wire.packets()[1:])
    sent.tell(LEAVES, ("7 (socket:[1]) was closed",))
    sent.tell(ENDED, (("refused", "refused"), ("too", "refused")))
    assert [type(error) for _, error in sent.ended.values()] == [NotTaken, NotTaken]
    assert "7 (socket:[1]) was closed" in sent.executor.retirement.why
    sent.tell(ENDED, (("runs", "done"),), b"outcome")
    assert sent.ended["runs"] == (b"outcome", None)


def test_what_waits_for_a_process_that_is_damaged_is_not_taken():
    sent = Sent()
    sent.open()
    sent.submit("a")
    sent.tell(LEAVES, ("7 (socket:[1]) was closed",))
    assert isinstance(sent.ended["a"][1], NotTaken)
    assert sent.wire.kinds == [PROGRAM, PACKET, CANCEL]  # in case it takes it all the same
