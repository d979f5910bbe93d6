"""README is executable and true."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import httpx2
import pytest
from typer.main import get_command

from edgetwin.cli import app

from .test_cli import edgetwin, embedded

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", README, re.MULTILINE | re.DOTALL)


def shell_lines() -> list[list[str]]:
    lines = [line for block in blocks("sh") for line in block.splitlines()]
    return [shlex.split(line, comments=True) for line in lines if line.strip()]


def test_shell_blocks_name_real_commands() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    seen = set()
    for words in shell_lines():
        seen.add(words[0])
        if words[0] == "make":
            assert re.search(rf"^{words[1]}:", makefile, re.MULTILINE)
        else:
            assert words[0] == "edgetwin"
            assert words[1] in get_command(app).commands  # type: ignore[attr-defined]
    assert seen == {"make", "edgetwin"}


def serves(words: list[str], folder: Path) -> None:
    """The server starts, shows its page, answers for its stream and ends when it is told to."""
    words = [w.replace("=examples/", f"={ROOT}/examples/") for w in words]
    command = [sys.executable, "-m", "edgetwin.cli", *words, "--port", "0"]
    with subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            address = server.stdout.readline().strip()
            assert "<title>EdgeTwin" in httpx2.get(address).text
            [stream] = httpx2.get(f"{address}api/streams").json()["streams"]
            assert stream["id"] == "table"
        finally:
            server.terminate()
        assert server.wait(20) == 0


@embedded
def test_shell_blocks_run(tmp_path: Path) -> None:
    for words in shell_lines():
        if words[0] == "edgetwin":
            words = [str(ROOT / w) if w.startswith("examples/") else w for w in words]
            words = [str(tmp_path / w) if w.startswith("out/") else w for w in words]
            if words[1] == "serve":
                serves(words[1:], tmp_path)
                continue
            got = edgetwin(*words[1:])
            assert got.returncode == 0, got.stderr


@embedded
def test_python_blocks_run(tmp_path: Path) -> None:
    (tmp_path / "examples").symlink_to(ROOT / "examples")
    for block in blocks("python"):
        got = subprocess.run(
            [sys.executable, "-c", block], cwd=tmp_path, capture_output=True, text=True, check=False
        )
        assert got.returncode == 0, got.stderr
        assert got.stdout.split()[0] in ("ok", "stale", "none", "partial")


def test_listed_files_and_links_exist() -> None:
    for link in re.findall(r"\]\(([^)#:]+)\)", README):
        assert (ROOT / link).exists(), link
    inside = re.findall(r"`((?:perception|reasoner|distill|deploy|twin)/[\w/.]*)`", README)
    assert inside
    for path in inside:
        assert (ROOT / path).exists(), path


@pytest.mark.parametrize("section", ["bench", "twinbench", "reasoning"])
def test_sections_that_are_generated_have_their_markers(section: str) -> None:
    assert README.count(f"<!-- {section}:begin -->") == 1
    assert README.count(f"<!-- {section}:end -->") == 1
