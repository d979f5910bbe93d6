"""The WebSocket: what it tells, what slow readers miss, and how it ends."""

from __future__ import annotations

import json
import socket
import time
from collections.abc import Iterator
from itertools import pairwise
from typing import Any

import httpx2
import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from edgetwin.deploy.live.hub import LiveHub
from edgetwin.deploy.live.records import Event, StreamSpec, StreamStatus
from edgetwin.deploy.serve.config import ServeLimits, ServeSettings

from .conftest import VIDEO
from .served import Served, serve


def ws(served: Served, query: str = "?stream=table", **more: Any) -> ClientConnection:
    return connect(f"{served.url.replace('http', 'ws')}/api/ws{query}", **more)


def messages(link: ClientConnection, seconds: float) -> Iterator[dict[str, Any]]:
    until = time.monotonic() + seconds
    while (left := until - time.monotonic()) > 0:
        try:
            yield json.loads(link.recv(left))
        except TimeoutError:
            return


def an_event(number: int, stream: str = "table") -> Event:
    return Event(
        id=f"e{number:06d}",
        standing="s",
        stream=stream,
        question="tell me when something moves",
        at=1.0,
        timestamp_s=1.0,
        frame_index=number,
        ids=[1],
        objects=[],
        reason="it moved",
        delay_ms=1.0,
    )


def test_a_status_first_then_light_twins(served: Served, hub: LiveHub) -> None:
    with ws(served) as link:
        first = json.loads(link.recv(5))
        assert first.pop("type") == "status"
        assert first.pop("stream") == "table"
        assert StreamStatus.model_validate(first).id == "table"
        twins = [json.loads(link.recv(5)) for _ in range(3)]
    indexes = [twin["index"] for twin in twins]
    assert indexes == sorted(set(indexes))
    for twin in twins:
        assert twin["type"] == "twin"
        assert twin["stream"] == "table"
        assert (twin["width"], twin["height"]) == (256, 256)
        assert twin["run"] == hub.stream("table").latest().run
        assert 0 <= twin["age_ms"] < 5000
        assert twin["objects"]
        for obj in twin["objects"]:
            assert obj["label"]
            assert obj["state"] in ("visible", "occluded")
            if obj["state"] == "visible":
                points = [point for piece in obj["outline"] for point in piece]
                assert 3 <= len(points) <= 60
                x0, y0, x1, y1 = obj["box_xyxy"]
                assert all(x0 - 1 <= x <= x1 and y0 - 1 <= y <= y1 for x, y in points)
    assert len(json.dumps(twins[0])) < 8000


def test_a_status_every_two_seconds(served: Served) -> None:
    with ws(served) as link:
        kinds = [m["type"] for m in messages(link, 4.5)]
    assert 2 <= kinds.count("status") <= 3


def test_without_a_name_all_streams_are_told(served: Served) -> None:
    with ws(served, "") as link:
        assert json.loads(link.recv(5))["stream"] == "table"


@pytest.mark.parametrize("query", ["?stream=nope", "?stream=..%2f", "?stream=" + "&stream=x" * 40])
def test_streams_that_are_not_there_open_no_socket(served: Served, query: str) -> None:
    with pytest.raises(InvalidStatus):
        ws(served, query)


def test_events_come_to_readers_of_their_stream(served: Served) -> None:
    state = served.app.state.serving
    with ws(served) as link:
        link.recv(5)
        served.server._loop.call_soon_threadsafe(state.tell, an_event(1, "another"))
        served.server._loop.call_soon_threadsafe(state.tell, an_event(2))
        told = next(m for m in messages(link, 5) if m["type"] == "event")
    assert told["id"] == "e000002"
    assert told["reason"] == "it moved"
    text = httpx2.get(f"{served.url}/metrics").text
    assert 'edgetwin_events_total{stream="table"} 1.0' in text


def test_a_burst_of_events_comes_whole_and_in_order(served: Served) -> None:
    state = served.app.state.serving

    def burst() -> None:
        for number in range(200):
            state.tell(an_event(number))

    with ws(served) as link:
        link.recv(5)
        served.server._loop.call_soon_threadsafe(burst)
        got: list[str] = []
        for message in messages(link, 10):
            got += [message["id"]] if message["type"] == "event" else []
            if len(got) == 200:
                break
    assert got == [f"e{number:06d}" for number in range(200)]


