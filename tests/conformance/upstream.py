"""Fetches LangGraph's source distribution and makes a temporary copy of its tests."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path

from tests.conformance.rewrite import Resolver, rewrite, with_our_classes

VERSION = "1.2.22"
"""The release whose tests are the judge."""

VERSIONS = {"langgraph": VERSION, "langgraph-prebuilt": "1.1.2"}
"""The packages whose tests are judges, and their releases."""

_PLUGIN = Path(__file__).with_name("plugin.py")


def cache_folder() -> Path:
    """Return where source distributions are kept between runs: the user's cache."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "distgraph" / "conformance"


def fetch(
    version: str | None = None, folder: Path | None = None, package: str = "langgraph"
) -> Path:
    """Return the source distribution of a package, taken from pip's index where it is missing.

    Raises:
        RuntimeError: pip could not get it; with what pip said.
    """
    folder = folder or cache_folder()
    version = version or VERSIONS[package]
    archive = folder / f"{package.replace('-', '_')}-{version}.tar.gz"
    if archive.exists():
        return archive
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as download:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
        command += ["--no-binary", package, "--dest", download, f"{package}=={version}"]
        done = subprocess.run(command, capture_output=True, text=True)
        found = Path(download) / archive.name
        if done.returncode or not found.exists():
            raise RuntimeError(f"pip could not download {archive.name}:\n{done.stderr.strip()}")
        # whole or not at all: two runs may fetch at once
        partial = folder / f"{archive.name}.{os.getpid()}"
        shutil.copyfile(found, partial)
        partial.replace(archive)
    return archive


def copy_tests(archive: Path, folder: Path, resolver: Resolver) -> Path:
    """Unpack the archive's ``tests`` into ``folder``, imports rewritten, and return ``folder``.

    ``folder`` becomes pytest's root: it holds the package ``tests``, our plugin and an empty
    configuration, so that neither upstream's nor our own options apply.
    """
    with tarfile.open(archive) as tar:
        top = tar.getnames()[0].split("/")[0]
        members = [m for m in tar.getmembers() if m.name.startswith(f"{top}/tests/")]
        if sys.version_info >= (3, 12):
            tar.extractall(folder, members, filter="data")
        else:
            tar.extractall(folder, members)
    (folder / top / "tests").rename(folder / "tests")
    (folder / top).rmdir()
    for path in sorted((folder / "tests").rglob("*.py")):
        source = path.read_text(encoding="utf-8")
        path.write_text(with_our_classes(rewrite(source, resolver)), encoding="utf-8")
    for path in sorted((folder / "tests").rglob("*.ambr")):
        snapshots = path.read_text(encoding="utf-8")
        path.write_text(with_our_classes(snapshots), encoding="utf-8")
    shutil.copyfile(_PLUGIN, folder / "conformance_plugin.py")
    (folder / "pytest.ini").write_text("[pytest]\n")
    return folder
