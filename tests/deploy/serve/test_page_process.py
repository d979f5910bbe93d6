"""The page at a server of its own process: signing in, and the server dying and coming back."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from .page_browser import chromium, opened, until

ROOT = Path(__file__).resolve().parents[3]
TOKEN = "a-token-that-only-this-test-has"


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as running:
        yield running


@contextmanager
def serving(folder: Path, port: int) -> Iterator[subprocess.Popen[str]]:
    """``edgetwin serve`` of an example that runs over and over, with a token."""
    program = [sys.executable, "-m", "edgetwin.cli", "serve", f"cell={ROOT}/examples/spatial.mp4"]
    options = ["--loop", "--live", "--port", str(port), "-o", str(folder)]
    environment = {**os.environ, "EDGETWIN_TOKEN": TOKEN}
    command = [*program, *options]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline().startswith("http://")  # it listens
            yield process
        finally:
            process.terminate()
            ended = process.wait(20)
    assert ended in (0, 143, -signal.SIGTERM, -signal.SIGKILL)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def sign_in(page: Any) -> None:
    page.wait_for_selector("#login[open]")
    page.fill("#token", TOKEN)
    page.keyboard.press("Enter")
    page.wait_for_selector("#login[open]", state="detached")


def test_the_page_signs_in_and_outlives_its_server(browser: Any, tmp_path: Path) -> None:
    port = free_port()
    url = f"http://127.0.0.1:{port}/"
    with serving(tmp_path, port) as process, opened(browser, url) as (page, seen):
        sign_in(page)
        page.wait_for_selector("#shapes .object")
        page.reload()
        page.wait_for_selector("#shapes .object")  # the cookie is enough
        page.fill("#question", "What could I drink from?")
        page.click("#ask")
        page.wait_for_selector(".answer[aria-busy=false] .verdict .chip")
        process.kill()
        page.wait_for_selector("#connection:visible")
        assert page.locator(".answer").count() == 1  # what was answered stays
        seen.errors.clear()  # the browser's own lines on a server that is not there
        with serving(tmp_path, port):
            page.click("#connection-now")
            sign_in(page)  # logins are the server's memory, which died with it
            frames = page.get_attribute("#canvas", "data-frames")
            until(page, f"Number(canvas.dataset.frames) > {frames}")
            page.wait_for_selector("#connection", state="hidden")
            page.click("#logout")
            page.wait_for_selector("#login[open]")
            seen.errors.clear()
