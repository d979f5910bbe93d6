"""What was freed is given back."""

from __future__ import annotations

import subprocess
import sys

import pytest

HOLES = """
import re
from pathlib import Path
from edgetwin.distill.stages.memory import trim

def megabytes():
    return int(re.search(r"VmRSS:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) // 1024

held = [bytes(100_000) for _ in range(3000)]
held = held[::100]  # a heap full of holes, with something in use at its end
before = megabytes()
trim()
print(before, megabytes(), len(held))
"""


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's heap is a matter of Linux")
def test_holes_in_the_heap_are_given_back() -> None:
    got = subprocess.run(
        [sys.executable, "-c", HOLES], capture_output=True, text=True, check=True, timeout=60
    )
    before, after, _ = map(int, got.stdout.split())
    assert after < before - 150
