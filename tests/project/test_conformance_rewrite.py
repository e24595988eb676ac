"""The judge's own parts: what it rewrites, how it reads results, when it fails. No network."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path

import pytest

from tests.conformance import judge, run, upstream
from tests.conformance.rewrite import counterpart, installed, rewrite, with_our_classes

OURS = {
    "distgraph.graph": {"END", "StateGraph"},
    "distgraph.graph.message": {"add_messages"},
    "distgraph.types": {"Command"},
}


def resolver(module: str, name: str | None) -> bool:
    return module in OURS and (name is None or name in OURS[module])


def rewritten(source: str) -> str:
    return rewrite(source, resolver)


def test_public_names_come_from_distgraph() -> None:
    assert rewritten("from langgraph.graph import END, StateGraph\n") == (
        "from distgraph.graph import END, StateGraph\n"
    )


def test_names_that_distgraph_lacks_stay_upstreams() -> None:
    assert rewritten("from langgraph.types import Command, Newest as N\n") == (
        "from distgraph.types import Command; from langgraph.types import Newest as N\n"
    )


def test_private_names_stay_upstreams_even_if_distgraph_has_one() -> None:
    OURS["distgraph.types"].add("_private")
    try:
        source = "from langgraph.types import _private\n"
        assert rewritten(source) == source
    finally:
        OURS["distgraph.types"].remove("_private")


@pytest.mark.parametrize(
    "module", ["langgraph.pregel", "langgraph.checkpoint.base", "langgraph._internal.x", "other"]
)
def test_engine_internals_and_savers_have_no_counterpart(module: str) -> None:
    assert counterpart(module) is None
    source = f"from {module} import StateGraph\n"
    assert rewritten(source) == source


def test_a_module_that_distgraph_lacks_stays_upstreams() -> None:
    source = "from langgraph.func import task\n"
    assert rewritten(source) == source


def test_lines_keep_their_numbers() -> None:
    source = (
        "from langgraph.types import (  # first\n    Command,\n    Newest,\n)  # last\nx = 1\n"
        "def f():\n    from langgraph.graph import END; y = 'ü'; import os\n    return END\n"
    )
    out = rewritten(source)
    assert out == (
        "from distgraph.types import Command; from langgraph.types import Newest  # last\n\n\n\n"
        "x = 1\n"
        "def f():\n    from distgraph.graph import END; y = 'ü'; import os\n    return END\n"
    )
    compile(out, "f", "exec")


def test_a_module_imported_under_another_name_is_ours() -> None:
    assert rewritten("import langgraph.types as t, json\nimport langgraph.types\n") == (
        "import distgraph.types as t, json\nimport langgraph.types\n"
    )


def test_names_are_looked_up_in_the_installed_distgraph() -> None:
    assert installed("distgraph.types", "Command")
    assert installed("distgraph.graph", "message")
    assert not installed("distgraph.types", "Nothing")
    assert not installed("distgraph.nothing", None)


def test_snapshots_name_our_classes() -> None:
    pieces = '["langgraph",\n  "_internal",\n  "_runnable",\n  "RunnableCallable"\n]'
    assert with_our_classes(pieces) == (
        '["distgraph",\n  "worker",\n  "user_functions",\n  "FunctionNode"\n]'
    )
    pieces = "['langgraph',\n 'graph',\n 'state',\n 'CompiledStateGraph']"
    assert with_our_classes(pieces) == (
        "['distgraph',\n 'graph',\n 'compiled',\n 'CompiledStateGraph']"
    )


def test_the_copy_has_only_the_tests_rewritten(tmp_path: Path) -> None:
    tree = tmp_path / "langgraph-0.0.0"
    (tree / "tests" / "__snapshots__").mkdir(parents=True)
    (tree / "langgraph").mkdir()
    (tree / "langgraph" / "engine.py").write_text("")
    (tree / "tests" / "test_a.py").write_text("from langgraph.graph import END\n")
    (tree / "tests" / "__snapshots__" / "test_a.ambr").write_text("'langgraph'\n")
    archive = tmp_path / "langgraph-0.0.0.tar.gz"
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(tree, "langgraph-0.0.0")
    copy = tmp_path / "copy"
    copy.mkdir()
    upstream.copy_tests(archive, copy, resolver)
    assert (copy / "tests" / "test_a.py").read_text() == "from distgraph.graph import END\n"
    assert sorted(path.name for path in copy.iterdir()) == [
        "conformance_plugin.py",
        "pytest.ini",
        "tests",
    ]


# --- results -------------------------------------------------------------------------------------


def outcome(test: str, outcome: str, **more: object) -> str:
    return json.dumps({"test": test, "outcome": outcome, **more})


def found() -> judge.Results:
    return judge.results(
        [
            outcome("a.py::one[x]", "collected"),
            outcome("a.py::one[y]", "collected"),
            outcome("a.py::two", "collected"),
            outcome("a.py::gone", "collected"),
            outcome("b.py::low", "excluded", patterns=["b.py::l*"]),
            outcome("a.py::one[z]", "left out"),
            outcome("a.py::one[x]", "passed"),
            outcome("a.py::one[y]", "passed"),
            outcome("a.py::one[y]", "failed", error="teardown: 0x1f\nmore"),
            outcome("a.py::two", "passed"),
            json.dumps({"file": "c.py", "outcome": "not collected", "error": "no module"}),
        ]
    )


def test_a_failure_in_any_phase_is_a_failure_of_the_test() -> None:
    results = found()
    assert results.passed == {"a.py::one[x]", "a.py::two"}
    assert results.failed == {"a.py::one[y]": "teardown: 0x1f\nmore"}
    assert results.lost == {"a.py::gone"}
    assert results.files == {"c.py": "no module"}
    assert results.patterns == {"b.py::l*"}


def test_counts_are_of_cases_or_of_functions() -> None:
    assert judge.count(found()) == judge.Count(passed=2, failed=2, excluded=1)
    assert judge.count(found(), file="a.py", functions=True) == judge.Count(1, 2, 0)
    assert judge.Count(3, 1, 9).percent() == 75.0


def test_excluded_functions_are_counted_by_kind() -> None:
    tests = ("a.py::f[1]", "a.py::f[2]", "a.py::g", "a.py::h")
    lines = [outcome(test, "excluded") for test in tests]
    entries = [
        judge.Exclusion("shared memory", "x", ("a.py::f", "a.py::none")),
        judge.Exclusion(
            "accepted here",
            "x",
            (
                "a.py::g",
                "a.py::h[1]",
            ),
        ),
    ]
    kinds = {"accepted here": 2, "shared memory": 1}
    assert judge.excluded_by_kind(judge.results(lines), entries) == kinds


def test_causes_are_grouped_without_what_varies() -> None:
    assert list(judge.causes(found())) == [
        ("teardown: …", ["a.py::one[y]"]),
        ("the process ended before it", ["a.py::gone"]),
    ]


def test_a_function_is_listed_by_itself_only_if_all_its_cases_passed() -> None:
    assert judge.compact(found()) == ["a.py::one[x]", "a.py::two"]


def test_what_passed_before_must_pass() -> None:
    before = {"a.py::one", "a.py::gone", "a.py::renamed", "a.py::two", "b.py::low", "d.py::x"}
    assert judge.regressions(found(), before, ["a.py", "b.py"]) == {
        "a.py::one[y]": "teardown: 0x1f\nmore",
        "a.py::gone": "the process ended before it",
        "a.py::renamed": "it was not collected",
    }


def test_a_test_that_never_passed_may_fail() -> None:
    assert judge.regressions(found(), {"a.py::one[x]", "a.py::two"}, ["a.py"]) == {}


def test_comments_of_the_list_are_no_tests(tmp_path: Path) -> None:
    path = tmp_path / "passed.txt"
    path.write_text("# written by\n\na.py::two\n")
    assert judge.read_passed(path) == {"a.py::two"}
    assert judge.read_passed(tmp_path / "none.txt") == set()


def test_every_exclusion_has_a_known_kind_and_a_reason(tmp_path: Path) -> None:
    entries = judge.exclusions(run.EXCLUDED)
    assert entries
    assert all(entry.backend in (None, "ray") for entry in entries)
    patterns = [(entry.backend, test) for entry in entries for test in entry.tests]
    assert len(patterns) == len(set(patterns))
    path = tmp_path / "excluded.toml"
    path.write_text('[[exclude]]\nkind = "too hard"\nreason = "x"\ntests = ["a.py::b"]\n')
    with pytest.raises(ValueError, match="a kind of"):
        judge.exclusions(path)
    path.write_text('[[exclude]]\nkind = "shared memory"\nreason = " "\ntests = ["a.py::b"]\n')
    with pytest.raises(ValueError, match="a reason"):
        judge.exclusions(path)


def test_lists_of_what_passes_name_no_excluded_test() -> None:
    for package, paths in run.PASSED.items():
        for backend, path in paths.items():
            excluded = {
                test
                for entry in judge.exclusions(run.EXCLUDED)
                if entry.backend in (None, backend) and entry.package == package
                for test in entry.tests
            }
            assert not excluded & judge.read_passed(path)


def test_every_package_has_a_release_and_a_list_of_what_passes() -> None:
    assert run.FILES.keys() == run.PASSED.keys() == upstream.VERSIONS.keys()
    assert {entry.package for entry in judge.exclusions(run.EXCLUDED)} == run.FILES.keys()
    with pytest.raises(SystemExit):
        run.main(["--package", "langgraph-prebuilt", "--backend", "ray"])


def test_update_goes_with_a_full_run(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        run.main(["--update", "--quick"])
    assert "goes with a full run" in capsys.readouterr().err


def test_a_run_without_tests_fails_and_leaves_the_list_as_it_is(tmp_path, monkeypatch, capsys):
    listed = tmp_path / "passed.txt"
    listed.write_text("as before\n")
    monkeypatch.setitem(run.PASSED["langgraph"], "local", listed)
    monkeypatch.setattr(upstream, "fetch", lambda package: tmp_path)
    monkeypatch.setattr(upstream, "copy_tests", lambda *_: None)
    monkeypatch.setattr(run, "_run", lambda *_: judge.Results())
    assert run.main(["--update"]) == 2
    assert listed.read_text() == "as before\n"
    out, err = capsys.readouterr()
    assert (out, "pip install '.[conformance]'" in err) == ("", True)
