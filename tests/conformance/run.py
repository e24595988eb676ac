"""Takes upstream's tests, runs them against distgraph, and says what passes.

Fails where a test that passed before does not pass any more (``passed.txt``, ``passed-ray.txt``).
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from tests.conformance import judge, upstream
from tests.conformance.rewrite import installed

HERE = Path(__file__).parent
PROJECT = HERE.parents[1]
ON_BOTH = (
    "test_pregel.py",
    "test_state.py",
    "test_messages_state.py",
    "test_pydantic.py",
    "test_interruption.py",
    "test_interrupt_state.py",
    "test_subgraph_persistence.py",
    "test_stream_namespaces.py",
    "test_managed_values.py",
)
LOCAL_ONLY = (
    "test_pregel_async.py",
    "test_large_cases.py",
    "test_large_cases_async.py",
    "test_retry.py",
    "test_runtime.py",
    "test_graph_callbacks.py",
    "test_subgraph_persistence_async.py",
    "test_subgraph_detection.py",
    "test_checkpoint_migration.py",
    "test_deprecation.py",
    "test_time_travel.py",
    "test_time_travel_async.py",
    "test_parent_command.py",
    "test_parent_command_async.py",
    "test_delta_channel_exit_mode.py",
    "test_delta_channel_fork.py",
    "test_delta_channel_id_stability.py",
    "test_delta_channel_migration.py",
    "test_delta_channel_node_cache.py",
    "test_delta_channel_parallel_order.py",
    "test_delta_channel_run_input.py",
    "test_delta_channel_seal_subscribers.py",
    "test_delta_channel_subgraph.py",
    "test_delta_channel_supersteps_bound.py",
    "test_delta_channel_to_plain.py",
    "test_delta_channel_update_overwrite.py",
    "test_delta_channel_update_state.py",
    "test_delta_channel_write_failures.py",
    "test_stream_events_v3.py",
    "test_stream_events_v3_e2e.py",
    "test_stream_events_v3_kwarg_forwarding.py",
    "test_pregel_stream_events_v3.py",
)
PREBUILT = (
    "test_react_agent.py",
    "test_react_agent_graph.py",
    "test_tool_node.py",
    "test_on_tool_call.py",
    "test_injected_state_not_required.py",
    "test_tool_node_interceptor_unregistered.py",
    "test_tool_node_validation_error_filtering.py",
    "test_tool_call_transformer.py",
    "test_validation_node.py",
    "test_deprecation.py",
)
FILES = {
    "langgraph": {"local": (*ON_BOTH, *LOCAL_ONLY), "ray": ON_BOTH},
    "langgraph-prebuilt": {"local": PREBUILT},
}
"""The judge, by package and backend: nodes of the tests in ``LOCAL_ONLY`` and ``PREBUILT`` share
memory with the test, or wait for each other. Other files of upstream run with ``--files``, and are
held to nothing."""

TIMEOUTS = {"local": 60, "ray": 180}
"""Seconds a test may take."""

PASSED = {
    "langgraph": {"local": HERE / "passed.txt", "ray": HERE / "passed-ray.txt"},
    "langgraph-prebuilt": {"local": HERE / "passed-prebuilt.txt"},
}
EXCLUDED = HERE / "excluded.toml"

_HEADER = """\
# Tests of {package} {version} that pass on backend {backend!r}; a function stands for all its
# cases. Written by: python -m tests.conformance{arguments} --backend {backend} --update
"""


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.conformance", description=__doc__)
    parser.add_argument("--backend", choices=sorted(TIMEOUTS), default="local")
    parser.add_argument("--package", choices=sorted(FILES), default="langgraph")
    parser.add_argument("--quick", action="store_true", help="in-memory savers and caches only")
    parser.add_argument("--update", action="store_true", help="rewrite the list of what passes")
    parser.add_argument("--files", nargs="+", metavar="FILE", help="instead of the judge's files")
    parser.add_argument("-k", metavar="EXPRESSION", help="pytest's -k: a part of the tests")
    parser.add_argument(
        "--keep", type=Path, metavar="FOLDER", help="leave the copy and the log there"
    )
    parser.add_argument("--all-failures", action="store_true", help="list each failing test")
    options = parser.parse_args(arguments)
    if options.update and (options.quick or options.files or options.k):
        parser.error("--update goes with a full run: not with --quick, --files or -k")
    if options.backend not in FILES[options.package]:
        parser.error(f"the tests of {options.package} run on the local backend")
    return options


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the judge and return the exit status: 1 where something that passed fails, 2 where no
    test ran.
    """
    options = _options(arguments)
    files = tuple(options.files or FILES[options.package][options.backend])
    # judged against the copy's package `tests`, so nothing of it may be imported here
    with tempfile.TemporaryDirectory(prefix="conformance-") as scratch:
        copy = options.keep or Path(scratch) / "copy"
        copy.mkdir(parents=True)
        upstream.copy_tests(upstream.fetch(package=options.package), copy, installed)
        found = _run(copy, Path(scratch) / "results.jsonl", files, options)
    if not found.ran() and not found.files:
        print("No test ran. Install what they need: pip install '.[conformance]'", file=sys.stderr)
        return 2
    _print_summary(found, files, options)
    if options.update:
        header = _HEADER.format(
            package="LangGraph" if options.package == "langgraph" else options.package,
            version=upstream.VERSIONS[options.package],
            backend=options.backend,
            arguments="" if options.package == "langgraph" else f" --package {options.package}",
        )
        _passed(options).write_text(header + "\n".join(judge.compact(found)) + "\n")
        return 0
    return _verdict(found, files, options)