def test_a_reader_that_lets_too_many_events_wait_is_told_goodbye(served: Served) -> None:
    state = served.app.state.serving

    def burst() -> None:  # at once: its sender cannot keep up, whoever reads
        for number in range(300):
            state.tell(an_event(number))

    with ws(served) as link:
        link.recv(5)
        served.server._loop.call_soon_threadsafe(burst)
        kinds = []
        with pytest.raises(ConnectionClosed) as closed:  # noqa: PT012
            while True:
                kinds.append(json.loads(link.recv(5)))
    assert kinds[-1] == {"type": "bye", "reason": "too many events wait"}
    assert closed.value.rcvd.code == 1013


def test_a_slow_reader_skips_twins_which_are_counted(hub: LiveHub) -> None:
    limits = ServeLimits(send_bytes=4096, write_s=30.0)
    with serve(hub, ServeSettings(port=0, limits=limits)) as served:
        slow = socket.socket()
        slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
        slow.connect((served.host, served.port))
        more: dict[str, Any] = {"sock": slow, "max_queue": 1, "close_timeout": 1}
        with ws(served, **more) as stuck, ws(served, close_timeout=1) as quick:
            for _ in range(40):  # nobody waits for the one that does not read
                assert json.loads(quick.recv(5))["stream"] == "table"
            seen = [m["index"] for m in messages(stuck, 2) if m["type"] == "twin"]
        gaps = [b - a for a, b in pairwise(seen)]
        assert min(gaps) >= 1
        assert max(gaps) > 5
        assert missed(served) > 5
        assert hub.stream("table").status().skipped > 0


def missed(served: Served) -> float:
    text = httpx2.get(f"{served.url}/metrics").text
    found = [line for line in text.splitlines() if 'dropped_total{by="socket"}' in line]
    return float(found[0].split()[-1]) if found else 0.0


def test_sockets_are_so_many(hub: LiveHub) -> None:
    settings = ServeSettings(port=0, limits=ServeLimits(sockets=2))
    with serve(hub, settings) as served, ws(served), ws(served):
        with pytest.raises((InvalidStatus, ConnectionClosed)):
            ws(served).recv(2)
        assert served.app.state.serving.sockets.refused == 1


def test_a_socket_takes_no_messages(served: Served) -> None:
    with ws(served) as link:
        with pytest.raises(ConnectionClosed) as closed:  # noqa: PT012
            for _ in range(200):
                link.send("x")
            while True:
                link.recv(5)
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 1008


def test_a_message_that_is_too_long_ends_it(served: Served) -> None:
    with ws(served) as link:
        link.send("x" * 100_000)
        with pytest.raises(ConnectionClosed):  # noqa: PT012
            while True:
                link.recv(5)


def test_a_stream_that_goes_is_told(hub: LiveHub) -> None:
    hub.add(StreamSpec(id="gone", source=str(VIDEO), loop=True, live=True, record=False))
    with (
        serve(hub) as served,
        ws(served, "?stream=table&stream=gone") as both,
        ws(served, "?stream=gone") as one,
    ):
        both.recv(5)
        one.recv(5)
        hub.remove("gone")
        told = next(m for m in messages(both, 5) if m["type"] == "removed")
        assert told["stream"] == "gone"
        kinds = []
        with pytest.raises(ConnectionClosed):  # noqa: PT012
            while True:
                kinds.append(json.loads(one.recv(5)))
        assert kinds[-1] == {"type": "bye", "reason": "removed"}
        assert next(m for m in messages(both, 5) if m["type"] == "twin")["stream"] == "table"


def test_a_server_that_stops_says_bye(hub: LiveHub) -> None:
    with serve(hub) as served, ws(served) as link:
        link.recv(5)
        served.drain()
        said = []
        with pytest.raises(ConnectionClosed) as closed:  # noqa: PT012
            while True:
                said.append(json.loads(link.recv(5)))
        assert said[-1] == {"type": "bye", "reason": "stopping"}
        assert closed.value.rcvd.code == 1001


def test_readers_leave_nothing_behind(hub: LiveHub) -> None:
    with serve(hub) as served:
        state = served.app.state.serving
        for _ in range(5):
            with ws(served) as link:
                link.recv(5)
        deadline = time.monotonic() + 5
        while (state.sockets.used or state._shared) and time.monotonic() < deadline:
            time.sleep(0.02)
        assert (state.sockets.used, state._shared) == (0, {})
