"""The pages under docs are executable and true."""

from __future__ import annotations

import ast
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
from typer.main import get_command

from edgetwin.cli import app

from .test_cli import edgetwin, embedded

ROOT = Path(__file__).parents[1]
PAGES = sorted((ROOT / "docs").glob("*.md"))


def blocks(page: Path, language: str) -> list[str]:
    text = page.read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


EXAMPLES = [(page, n) for page in PAGES for n in range(len(blocks(page, "python")))]


def test_there_are_pages_with_examples() -> None:
    assert "perception.md" in {page.name for page in PAGES}
    assert len(EXAMPLES) >= 5


@embedded
@pytest.mark.parametrize(("page", "number"), EXAMPLES)
def test_python_blocks_run_and_print(tmp_path: Path, page: Path, number: int) -> None:
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    block = blocks(page, "python")[number]
    got = subprocess.run(
        [sys.executable, "-W", "error", "-c", block],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert got.returncode == 0, got.stderr
    assert got.stdout.strip()
    assert "False" not in got.stdout


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_blocks_that_need_more_than_the_embedded_set_are_python(page: Path) -> None:
    for block in blocks(page, "py"):
        ast.parse(block)


@embedded
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_shell_blocks_run(tmp_path: Path, page: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    monkeypatch.chdir(tmp_path)
    lines = [line for block in blocks(page, "sh") for line in block.splitlines()]
    for words in (shlex.split(line, comments=True) for line in lines if line.strip()):
        assert words[0] == "edgetwin"
        assert words[1] in get_command(app).commands  # type: ignore[attr-defined]
        got = edgetwin(*words[1:])
        assert got.returncode == 0, got.stderr
        assert got.stdout.strip()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_names_and_links_are_true(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    for link in re.findall(r"\]\(([^)#:]+)\)", text):
        assert (page.parent / link).exists(), link
    for name in re.findall(r"`(edgetwin(?:\.\w+)+)`", text):
        parts = name.split(".")[1:]
        path = ROOT.joinpath(*parts)
        assert path.is_dir() or path.with_suffix(".py").is_file(), name
