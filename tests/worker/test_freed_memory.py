"""A process of distgraph keeps freed memory instead of getting each page from the system again."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

from distgraph._internal.freed_memory import keep_freed_memory

PROGRAM = """
import resource
from distgraph._internal.freed_memory import keep_freed_memory

def work():
    value = bytes(1 << 20)
    changed = bytes([1]) + value[1:]
    return bytes(bytearray(changed))

def faults():
    for _ in range(20):
        work()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(100):
        work()
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

print(faults(), keep_freed_memory({}), faults())
"""


@pytest.mark.skipif(
    platform.libc_ver()[0] != "glibc", reason="only glibc has bounds for freed memory"
)
def test_values_of_a_megabyte_use_the_same_pages_again() -> None:
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True)
    before, kept, after = done.stdout.split()
    assert (kept, int(before) > 10_000, int(after) < 100) == ("True", True, True)


@pytest.mark.parametrize("name", ["GLIBC_TUNABLES", "MALLOC_TRIM_THRESHOLD_"])
def test_bounds_of_the_user_stay(name: str) -> None:
    assert not keep_freed_memory({name: "1"})
