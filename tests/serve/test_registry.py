"""The registry on both databases: runs take turns, whichever process claims them."""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import asdict, replace
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from distgraph.serve.database import Conflict, open_database
from distgraph.serve.records import Assistant, Cron, Page, Run, Thread, new_id, now
from distgraph.serve.registry import Chore, Finished, Registry, ThreadNotFound
from tests.support.postgres import Postgres

Check = Callable[[Registry, Registry], Awaitable[None]]


@pytest.fixture(params=["sqlite", "postgres"])
def where(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return str(tmp_path / "registry.sqlite")
    server: Postgres = request.getfixturevalue("postgres")
    return server.new_database()


def check(where: str, work: Check) -> None:
    """Call ``work`` with the registries of two processes."""

    async def both() -> None:
        first, second = Registry(open_database(where)), Registry(open_database(where))
        try:
            await asyncio.gather(first.set_up(), second.set_up())
            await work(first, second)
        finally:
            first.close()
            second.close()

    asyncio.run(both())


def thread(**fields: Any) -> Thread:
    stamp = now()
    return replace(Thread(new_id(), stamp, stamp, stamp), **fields)


def run(thread_id: str, **fields: Any) -> Run:
    stamp = now()
    return replace(Run(new_id(), thread_id, "a", "g", stamp, stamp), **fields)


def test_one_of_many_claims_gets_a_run(where: str) -> None:
    async def work(first: Registry, second: Registry) -> None:
        one = thread()
        await first.add_thread(one)
        made = [await first.add_run(run(one.thread_id)) for _ in range(3)]
        claims = await asyncio.gather(
            *(r.claim(one.thread_id, f"p{n}") for n in range(5) for r in (first, second))
        )
        won = [c for c in claims if c is not None]
        assert [c.run_id for c in won] == [made[0].run_id]  # type: ignore[union-attr]
        assert won[0].base == 1
        ended = await first.finish(won[0], "success", last=10, thread={"status": "idle"})
        assert ended == Finished(first=True, more=True)
        again = await second.finish(won[0], "error", last=3, thread={"status": "error"})
        assert again == Finished(first=False, more=True)
        assert (await second.thread(one.thread_id)).status == "busy"  # type: ignore[union-attr]
        following = await second.claim(one.thread_id, "p")
        assert following is not None and following.run_id == made[1].run_id  # type: ignore[union-attr]
        assert following.base == 12
        noted = await first.run(won[0].run_id)
        assert noted is not None and (noted.status, noted.last) == ("success", 10)
        assert [r.run_id for r in await first.runs_from(one.thread_id, 10)] == [
            won[0].run_id,
            following.run_id,
        ]
        assert [r.run_id for r in await first.runs_from(one.thread_id, 11)] == [following.run_id]

    check(where, work)


def test_a_run_that_is_added_to_an_idle_thread_is_claimed_at_once(where: str) -> None:
    async def work(first: Registry, second: Registry) -> None:
        one = thread()
        begun = await first.add_run(run(one.thread_id, owner="p"), thread=one, claim=True)
        assert begun is not None and (begun.status, begun.base) == ("running", 1)
        waits = await second.add_run(run(one.thread_id), claim=True)
        assert waits is not None and (waits.status, waits.base) == ("pending", None)
        assert await second.claim(one.thread_id, "q") is None
        ended = await first.finish(begun, "success", last=4, thread={"status": "idle"})
        assert ended == Finished(first=True, more=True)
        other = thread()
        later = await first.add_run(
            run(other.thread_id, start_at=time.time() + 60), thread=other, claim=True
        )
        assert later is not None and later.status == "pending"

    check(where, work)


def test_a_run_that_was_claimed_is_not_ended_as_one_that_waits(where: str) -> None:
    async def work(first: Registry, second: Registry) -> None:
        one = thread()
        waits = await first.add_run(run(one.thread_id), thread=one)
        assert waits is not None and await second.claim(one.thread_id, "p") is not None
        ended = await first.finish(waits, "interrupted", last=0, thread={}, if_unclaimed=True)
        assert ended == Finished(first=False, more=True)

    check(where, work)


def test_no_run_is_added_to_a_thread_that_was_deleted(where: str) -> None:
    async def work(first: Registry, second: Registry) -> None:
        one = thread()
        await first.add_thread(one)
        await second.delete_thread(one.thread_id)
        with pytest.raises(ThreadNotFound):
            await first.add_run(run(one.thread_id))
        assert await first.active_runs(one.thread_id) == []

    check(where, work)


def test_only_one_of_several_runs_is_added_to_an_idle_thread(where: str) -> None:
    async def work(first: Registry, second: Registry) -> None:
        one = thread()
        await first.add_thread(one)
        added = await asyncio.gather(
            *(
                r.add_run(run(one.thread_id), only_if_idle=True)
                for _ in range(4)
                for r in (first, second)
            )
        )
        assert sum(a is not None for a in added) == 1

    check(where, work)


def test_runs_of_a_silent_process_are_adopted_once(where: str) -> None:
    async def work(first: Registry, second: Registry) -> None:
        one, two = thread(), thread()
        own = thread()
        for each, owner in ((one, "dead"), (two, "alive"), (own, "adopts")):
            await first.add_run(run(each.thread_id, owner=owner), thread=each)
        await first.seen("alive")
        adopted = await asyncio.gather(first.adopt("adopts", 60), second.adopt("adopts", 60))
        assert [r.thread_id for rs in adopted for r in rs] == [one.thread_id]

    check(where, work)


def test_json_conditions(where: str) -> None:
    async def work(first: Registry, second: Registry) -> None:
        contents: list[dict[str, Any]] = [
            {"owner": "ada", "n": 1, "tags": ["a", "b"], "deep": {"x": {"y": True}}},
            {"owner": "bob", "n": 1.5, "tags": ["b"], "deep": {"x": {"y": False}}},
            {"owner": 'ada\'s "friend"', "none": None, "tags": []},
        ]
        made = [thread(metadata=content) for content in contents]
        for each in made:
            await first.add_thread(each)

        async def found(metadata: Any = None, filters: Any = None) -> list[int]:
            page = Page(sort_by="created_at", descending=False)
            threads, _ = await second.threads(page, metadata=metadata, filters=filters)
            ids = [m.thread_id for m in made]
            return [ids.index(t.thread_id) for t in threads]

        assert await found({"owner": "ada"}) == [0]
        assert await found({"owner": 'ada\'s "friend"'}) == [2]
        assert await found({"n": 1}) == [0]
        assert await found({"n": 1.5}) == [1]
        assert await found({"deep": {"x": {"y": False}}}) == [1]
        assert await found({"tags": ["b"]}) == [0, 1]
        assert await found({"tags": ["b", "a"]}) == [0]
        assert await found({"none": None}) == [2]
        assert await found({"owner": "ada", "n": 2}) == []
        assert await found(filters={"owner": {"$eq": "bob"}}) == [1]
        assert await found(filters={"tags": {"$contains": "a"}}) == [0]
        assert await found(filters={"tags": {"$contains": ["b"]}}) == [0, 1]
        assert await found(filters={"$or": [{"owner": "ada"}, {"owner": "bob"}]}) == [0, 1]
        assert await found({"owner": "bob"}, filters={"owner": "ada"}) == []
        assert await second.thread(made[0].thread_id, {"owner": "bob"}) is None

    check(where, work)


def test_records_return_as_they_were_written(where: str) -> None:
    async def work(first: Registry, second: Registry) -> None:
        one = thread(
            metadata={"a": [1, {"b": None}]},
            values={"text": "ü\n"},
            interrupts={"t": [{"id": "i", "value": 1}]},
            error={"error": "E", "message": "m"},
            temporary=True,
        )
        await first.add_thread(one)
        assert await second.thread(one.thread_id) == one
        with pytest.raises(Conflict):
            await second.add_thread(one)
        stamp = now()
        assistant = Assistant(str(uuid.uuid4()), "g", "n", stamp, stamp, {"configurable": {"k": 1}})
        await first.assistants.add(assistant)
        assert await second.assistants.get(assistant.assistant_id) == assistant
        assert await second.assistants.get(str(uuid.uuid4())) is None
        assert await second.threads(Page()) == ([], 0)
        assert await first.forgotten_threads("9999") == [one.thread_id]

    check(where, work)


def test_of_several_processes_one_gets_a_cron_that_is_due(where: str) -> None:
    async def work(first: Registry, second: Registry) -> None:
        due = Cron(new_id(), "a", "0 0 * * *", now(), now(), next_run_date="2026-01-01T00:00:00")
        later = replace(due, cron_id=new_id(), next_run_date="2026-01-03T00:00:00")
        for cron in (due, later, replace(due, cron_id=new_id(), enabled=False)):
            await first.crons.add(cron)
        claims = [each.crons.due("2026-01-02", lambda _: "2027") for each in (first, second) * 2]
        found = [cron.cron_id for crons in await asyncio.gather(*claims) for cron in crons]
        assert found == [due.cron_id]
        assert (await second.crons.get(due.cron_id)) == replace(due, next_run_date="2027")
        await second.crons.change(due.cron_id, {**asdict(later), "cron_id": due.cron_id})
        assert (await first.crons.get(due.cron_id)) == replace(later, cron_id=due.cron_id)
        await first.crons.delete(due.cron_id)
        assert await second.crons.get(due.cron_id) is None

    check(where, work)


def test_a_change_of_metadata_loses_no_other_change(where: str) -> None:
    async def work(first: Registry, second: Registry) -> None:
        one = thread()
        await first.add_thread(one)
        await asyncio.gather(
            *(
                r.change_thread(one.thread_id, {}, metadata={f"{n}": n})
                for n, r in enumerate((first, second) * 4)
            ),
            first.add_run(run(one.thread_id)),
        )
        known = await second.thread(one.thread_id)
        assert known is not None
        numbers = {f"{n}": n for n in range(8)}
        assert known.metadata == {**numbers, "graph_id": "g", "assistant_id": "a"}

    check(where, work)


def test_a_thread_with_an_active_run_stays_busy_when_its_state_is_written(where: str) -> None:
    async def work(first: Registry, second: Registry) -> None:
        one = thread()
        added = await first.add_run(run(one.thread_id, owner="p"), thread=one, claim=True)
        await second.change_thread(one.thread_id, {"status": "idle", "values": {"n": 1}})
        known = await first.thread(one.thread_id)
        assert known is not None and (known.status, known.values) == ("busy", {"n": 1})
        assert added is not None
        await first.finish(added, "success", last=1, thread={"status": "idle"})
        await second.change_thread(one.thread_id, {"status": "interrupted"})
        known = await first.thread(one.thread_id)
        assert known is not None and known.status == "interrupted"

    check(where, work)


def test_threads_whose_time_to_live_has_passed_are_deleted_by_one_process(where: str) -> None:
    async def work(first: Registry, second: Registry) -> None:
        old, busy, kept = thread(ttl=5.0), thread(ttl=5.0), thread()
        long = thread(ttl=60.0)
        for each in (old, kept, long):
            await first.add_thread(each)
        await first.add_run(run(busy.thread_id), thread=busy)
        later = datetime.now(timezone.utc) + timedelta(minutes=6)
        found = await asyncio.gather(*(r.chores.take(later, 10) for r in (first, second)))
        assert sorted(found) == [[], [Chore(old.thread_id, "delete")]]
        left, _ = await first.threads(Page())
        assert {t.thread_id for t in left} == {t.thread_id for t in (busy, kept, long)}
        hours = datetime.now(timezone.utc) + timedelta(hours=2)
        assert await first.chores.take(hours, 10) == [Chore(long.thread_id, "delete")]

    check(where, work)


def test_threads_are_shortened_by_one_process_and_again_after_the_next_change(where: str) -> None:
    async def work(first: Registry, second: Registry) -> None:
        old, busy = (thread(ttl=5.0, ttl_strategy="keep_latest") for _ in range(2))
        await first.add_thread(old)
        await first.add_run(run(busy.thread_id), thread=busy)
        later = datetime.now(timezone.utc) + timedelta(minutes=6)
        found = await asyncio.gather(*(r.chores.take(later, 10) for r in (first, second)))
        assert sorted(found) == [[], [Chore(old.thread_id, "shorten")]]
        await second.change_thread(old.thread_id, {})
        assert await first.chores.take(datetime.now(timezone.utc), 10) == []
        assert await first.chores.take(later, 10) == [Chore(old.thread_id, "shorten")]

    check(where, work)


def test_a_chore_of_a_process_that_ended_is_done_by_another(where: str) -> None:
    async def work(first: Registry, second: Registry) -> None:
        gone, short = thread(ttl=5.0), thread(ttl=5.0, ttl_strategy="keep_latest")
        for each in (gone, short):
            await first.add_thread(each)
        later = datetime.now(timezone.utc) + timedelta(minutes=6)
        taken = await first.chores.take(later, 10)
        assert taken == [Chore(gone.thread_id, "delete"), Chore(short.thread_id, "shorten")]
        await first.chores.done(taken[0])
        # the first process ends here
        assert await second.chores.take(later, 10) == []
        assert await second.chores.take(later, 10, abandoned=-1) == [taken[1]]
        await second.chores.done(taken[1])
        assert await first.chores.take(later, 10, abandoned=-1) == []

    check(where, work)


def test_what_the_registry_keeps_is_counted(where: str) -> None:
    async def work(first: Registry, second: Registry) -> None:
        one, other = thread(), thread(status="error")
        await first.add_thread(other)
        await first.add_run(run(one.thread_id, owner="p"), thread=one, claim=True)
        created = (datetime.now(timezone.utc) - timedelta(seconds=90)).isoformat()
        await first.add_run(run(one.thread_id, created_at=created))
        far = time.time() + 1000
        await first.add_run(run(one.thread_id, start_at=far, created_at="2020-01-01T00:00+00:00"))
        await first.crons.add(Cron(new_id(), "a", "0 0 * * *", now(), now(), enabled=False))
        counts = await second.counts()
        none = {"success": 0, "error": 0, "interrupted": 0, "timeout": 0}
        assert counts.runs == {"pending": 2, "running": 1, **none}
        assert counts.threads == {"idle": 0, "busy": 1, "interrupted": 0, "error": 1}
        assert counts.crons == {"true": 0, "false": 1}
        assert counts.longest_wait >= 90

    check(where, work)


def test_a_database_of_an_older_version_gets_the_columns_that_it_lacks(where: str) -> None:
    async def work(first: Registry, second: Registry) -> None:
        for column in ("ttl", "ttl_strategy", "shortened_at"):
            drop = f"ALTER TABLE threads DROP COLUMN {column}"
            await first.database.run(lambda t, drop=drop: t.execute(drop))  # type: ignore[misc]
        await asyncio.gather(first.set_up(), second.set_up())
        await first.add_thread(thread(ttl=5.0))

    check(where, work)
