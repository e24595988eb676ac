"""Fixtures of the tests that run one graph on several engines, Ray among them."""

from __future__ import annotations

import faulthandler
import gc
import os
import signal
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, TextIO

import pytest

from distgraph.engine.machine import Machine
from tests.support.differential import Differ
from tests.support.engines import DISTRIBUTED, REFERENCE, REFERENCE_AWAITS, Engine, selected
from tests.support.postgres import postgres

__all__ = ("postgres",)

EXIT_TIMEOUT = 60
"""Seconds the process may take to end after the last test."""

MATRICES = ("clients", "differential", "ecosystem", "prebuilt", "seeds")
"""Folders whose cases on Ray are marked ``matrix``; by default these cases run in process only."""

PROGRAMS = (
    "docs",
    "durable/test_other_process.py",
    "func/test_example.py",
    "project",
    "ray_backend/test_attach.py",
    "ray_backend/test_first_run.py",
    "ray_backend/test_versions.py",
    "seeds/test_scripts.py",
    "serve/test_ray_serve.py",
)
"""Folders and files whose cases on Ray start a program with a Ray of its own, which takes 10 to 60
seconds. They are marked ``programs``; by default they run in process only."""

LONG = {
    "differential/test_step_timeout.py": (
        "test_a_subgraph_that_takes_too_long_fails_the_node_around_it[distributed]",
        "test_a_superstep_that_takes_too_long_fails_the_run[distributed]",
    ),
    "differential/test_timeouts.py": (
        "test_an_idle_timeout_of_a_graph_as_a_node[distributed]",
        "test_progress_of_nodes_inside_a_graph_puts_its_idle_timeout_off[distributed-heartbeat]",
        "test_progress_of_nodes_inside_a_graph_puts_its_idle_timeout_off[distributed-writer]",
        "test_progress_of_nodes_inside_a_graph_puts_its_idle_timeout_off[local-heartbeat]",
        "test_progress_puts_the_idle_timeout_off[distributed-heartbeat]",
        "test_progress_puts_the_idle_timeout_off[distributed-writer]",
        "test_progress_puts_the_idle_timeout_off[local-heartbeat]",
        "test_what_a_node_inside_a_graph_writes_to_nobody_is_no_progress_of_the_graph[distributed]",
        "test_what_langchain_calls_in_the_node_is_progress[distributed]",
        "test_with_refresh_on_heartbeat_events_inside_a_graph_are_no_progress[distributed]",
    ),
    "durable/test_other_process.py": ("test_a_killed_run_goes_on_where_it_was[local]",),
    "func/test_calls.py": ("test_more_tasks_wait_than_can_run",),
    "langgraph_graphs/test_affinity.py": (
        "test_a_node_elsewhere_that_uses_the_value_is_told_what_to_do",
        "test_a_retry_after_the_death_of_the_process_has_another_process",
        "test_a_run_without_a_thread_id_is_a_thread_of_its_own",
        "test_a_value_that_stays_cannot_be_saved",
        "test_attempts_in_a_thread_s_process_that_dies_are_lost_and_the_next_has_another",
        "test_the_shell_of_an_agent_is_one_for_all_its_calls",
        "test_the_shell_of_an_agent_that_is_interrupted_is_as_in_langgraph",
        "test_values_in_the_state_of_a_thread_end_with_their_run",
    ),
    "langgraph_graphs/test_called_graphs.py": (
        "test_a_history_goes_back_with_the_root",
        "test_a_saver_of_its_own_with_questions_for_the_root",
        "test_a_sub_agent_with_a_saver_of_its_own",
        "test_deltas_inside",
        "test_other_savers",
        "test_states",
    ),
    "langgraph_graphs/test_tools.py": ("test_langgraphs_own_react_agent",),
    "project/test_agent_examples.py": (
        "test_map_reduce_over_given_documents",
        "test_placement_without_ray_runs_in_the_caller",
    ),
    "project/test_examples.py": ("test_a_question_is_answered_by_another_process",),
    "project/test_exit.py": (
        "test_a_program_ends[a_break]",
        "test_a_program_ends[interrupted_batch]",
        "test_a_program_ends[left_open_at_the_end_of_a_loop]",
        "test_a_program_ends[left_open_in_a_cycle]",
        "test_a_program_ends[left_open_on_a_loop]",
        "test_a_program_ends[readers_in_daemon_threads]",
        "test_a_program_ends[timed_out]",
    ),
    "project/test_main_job.py": (
        "test_a_hosted_model_chooses_the_tools",
        "test_the_comparison_runs_the_same_agent_by_langgraph",
    ),
    "ray_backend/test_cancel.py": (
        "test_a_stream_that_is_collected_as_garbage_ends_its_nodes",
        "test_close_ends_the_nodes[async]",
        "test_close_ends_the_nodes[subgraph]",
        "test_what_is_saved_can_be_seen_once_the_caller_has_left[values]",
    ),
    "ray_backend/test_dead_worker.py": (
        "test_a_dead_worker_ends_its_siblings",
        "test_a_dead_worker_is_an_error_that_names_the_node[leave_at_once-async]",
        "test_a_dead_worker_is_an_error_that_names_the_node[leave_at_once-sync]",
        "test_sys_exit_in_a_node_reaches_the_caller_as_itself[async]",
        "test_the_next_run_finds_a_new_worker[async]",
    ),
    "ray_backend/test_durable_faults.py": (
        "test_a_worker_that_dies_is_tried_again_and_nothing_is_saved_twice[async]",
        "test_another_driver_goes_on_where_one_has_died",
    ),
    "ray_backend/test_interrupted.py": ("test_who_reads_when_the_session_ends_is_told_so[2]",),
    "ray_backend/test_large_state.py": (
        "test_a_large_state_in_a_subgraph",
        "test_a_large_state_through_several_nodes",
    ),
    "ray_backend/test_leases.py": (
        "test_a_death_is_the_same_error[tasks]",
        "test_a_left_run_interrupts_its_node[tasks]",
        "test_a_limit_of_time_is_kept[tasks]",
        "test_a_worker_loads_the_graph_and_not_the_code_of_the_driver",
        "test_another_job_gets_all_cpus_while_the_session_is_idle",
        "test_large_values_and_references_travel[tasks]",
        "test_the_stream_is_the_same[tasks]",
    ),
    "ray_backend/test_live_objects.py": (
        "test_a_rate_limiter_limits_all_processes[async]",
        "test_a_semaphore_limits_the_tasks_of_a_process",
    ),
    "ray_backend/test_lost_actors.py": (
        "test_a_lost_actor_is_a_typed_error_and_the_next_run_works[StreamBroker-BrokerLost]",
    ),
    "ray_backend/test_lost_attempts.py": (
        "test_a_buffered_node_shows_its_last_attempt_only",
        "test_a_reset_makes_them_void",
    ),
    "ray_backend/test_order.py": (
        "test_a_consumer_that_sleeps_loses_nothing[async nodes]",
        "test_a_slow_consumer_slows_the_node_down",
        "test_an_async_consumer_that_sleeps_loses_nothing",
    ),
    "ray_backend/test_pools.py": (
        "test_a_pool_holds_no_cpu_while_it_waits",
        "test_a_pool_streams_like_any_node",
        "test_a_pool_that_may_grow_beyond_the_cluster_gives_work_only_to_workers_that_run",
        "test_a_pool_without_room_gets_what_an_idle_pool_only_keeps",
        "test_a_stuck_worker_is_killed_with_its_run_and_replaced",
    ),
    "ray_backend/test_retries.py": (
        "test_a_synchronous_node_that_cannot_be_interrupted_ends_with_its_process",
        "test_the_default_policy_tries_again_after_the_death_of_a_worker[async]",
        "test_tool_calls_of_one_message_are_tried_again_one_by_one",
    ),
}
"""Slow cases whose mechanism other cases of their file show as well. They are marked ``long``: the
second lane of ``.ci/run`` runs them. A name without brackets stands for all cases of the test but
those on the backend "local"."""

