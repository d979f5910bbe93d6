"""docs/deployment.md: every command line parses, every name is there."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest

from ..distill.test_training_page import parse

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "deployment.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```bash\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
LINES = [line for block in BLOCKS for line in block.splitlines() if line.strip()]


def test_the_page_shows_the_commands_of_deployment() -> None:
    shown = {shlex.split(line)[1] for line in LINES}
    assert shown == {"export", "doctor", "engines", "run", "bench", "estimate", "upgrade"}


@pytest.mark.parametrize("line", LINES)
def test_every_line_parses(line: str) -> None:
    words = shlex.split(line)
    assert words[0] == "edgetwin"
    parse(words[1:])


def test_names_on_the_page_are_there() -> None:
    names = re.findall(r"`((?:deploy|perception)/[\w/.-]+)`", PAGE)
    assert len(names) >= 3
    for name in names:
        assert (ROOT / name).exists(), name
