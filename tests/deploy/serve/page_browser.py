"""Debian's Chromium, driven by playwright, for tests of the page."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

__all__ = ["Seen", "chromium", "opened", "until"]

CHROMIUM = "/usr/bin/chromium"


@contextmanager
def chromium() -> Iterator[Any]:
    """A headless browser; skips where there is none."""
    sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    if shutil.which(CHROMIUM) is None:
        pytest.skip(f"there is no {CHROMIUM}")
    root = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=root)
        try:
            yield browser
        finally:
            browser.close()


class Seen:
    """What a page asked of other places than ``url``, and complained of."""

    def __init__(self, page: Any, url: str) -> None:
        self.foreign: list[str] = []
        self.errors: list[str] = []
        self.posted: list[tuple[str, str]] = []
        page.on("request", lambda request: self._asked(request, url))
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("console", self._said)

    def _asked(self, request: Any, url: str) -> None:
        if not request.url.startswith((url, "blob:")):
            self.foreign.append(request.url)
        if request.method == "POST":
            self.posted.append((request.url, request.post_data or ""))

    def _said(self, message: Any) -> None:
        # The browser's own line on a refused request is no fault of the page.
        if message.type == "error" and "Failed to load resource" not in message.text:
            self.errors.append(message.text)


@contextmanager
def opened(browser: Any, url: str, **options: Any) -> Iterator[tuple[Any, Seen]]:
    """A page in a context of its own, open at ``url``; it must not have failed at the end."""
    context = browser.new_context(**{"viewport": {"width": 1440, "height": 900}, **options})
    context.set_default_timeout(20_000)
    try:
        page = context.new_page()
        seen = Seen(page, url.split("#")[0])
        page.goto(url)
        yield page, seen
        assert seen.errors == []
        assert seen.foreign == []
    finally:
        context.close()


def until(page: Any, expression: str, timeout_s: float = 20.0) -> None:
    """Wait until an expression holds (playwright's own way needs eval, which the page forbids)."""
    deadline = time.monotonic() + timeout_s
    while not page.evaluate(expression):
        assert time.monotonic() < deadline, f"expected within {timeout_s} s: {expression}"
        page.wait_for_timeout(50)