_STDERR = pytest.StashKey[TextIO]()
_kept: list[TextIO] = []


def pytest_configure(config: pytest.Config) -> None:
    config.addinivalue_line("markers", "ray: needs a local Ray, which is started once a session")
    if config.pluginmanager.has_plugin("xdist"):
        from tests.support import two_processes

        config.pluginmanager.register(two_processes)
    hear_interrupts()
    Machine.validates = True  # its invariants, after every event of the runs in this process
    with suppress(ImportError):  # not needed by the tests of LangGraph's oldest and newest versions
        from hypothesis import settings

        # an example may take its time on a busy machine
        settings.register_profile("distgraph", deadline=None)
        settings.load_profile("distgraph")
    config.stash[_STDERR] = os.fdopen(os.dup(2), "w")  # the real one: nothing is captured now


def hear_interrupts() -> None:
    """Let this process and those that it starts notice Ctrl-C.

    A shell without job control starts commands in the background so that they ignore it.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(tryfirst=True)  # before pytest deselects what ``-m`` leaves out
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    tests = Path(__file__).parent
    for item in items:
        if " at 0x" in item.name:  # the processes of pytest-xdist could not agree on it
            raise pytest.UsageError(f"the name of a case has an address in memory: {item.nodeid}")
        is_on_ray = item.get_closest_marker("ray") is not None
        if not is_on_ray and "ray_session" in getattr(item, "fixturenames", ()):
            raise pytest.UsageError(f"a test that needs Ray needs the marker: {item.nodeid}")
        path = item.path.relative_to(tests)
        if is_on_ray and path.parts[0] in MATRICES:
            item.add_marker(pytest.mark.matrix)
        elif is_on_ray and (path.parts[0] in PROGRAMS or path.as_posix() in PROGRAMS):
            item.add_marker(pytest.mark.programs)
        elif _is_long(item.name, LONG.get(path.as_posix(), ())):
            item.add_marker(pytest.mark.long)


def _is_long(name: str, names: tuple[str, ...]) -> bool:
    test, _, case = name.partition("[")
    return name in names or (test in names and not case.startswith("local"))


def pytest_collection_finish() -> None:
    """Keep the collected tests out of garbage collection: it would look at them each time."""
    gc.collect()
    gc.freeze()


@pytest.hookimpl(trylast=True)
def pytest_unconfigure(config: pytest.Config) -> None:
    """From here on the process ends, or tells what keeps it and fails."""
    faulthandler.dump_traceback_later(EXIT_TIMEOUT, exit=True, file=config.stash[_STDERR])
    _kept.append(config.stash[_STDERR])


def _engines(*wanted: str) -> list[Any]:
    return [
        pytest.param(name, id=name, marks=[pytest.mark.ray] if name == "ray" else [])
        for name in wanted
        if name in selected()
    ]


_OURS = _engines("local", "ray")


@pytest.fixture(scope="session")
def ray_session() -> Iterator[Any]:
    """The session's Ray: 2 CPUs on this machine, started when first asked for."""
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
    os.environ.setdefault("DISTGRAPH_WORKER_IDLE", "0")  # tests wait for CPUs that are free
    import ray

    ray.init(
        address="local",
        num_cpus=2,
        resources={"desk": 1},
        include_dashboard=False,
        log_to_driver=False,
        logging_level="ERROR",
        object_store_memory=512 * 1024 * 1024,
    )
    yield ray
    ray.shutdown()


def _ready(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Engine:
    engine = Engine(request.param)
    if engine.name == "ray":
        request.getfixturevalue("ray_session")
    if not engine.is_reference:
        # child graphs are compiled without naming a backend
        backend = "local" if engine.name == DISTRIBUTED else engine.name
        monkeypatch.setenv("DISTGRAPH_BACKEND", backend)
    return engine


_THEIRS = (REFERENCE, DISTRIBUTED) if REFERENCE_AWAITS else ()


@pytest.fixture(params=_engines("local", "ray", *_THEIRS))
def engine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Engine:
    """Each engine in turn: for behaviour that is the same on the reference and on ours."""
    return _ready(request, monkeypatch)


@pytest.fixture(params=_OURS)
def ours(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Engine:
    """Each engine of distgraph in turn: for behaviour that the reference lacks."""
    return _ready(request, monkeypatch)


@pytest.fixture(params=[*_OURS, *_engines(DISTRIBUTED)] or _engines("langgraph"))
def differ(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Differ:
    """Compares the reference with each engine of distgraph in turn."""
    return Differ(Engine(REFERENCE), _ready(request, monkeypatch))
