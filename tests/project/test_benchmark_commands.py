"""Benchmarks with a command of their own: what they make of what they measure."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks import cold_node, cold_start, drivers, main_example, mirror
from benchmarks.break_even import Found, as_markdown, break_even, cost, faster_from, sentence
from benchmarks.drivers import Row, Stream
from benchmarks.harness import OURS, RAY, Case, CaseResult, Contender

# --- a cold start -------------------------------------------------------------------------------

NOTED = {
    "called": 100.0,
    "imported": 101.0,
    "ray": 102.5,
    "up": 104.0,
    "loading": 104.25,
    "node": 104.5,
    "event": 104.75,
}


def test_the_parts_of_a_cold_start_follow_each_other() -> None:
    found = cold_start.parts(NOTED)
    assert found == {
        "importing": 1.0,
        "Ray's start": 1.5,
        "driver and broker": 1.5,
        "worker start and imports": 0.25,
        "graph": 0.25,
        "first event": 0.25,
        "all": 4.75,
    }
    assert sum(found[part] for part in cold_start.ENDS) == found["all"]


def test_what_goes_on_beside_an_earlier_part_counts_from_the_end_of_that_part_on() -> None:
    found = cold_start.parts({**NOTED, "loading": 103.0})
    assert (found["worker start and imports"], found["graph"]) == (0.0, 0.5)
    assert sum(found[part] for part in cold_start.ENDS) == found["all"] == 4.75


def test_raw_ray_has_no_driver_and_no_broker() -> None:
    found = cold_start.parts({name: at for name, at in NOTED.items() if name != "up"})
    assert "driver and broker" not in found
    assert found["worker start and imports"] == 1.75
    assert found["all"] == 4.75


def test_the_table_of_a_cold_start_has_a_column_for_each_part() -> None:
    contenders = tuple(Contender(name, dict) for name in (OURS, RAY))
    result = CaseResult(Case("cold start", cold_start.METRICS, contenders))
    for name, seconds in cold_start.parts(NOTED).items():
        result.samples[OURS, name] = [seconds] * 3
    result.failures[RAY] = "RuntimeError: no"
    assert cold_start.as_markdown(result).splitlines() == [
        "| s | starts | importing | Ray's start | driver and broker | worker start and imports "
        "| graph | first event | all |",
        "| :-- | :-- | --: | --: | --: | --: | --: | --: | --: |",
        "| distgraph | 3 | 1 | 1.5 | 1.5 | 0.25 | 0.25 | 0.25 | 4.75 |",
        "| raw Ray | 0 |  |  |  |  |  |  |  |",
        "",
        "raw Ray failed (RuntimeError: no)",
    ]


def test_a_worker_reports_when_it_loaded_the_graph_and_when_it_called_the_node() -> None:
    graph = cold_start.builder().compile(backend="local")
    [chunk] = graph.stream({"number": 1}, stream_mode="updates")
    found = chunk["report"]["seen"]
    assert found["loading"] == cold_node.IMPORTED <= found["node"]
    assert set(found) < set(cold_start.ENDS.values())


# --- the main example ---------------------------------------------------------------------------

PRINTED = """An agent studies 20 documents of /lib.
26 tool calls computed 17.5 s in 9.4 s: 1.9 times as fast as one by one (93% of 2 cores here).
The first event came 4.1 s after the start of the program.
"""


def test_the_main_example_is_a_row_with_its_target() -> None:
    case = Case("examples/agent.py", main_example.METRICS, ())
    result = CaseResult(case)
    for name, value in main_example.read(PRINTED).items():
        result.samples[OURS, name] = [value, value]
    assert main_example.as_markdown(result).splitlines()[::2] == [
        "|  | runs | tool calls | computed, CPU seconds | took | of the cores "
        "| first event after the program's start | target: ≥ 90 % |",
        "| `examples/agent.py` | 2 | 26 | 17.5 s | 9.4 s | 93 % | 4.1 s | reached |",
    ]
    result.samples[OURS, main_example.USED.name] = [89.0]
    assert main_example.as_markdown(result).endswith("| 89 % | 4.1 s | missed |")
    result.failures[OURS] = "RuntimeError: no"
    assert main_example.as_markdown(result) == "The main example failed (RuntimeError: no)"


def test_a_main_example_that_prints_no_figures_is_an_error() -> None:
    with pytest.raises(ValueError, match="printed no figures: 'nothing'"):
        main_example.read("nothing")


def test_the_main_example_prints_what_is_read() -> None:
    source = main_example.PROGRAM.read_text(encoding="utf-8")
    assert "tool calls computed {cpu:.1f} s in {wall:.1f} s: {cpu / wall:.1f} times" in source
    assert "({cpu / wall / cores:.0%} of {cores} cores here)" in source
    assert "The first event came {first:.1f} s after the start" in source


# --- the break-even -----------------------------------------------------------------------------


def test_the_break_even_is_where_the_ratio_stays_below_one() -> None:
    assert break_even([(1, 2.0), (2, 0.9), (4, 1.1), (8, 0.8), (16, 0.5)]) == 8
    assert break_even([(1, 0.9), (2, 1.0)]) is None


def test_a_break_even_is_a_sentence() -> None:
    where = "On 2 cores, a superstep of 8 nodes that compute in Python is"
    assert sentence(4, 2) == f"{where} faster than in one process from 4 ms a node on."
    assert sentence(None, 2) == f"{where} not faster than in one process up to 32 ms a node."


def test_the_cost_of_a_superstep_is_what_it_takes_beyond_its_share_of_the_cores() -> None:
    assert cost(ours=23.0, theirs=40.0, nodes=8, cores=2) == 3.0
    assert cost(ours=23.0, theirs=40.0, nodes=8, cores=3) == 8.0  # one core runs 3 of the 8


@pytest.mark.parametrize(
    ("nodes", "cores", "milliseconds"),
    [(8, 2, 1.5), (8, 4, 1.0), (8, 8, 6 / 7), (8, 16, 6 / 7), (64, 16, 0.1), (8, 1, None)],
)
def test_more_cores_are_faster_from_shorter_nodes_on(
    nodes: int, cores: int, milliseconds: float | None
) -> None:
    assert faster_from(6.0, nodes, cores) == milliseconds
    if milliseconds is not None:  # there, both take the same time
        turns = -(-nodes // cores)
        assert milliseconds * turns + 6.0 == pytest.approx(milliseconds * nodes)


def test_the_table_of_the_break_even_has_a_column_for_each_number_of_cores() -> None:
    assert as_markdown(Found(2, {8: 6.0, 64: -1.0}), 2).splitlines() == [
        sentence(2, 2),
        "",
        "| nodes | costs more on Ray | from, on 2 cores | from, on 4 cores | from, on 8 cores "
        "| from, on 16 cores |",
        "| :-- | :-- | --: | --: | --: | --: |",
        "| 8 | 6 ms | 1.5 ms | 1 ms | 0.86 ms | 0.86 ms |",
        "| 64 | -1 ms | any | any | any | any |",
    ]


# --- drivers and brokers ------------------------------------------------------------------------

ROWS = [
    *(Row(1, "async, 0 ms", 100, 0.8, 400.0), Row(1, "async, 0 ms", 100, 1.0, 500.0)),
    *(Row(2, "async, 0 ms", 100, 1.2, 540.0), Row(1, "sync, 0 ms", 100, 0.5, 600.0)),
    Row(2, "sync, 0 ms", 100, 0.9, 480.0),
]


def test_the_table_of_drivers_has_medians_of_one_and_of_two() -> None:
    assert drivers.as_table(ROWS).splitlines()[2:] == [
        "| 100 | async, 0 ms | 0.90 | 1.20 | 1,125 | 450 | 540 |",
        "| 100 | sync, 0 ms | 0.50 | 0.90 | 2,000 | 600 | 480 |",
    ]


def test_what_drivers_and_brokers_carry_follows_from_their_cpu_time() -> None:
    streams = [Stream(1, 1.6, 300_000.0), Stream(2, 2.0, 210_000.0)]
    assert drivers.as_sentences(ROWS, streams).splitlines() == [
        "- **One driver carries 1,000 to 2,000 steps a second** with a core of its own. All its "
        "runs share this rate.",
        "- **One broker carries 620,000 events a second**: an event takes 1.6 µs of its CPU time. "
        "Two streams through two brokers had 0.7 times the rate of one stream.",
        "- **A second driver** changed the rate of many runs by -20 to +20 %.",
    ]


# --- the mirror ---------------------------------------------------------------------------------


def test_figures_with_and_without_a_mirror_are_those_of_the_json_of_the_benchmarks() -> None:
    def found(value: float) -> mirror.Figures:
        metric = {"name": "first event", "contenders": {OURS: {"samples": [value]}, RAY: {}}}
        case = {"name": "warm", "metrics": [metric]}
        return mirror.figures({"families": [{"name": "first", "cases": [case]}]})

    table = mirror.as_markdown([found(2.0), found(3.0)], [found(2.5)])
    assert table.splitlines()[:4] == [
        "|  | without a mirror | with a mirror |",
        "| :-- | :-- | --: |",
        "| first event of a warm run, ms | 2.5 (2 to 3) | 2.5 |",
        "| token at 50 a second, median, ms |  |  |",
    ]


def test_every_command_runs_in_the_folder_of_the_project() -> None:
    here = Path(__file__).parents[2]
    assert cold_start.ROOT == main_example.ROOT == mirror.ROOT == here
    assert main_example.PROGRAM.is_file()
