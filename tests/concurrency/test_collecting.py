"""``is_collecting``: the garbage collector runs in this thread."""

from __future__ import annotations

import gc
import threading

from distgraph.concurrency.collecting import is_collecting


class Notes:
    def __init__(self, notes: list[bool]) -> None:
        self.notes = notes
        self.circle = self

    def __del__(self) -> None:
        self.notes.append(is_collecting())


def test_it_is_known_while_garbage_is_collected() -> None:
    notes: list[bool] = []
    Notes(notes)
    assert not is_collecting()
    gc.collect()
    assert notes == [True]
    assert not is_collecting()


def test_it_is_not_so_where_the_last_reference_goes() -> None:
    notes: list[bool] = []
    noted = Notes(notes)
    noted.circle = None
    del noted
    assert notes == [False]


def test_it_is_so_in_one_thread_only() -> None:
    elsewhere: list[bool] = []

    class Asks:
        def __init__(self) -> None:
            self.circle = self

        def __del__(self) -> None:
            asks = threading.Thread(target=lambda: elsewhere.append(is_collecting()))
            asks.start()
            asks.join()

    Asks()
    gc.collect()
    assert elsewhere == [False]
