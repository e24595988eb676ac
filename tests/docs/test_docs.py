"""Every Python block of the README and of ``docs/`` runs, and prints what the page says."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from distgraph import errors, placement
from distgraph._internal.settings import SETTINGS
from tests.docs.pages import PAGES, ROOT, Block, blocks, matches

WITH_CODE = [page for page in PAGES if any(b.skip is None and not b.ray for b in blocks(page))]
WITH_RAY = [page for page in PAGES if any(not b.skip and not b.local for b in blocks(page))]
SKIPPED_AT_MOST = 6

_LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)|<img[^>]*\ssrc=\"([^\"]+)\"")
_TEST = re.compile(r"(tests/[\w/]+\.py)::(test_\w+)")
_HEADING = re.compile(r"^#+\s+(.*)$", re.MULTILINE)


Results = list[dict[str, str]]


def _execute(
    pages: list[list[Block]], folder: Path, *, on_ray: bool = False
) -> tuple[list[Results], str]:
    """Return what the blocks of each page print, and what the process wrote to stderr."""
    source, target = folder / "blocks.json", folder / "results.json"
    made = [
        [{"page": b.page, "line": b.line, "code": b.code, "ray": on_ray or b.ray} for b in page]
        for page in pages
    ]
    source.write_text(json.dumps(made))
    environment = {
        **{k: v for k, v in os.environ.items() if not k.startswith("OPENAI_")},
        "PYTHONPATH": str(ROOT),
        "PYTHONUNBUFFERED": "1",
    }
    done = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("runner.py")), str(source), str(target)],
        cwd=folder,
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    return json.loads(target.read_text()), done.stderr


def _check(chosen: list[Block], results: Results, stderr: str) -> None:
    for block, result in zip(chosen, results, strict=False):
        place = f"{block.page}:{block.line}"
        assert result["error"] is None, f"{place}\n{result['error']}\n{stderr[-4000:]}"
        if block.output is not None:
            assert matches(block.output, result["printed"]), (
                f"{place} shows\n{block.output}\nbut this was printed:\n{result['printed']}"
            )
    assert len(results) == len(chosen)


def _for_local(page: str) -> list[Block]:
    return [b for b in blocks(page) if b.skip is None and not b.ray]


@pytest.fixture(scope="module")
def locally(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Results], str]:
    """What the blocks of every page print, in one process."""
    folder = tmp_path_factory.mktemp("pages")
    results, stderr = _execute([_for_local(page) for page in WITH_CODE], folder)
    return dict(zip(WITH_CODE, results, strict=True)), stderr


@pytest.mark.timeout(300)
@pytest.mark.parametrize("page", WITH_CODE)
def test_the_blocks_of_a_page_run_and_print_what_it_shows(
    page: str, locally: tuple[dict[str, Results], str]
) -> None:
    results, stderr = locally
    _check(_for_local(page), results[page], stderr)


def _for_ray(page: str) -> list[Block]:
    return [b for b in blocks(page) if b.skip is None and b.local is None]


@pytest.fixture(scope="module")
def on_ray(tmp_path_factory: pytest.TempPathFactory) -> tuple[dict[str, Results], str]:
    """What the blocks of every page print on one Ray."""
    folder = tmp_path_factory.mktemp("pages")
    results, stderr = _execute([_for_ray(page) for page in WITH_RAY], folder, on_ray=True)
    return dict(zip(WITH_RAY, results, strict=True)), stderr


@pytest.mark.ray
@pytest.mark.timeout(300)
@pytest.mark.parametrize("page", WITH_RAY)
def test_the_blocks_of_a_page_run_on_ray_and_print_the_same(
    page: str, on_ray: tuple[dict[str, Results], str]
) -> None:
    results, stderr = on_ray
    _check(_for_ray(page), results[page], stderr)


def test_a_page_with_asyncio_run_says_what_to_write_in_a_notebook() -> None:
    pages = [page for page in PAGES if any("asyncio.run(" in b.code for b in blocks(page))]
    assert len(pages) >= 4
    assert [page for page in pages if "In a notebook," not in _text(page)] == []


def test_few_blocks_are_skipped_and_each_says_why() -> None:
    skipped = [b for page in PAGES for b in blocks(page) if b.skip is not None]
    assert all(len(b.skip or "") > 10 for b in skipped)
    assert len(skipped) <= SKIPPED_AT_MOST


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_to_files_and_headings_of_this_repository(page: str) -> None:
    broken = []
    for match in _LINK.finditer((ROOT / page).read_text(encoding="utf-8")):
        link = match.group(1) or match.group(2)
        if re.match(r"^[a-z]+:", link):
            continue
        path, _, heading = link.partition("#")
        target = (ROOT / page).parent / path if path else ROOT / page
        if not target.exists():
            broken.append(link)
        elif heading and target.suffix == ".md":
            titles = _HEADING.findall(target.read_text(encoding="utf-8"))
            anchors = {re.sub(r"[^\w\- ]", "", t.lower()).replace(" ", "-") for t in titles}
            anchors |= set(re.findall(r'<a id="(\w+)">', target.read_text(encoding="utf-8")))
            if heading not in anchors:
                broken.append(link)
    assert broken == []


def _navigation(entry: object) -> list[str]:
    if isinstance(entry, str):
        return [f"docs/{entry}"]
    children = entry.values() if isinstance(entry, dict) else entry
    assert not isinstance(children, str)
    return [page for child in children for page in _navigation(child)]  # type: ignore[attr-defined]


def test_the_navigation_of_the_site_has_every_page_once() -> None:
    settings = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))
    pages = [page for page in PAGES if page.startswith("docs/")]
    assert sorted(_navigation(settings["nav"])) == pages


def _text(page: str) -> str:
    return (ROOT / page).read_text(encoding="utf-8")


def _section(page: str, heading: str) -> str:
    return _text(page).partition(f"\n## {heading}\n")[2].partition("\n## ")[0]


@pytest.mark.parametrize("page", PAGES)
def test_a_test_that_a_page_names_exists(page: str) -> None:
    named = set(_TEST.findall(_text(page)))
    missing = [
        f"{file}::{name}"
        for file, name in named
        if not (ROOT / file).exists() or f"def {name}(" not in (ROOT / file).read_text("utf-8")
    ]
    assert missing == []


def test_a_test_file_that_shows_what_is_covered_exists() -> None:
    covered = _section("docs/reference/langgraph-coverage.md", "Covered")
    names = set(re.findall(r"`(test_\w+)`", covered))
    assert len(names) > 20
    folders = ("differential", "prebuilt", "graph")
    assert [
        name
        for name in sorted(names)
        if not any((ROOT / "tests" / folder / f"{name}.py").exists() for folder in folders)
    ] == []


def test_the_page_of_libraries_has_the_packages_that_their_tests_need() -> None:
    table = _text("docs/reference/langgraph-libraries.md").lower()
    extra = _text("pyproject.toml").partition("\necosystem = [\n")[2].partition("\n]")[0]
    needed = re.findall(r'^    "([\w-]+).*>=', extra, re.MULTILINE)
    assert len(needed) > 10
    # other packages of the extra import fastapi
    assert [name for name in needed if name not in table] == ["fastapi"]


def test_every_error_is_on_the_page_of_errors() -> None:
    classes = re.findall(r"^class ([A-Z]\w+)\(", _text("distgraph/errors.py"), re.MULTILINE)
    assert [name for name in classes if f"`{name}`" not in _text("docs/errors.md")] == []


def test_errors_that_end_a_call_have_an_anchor_to_link_to() -> None:
    classes = re.findall(r"^class ([A-Z]\w+)\(", _text("distgraph/errors.py"), re.MULTILINE)
    # bases, data classes, and what is not public have no row of their own
    without = {
        "DistgraphError",
        "EmptyChannelError",
        "ErrorCode",
        "GraphBubbleUp",
        "NodeError",
        "NodeInterrupt",
        "Truncated",
        "Unsent",
    }
    page = _text("docs/errors.md")
    anchors = re.findall(r'<a id="(\w+)"></a>', page)
    assert len(anchors) == len(set(anchors))
    assert [n for n in classes if n not in without and n.lower() not in anchors] == []


def test_a_message_links_to_an_anchor_of_the_page_of_errors() -> None:
    page = _text("docs/errors.md")
    linked = [
        (cls.__name__, re.search(r"\nSee docs/errors\.md#(\w+)$", str(cls("what happened"))))
        for cls in vars(errors).values()
        if isinstance(cls, type)
        and cls.__module__ == errors.__name__
        and getattr(cls, "_anchor", "")
    ]
    assert {"DriverLost", "GraphRecursionError", "WorkerDied"} <= {name for name, _ in linked}
    assert [n for n, found in linked if not (found and f'<a id="{found[1]}"></a>' in page)] == []


def test_every_setting_is_on_the_page_of_settings() -> None:
    code = "".join(
        path.read_text("utf-8")
        for folder in ("distgraph", "actors")
        for path in (ROOT / folder).rglob("*.py")
    )
    names = set(re.findall(r"\b(?:DISTGRAPH|LANGGRAPH)_[A-Z_]*[A-Z]\b", code))
    assert len(names) >= 6
    page = _text("docs/reference/settings.md")
    assert [name for name in sorted(names) if f"| `{name}` |" not in page] == []
    own = set(re.findall(r"^\| `((?:DISTGRAPH|LANGGRAPH)_[A-Z_]+)` \|", page, re.M))
    assert own == set(SETTINGS), "a setting that the code does not know is warned of"


def test_every_key_of_ray_options_is_on_the_page_of_placement() -> None:
    table = _section("docs/guides/placement.md", "Where a node runs")
    assert [key for key in placement._ALLOWED if f"`{key}`" not in table] == []


def test_a_wildcard_in_an_output_stands_for_anything() -> None:
    assert matches("a ... c\n", "a b\nb c\n")
    assert not matches("a ... c\n", "a b d\n")
    assert not matches("a\n", "a\nb\n")
