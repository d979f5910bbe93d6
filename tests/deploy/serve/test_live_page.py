"""docs/live.md says of the server what is so."""

from __future__ import annotations

import re
from pathlib import Path

from edgetwin.deploy.serve.config import MIN_TOKEN, ServeLimits, ServeSettings

from .test_access import GUARDED, OPEN

PAGE = Path(__file__).parents[3] / "docs" / "live.md"
TEXT = PAGE.read_text(encoding="utf-8")


def test_every_route_is_on_the_page_and_no_other() -> None:
    told = set(re.findall(r"`(GET|POST|DELETE|WS) (/[^`?]*)`", TEXT))
    there = (OPEN | GUARDED) - {("GET", "/static/{name}"), ("GET", "/favicon.ico")}
    assert told == there
    assert "`/static/{name}`" in TEXT


def test_the_bounds_are_those_of_the_code() -> None:
    limits, settings = ServeLimits(), ServeSettings()
    for text in (
        f"| {limits.body_bytes // 1024} KiB, within {limits.body_s:g} s; "
        f"its header within {limits.header_s:g} s |",
        f"| questions answered or waiting | {limits.questions}:",
        f"| streams, conversations | {limits.streams}, {limits.sessions} |",
        f"| {limits.sockets}, {limits.viewers}, {limits.peers}, {limits.connections} |",
        f"| is cut after {limits.write_s:g} s |",
        f"questions being answered get {limits.drain_s:g} s",
        f"at least {MIN_TOKEN} characters",
        f"`{settings.host}:{settings.port}`",
        "the kinds " + " and ".join(f"`{kind}`" for kind in sorted(settings.kinds)),
    ):
        assert text in TEXT, text
