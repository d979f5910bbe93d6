"""Odd requests at every route: refused or answered, never a fault of the server; nothing left."""

from __future__ import annotations

import json
import os
import random
import re
import threading
import time
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest
from websockets.sync.client import connect

from edgetwin.deploy.live.hub import LiveHub

from .served import Served, serve
from .test_access import GUARDED, OPEN, routes

ODD: tuple[Any, ...] = (
    "",
    " ",
    "0",
    "-1",
    "1e400",
    "nan",
    "NaN",
    "true",
    "null",
    "9" * 400,
    "x" * 3000,
    "é😀",
    "\u202e\ufeff",
    "a\nb\r\nX: y",
    "a\tb",
    "%",
    "%00",
    "%s%n{0}${x}",
    "'; DROP TABLE frames; --",
    "<script>alert(1)</script>",
    "table",
    "\ud800",
)
VALUES: tuple[Any, ...] = (*ODD, None, True, 0, -1, 2**63, 1e308, [], {}, [[]], {"a": {"b": []}})
NAMES = ["source", "id", "words", "fps", "loop", "live", "record", "question", "mode", "session"]
NAMES += ["budget_s", "stream", "webhook", "sdp", "type", "model", "messages", "token"]


@pytest.fixture(scope="module")
def odd(hub: LiveHub) -> Iterator[Served]:
    with serve(hub) as found:
        yield found


def quoted(value: object) -> str:
    return "".join(f"%{byte:02x}" for byte in str(value).encode("utf-8", "surrogatepass"))


@pytest.mark.parametrize("seed", range(3))
def test_odd_values_are_never_a_fault(odd: Served, hub: LiveHub, seed: int) -> None:
    luck = random.Random(seed)
    wrong = []
    with httpx2.Client(base_url=odd.url, timeout=30) as web:
        for method, path in sorted(OPEN | GUARDED):
            if method == "WS" or (method, path) == ("DELETE", "/api/streams/{id}"):
                continue
            for _ in range(6):
                filled = path.replace("{id}", "table") if luck.random() < 0.5 else path
                filled = re.sub(r"\{\w+\}", lambda _: quoted(luck.choice(ODD)), filled)
                names = ("limit", "ids", "fps", "overlay", "after", "label", "start_at", "by")
                query = "&".join(f"{n}={quoted(luck.choice(ODD))}" for n in luck.sample(names, 3))
                body = {name: luck.choice(VALUES) for name in luck.sample(NAMES, 4)}
                content = luck.choice((json.dumps(body), json.dumps(luck.choice(VALUES)), "{", ""))
                headers = {"Content-Type": luck.choice(("application/json", "text/plain", "x"))}
                with web.stream(
                    method, f"{filled}?{query}", content=content, headers=headers
                ) as got:
                    if got.status_code >= 500 and got.status_code != 503:
                        wrong.append((method, filled, query, content, got.status_code))
    assert not wrong
    assert [stream.id for stream in hub.streams()] == ["table"]


@pytest.mark.parametrize("value", VALUES, ids=range(len(VALUES)))
def test_odd_questions_and_chats(odd: Served, value: object) -> None:
    with httpx2.Client(base_url=odd.url, timeout=30) as web:
        for path, body in (
            ("/api/streams/table/questions", {"question": value}),
            ("/api/streams/table/questions", {"question": "which?", "session": value}),
            ("/api/streams/table/questions", {"question": "which?", "budget_s": value}),
            ("/v1/chat/completions", {"messages": [{"role": "user", "content": value}]}),
            ("/v1/chat/completions", {"messages": value}),
            ("/v1/chat/completions", {"model": value, "messages": []}),
        ):
            got = web.post(
                path, content=json.dumps(body), headers={"Content-Type": "application/json"}
            )
            assert got.status_code in (200, 400, 404, 422), (path, body, got.text)


def test_the_table_is_of_this_application(odd: Served) -> None:
    assert set(routes(odd.app.routes)) == OPEN | GUARDED


def test_many_who_come_and_go_leave_nothing(odd: Served) -> None:
    state = odd.app.state.serving

    def held() -> tuple[int, int]:
        return len(os.listdir("/proc/self/fd")), threading.active_count()

    def comes_and_goes(count: int) -> None:
        url = f"{odd.url}/api/streams/table/video.mjpeg?overlay=1"
        with httpx2.Client(timeout=20) as web:
            for _ in range(count):
                with web.stream("GET", url):
                    pass
        for _ in range(count):
            with connect(f"{odd.url.replace('http', 'ws')}/api/ws?stream=table") as link:
                link.recv(5)

    comes_and_goes(3)  # threads of pools are made once
    files, threads = held()
    comes_and_goes(25)
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        if state.viewers.used == state.sockets.used == 0 and held()[0] <= files + 2:
            break
        time.sleep(0.05)
    assert (state.viewers.used, state.sockets.used, state._shared) == (0, 0, {})
    assert held()[0] <= files + 2
    assert held()[1] <= threads + 2
