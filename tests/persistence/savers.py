"""Savers, stores and reaches that the tests of this folder work with."""

import asyncio
from collections import Counter

from langgraph.checkpoint.base import BaseCheckpointSaver, empty_checkpoint
from langgraph.checkpoint.memory import InMemorySaver

from distgraph.persistence import hosting
from distgraph.persistence.remote_resources import Reach


def config(thread="1", **more):
    return {"configurable": {"thread_id": thread, "checkpoint_ns": "", **more}}


def saved(saver, thread="1", step=-1, **values):
    """Put a checkpoint; returns the config that names it."""
    checkpoint = empty_checkpoint()
    checkpoint["channel_values"] = values
    checkpoint["channel_versions"] = dict.fromkeys(values, f"{step + 2}.0")
    metadata = {"source": "input", "step": step}
    versions = checkpoint["channel_versions"]
    return saver.put(config(thread), checkpoint, metadata, versions)


class AsyncOnly(BaseCheckpointSaver):
    """Has async methods only, and notes on which loops they ran."""

    def __init__(self):
        super().__init__()
        self.inner = InMemorySaver()
        self.loops = []

    def _note(self):
        self.loops.append(asyncio.get_running_loop())

    async def aget_tuple(self, config):
        self._note()
        return self.inner.get_tuple(config)

    async def alist(self, config, *, filter=None, before=None, limit=None):
        self._note()
        for found in self.inner.list(config, filter=filter, before=before, limit=limit):
            yield found

    async def aput(self, config, checkpoint, metadata, new_versions):
        self._note()
        return self.inner.put(config, checkpoint, metadata, new_versions)

    async def aput_writes(self, config, writes, task_id, task_path=""):
        self._note()
        self.inner.put_writes(config, writes, task_id, task_path)


class Bound(AsyncOnly):
    """Belongs to one event loop, as ``AsyncSqliteSaver`` does."""

    def __init__(self, loop):
        super().__init__()
        self.loop = loop


class OldSaver(InMemorySaver):
    """Its writes have no path, as before ``task_path`` existed."""

    def put_writes(self, config, writes, task_id):
        self.got = (writes, task_id)


class Rot13:
    """A toy cipher."""

    def encrypt(self, plaintext):
        return "rot", bytes(b ^ 13 for b in plaintext)

    def decrypt(self, ciphername, ciphertext):
        return bytes(b ^ 13 for b in ciphertext)


class Counting(Reach):
    """Passes calls on to the objects of this process, by the host's own way, and counts them."""

    def __init__(self):
        self.calls = Counter()
        self.client = hosting.HostClient(hosting.host().listen().ticket)

    def __call__(self, placed, method, args, kwargs):
        self.calls[method] += 1
        return self.client(placed, method, args, kwargs)
