"""Handles of runs that another server process starts."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from distgraph.errors import RunError, RunNotFound
from distgraph.serve import handles as module
from distgraph.serve.database import open_database
from distgraph.serve.handles import Handles
from distgraph.serve.records import Run, Thread, now
from distgraph.serve.registry import Registry

SILENT = RunError("1 stream brokers have not answered for 10 s")


@pytest.mark.parametrize("ended", [False, True])
@pytest.mark.parametrize("failure", [RunNotFound("not known"), SILENT], ids=["unknown", "silent"])
def test_a_run_that_is_not_found_is_looked_for_as_long_as_it_may_be_starting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failure: Exception, ended: bool
) -> None:
    answers: list[Any] = [failure, failure, "the handle"]
    asked: list[str] = []

    def attach(run_id: str, *, backend: str) -> Any:
        asked.append(run_id)
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr(module, "attach", attach)
    monkeypatch.setattr(module, "_LOOK", 0.0)

    async def work() -> Any:
        registry = Registry(open_database(tmp_path / "registry.sqlite"))
        await registry.set_up()
        stamp = now()
        run = Run("run", "thread", "assistant", "graph", stamp, stamp)
        made = Thread("thread", stamp, stamp, stamp)
        added = await registry.add_run(replace(run, owner="other"), thread=made, claim=True)
        assert added is not None
        if ended:
            await registry.finish(added, "success", last=1, thread={})
        try:
            return await Handles(registry, "ray").get(added)
        finally:
            registry.close()

    if ended:
        with pytest.raises(type(failure), match=str(failure)):
            asyncio.run(work())
        assert asked == ["run"]
    else:
        assert asyncio.run(work()) == "the handle"
        assert asked == ["run"] * 3