def _passed(options: argparse.Namespace) -> Path:
    return PASSED[options.package][options.backend]


def _exclusions(options: argparse.Namespace) -> list[judge.Exclusion]:
    return [
        entry
        for entry in judge.exclusions(EXCLUDED)
        if entry.backend in (None, options.backend) and entry.package == options.package
    ]


def _run(
    copy: Path, results: Path, files: Sequence[str], options: argparse.Namespace
) -> judge.Results:
    excluded = [pattern for entry in _exclusions(options) for pattern in entry.tests]
    settings = {
        "results": str(results),
        "backend": options.backend,
        "quick": options.quick,
        "excluded": excluded,
    }
    environment = {
        **{k: v for k, v in os.environ.items() if not k.startswith(("LANGSMITH_", "LANGCHAIN_"))},
        "CONFORMANCE_SETTINGS": json.dumps(settings),
        "DISTGRAPH_BACKEND": options.backend,
        "NO_DOCKER": "true",
        "PYTHONPATH": os.pathsep.join((str(copy), str(PROJECT))),
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    command = [sys.executable, "-m", "pytest", "-q", "-p", "conformance_plugin"]
    # tracebacks with source parse a file of 9,000 lines for each failure
    traceback = "short" if options.keep else "native"
    command += ["-p", "no:cacheprovider", f"--tb={traceback}", "--no-header", "-W", "ignore"]
    command += [f"--timeout={TIMEOUTS[options.backend]}", *(["-k", options.k] if options.k else [])]
    command += [f"tests/{file}" for file in files]
    log = results.with_suffix(".log")
    with log.open("w") as output:
        status = subprocess.run(
            command,
            cwd=copy,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        ).returncode
    found = judge.results(results.read_text().splitlines() if results.exists() else [])
    if options.keep:
        log.replace(copy / "pytest.log")
    elif status not in (0, 1) or not found.ran():
        print(log.read_text()[-4000:], file=sys.stderr)
    return found


def _print_summary(found: judge.Results, files: Sequence[str], options: argparse.Namespace) -> None:
    print(f"{'':32}{'passed':>8}{'failed':>8}{'excluded':>10}{'of functions':>14}")
    for file in (*files, None):
        cases = judge.count(found, file=file)
        functions = judge.count(found, file=file, functions=True)
        share = f"{functions.passed}/{functions.passed + functions.failed}"
        print(
            f"{file or 'all':32}{cases.passed:>8}{cases.failed:>8}{cases.excluded:>10}{share:>14}"
            f"{functions.percent():>7.1f} %"
        )
    kinds = judge.excluded_by_kind(found, _exclusions(options))
    print("functions excluded:", ", ".join(f"{n} {kind}" for kind, n in kinds.items()) or "none")
    for file, error in found.files.items():
        print(f"\n{file} could not be collected:\n{error}")
    for cause, tests in judge.causes(found):
        print(f"\n{len(tests)} × {cause}")
        for test in tests if options.all_failures else tests[:1]:
            print(f"    {test}")


def _verdict(found: judge.Results, files: Sequence[str], options: argparse.Namespace) -> int:
    before = judge.read_passed(_passed(options))
    asked = () if options.k else files
    worse = judge.regressions(found, before, asked)
    for test, error in sorted(worse.items()):
        print(f"\nPASSED BEFORE: {test}\n    {error.splitlines()[0] if error else ''}")
    stale: set[str] = set()
    if not (options.k or options.files or options.quick):
        patterns = {p for entry in _exclusions(options) for p in entry.tests}
        stale = patterns - found.patterns
        for pattern in sorted(stale):
            print(f"\n{EXCLUDED.name}: no test matches {pattern}")
    if worse or stale or not found.ran():
        print(f"\n{len(worse)} tests that passed before do not pass.")
        return 1
    new = set(judge.compact(found)) - before
    if new and not options.quick and not options.k and not options.files:
        print(f"\n{len(new)} more pass than {_passed(options).name} has: see --update.")
    return 0
