"""docs/training.md: every command line parses, and those that take seconds run."""

from __future__ import annotations

import re
import shlex
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from edgetwin.cli import app

from ..test_cli import edgetwin

PAGE = Path(__file__).parents[2] / "docs" / "training.md"
LINES = [
    line
    for block in re.findall(
        r"^```bash\n(.*?)^```", PAGE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL
    )
    for line in block.splitlines()
    if line.strip()
]
QUICK = [line for line in LINES if shlex.split(line)[2] in ("sheet", "statistics")]


def parse(words: list[str]) -> dict[str, Any]:
    """The values that the command line gives a command; raises what a user would be told."""
    command: Any = get_command(app)
    while hasattr(command, "commands"):
        command, words = command.commands[words[0]], words[1:]
    return dict(command.make_context("it", words).params)


def test_the_page_shows_the_commands_of_training() -> None:
    shown = {tuple(shlex.split(line)[1:3]) for line in LINES}
    wanted = {("distill", name) for name in ("embedded", "sheet", "statistics", "cards")}
    assert shown == wanted
    assert len(QUICK) == 3


@pytest.mark.parametrize("line", LINES)
def test_every_line_parses(line: str) -> None:
    words = shlex.split(line)
    assert words[0] == "edgetwin"
    assert parse(words[1:])


def test_parsing_finds_wrong_lines() -> None:
    with pytest.raises(Exception, match="No such option"):
        parse(["distill", "cards", "--nonsense"])
    with pytest.raises(Exception, match=r"greater than or equal to 0\.1"):
        parse(["distill", "embedded", "--minutes", "0.05"])


@pytest.mark.skipif(find_spec("mujoco") is None, reason="renders")
@pytest.mark.parametrize("line", QUICK)
def test_quick_lines_run(tmp_path: Path, line: str) -> None:
    words = shlex.split(line)
    place = words.index("-o") + 1
    words[place] = str(tmp_path / words[place])
    got = edgetwin(*words[1:])
    assert got.returncode == 0, got.stderr
    assert Path(words[place]).stat().st_size > 1000
