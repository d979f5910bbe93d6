"""RTSP against a small server on loopback: pictures, passwords, faults, and stopping."""

from __future__ import annotations

import logging
import socket
import threading
import time
from collections.abc import Iterator
from itertools import pairwise

import numpy as np
import pytest
from numpy.typing import NDArray

from edgetwin.deploy.stream.live import LiveSource, Retry
from edgetwin.deploy.stream.spec import parse_address
from edgetwin.deploy.stream.tether import Tether
from edgetwin.tests.rtsp_server import RtspServer

from .feeds import Sink, reaches, source_threads, until

RETRY = Retry(first_s=0.2, most_s=0.5, stall_s=1.0, open_s=1.5)
PLANTED = "Hunter2!k/:@#?kestrel"
QUOTED = "Hunter2%21k%2F%3A%40%23%3Fkestrel"


def red_square(number: int, width: int, height: int) -> NDArray[np.uint8]:
    image = np.full((height, width, 3), 120, np.uint8)
    image[20:60, 20:60] = (200, 30, 30)
    image[70:80, number % 60 : number % 60 + 20] = 255
    return image


@pytest.fixture
def server() -> Iterator[RtspServer]:
    with RtspServer(red_square) as server:
        yield server


def source_of(url: str, sink: Sink, retry: Retry = RETRY) -> LiveSource:
    source = LiveSource(parse_address(url), sink, stream_id="rtsp", retry=retry)
    source.start()
    return source


def test_pictures_come_in_colour_and_in_time(server: RtspServer) -> None:
    sink = Sink()
    source = source_of(server.url, sink)
    assert sink.wait_for(20)
    assert source.status().state == "running"
    assert source.stop()
    image = sink.frames[5].image_hw3
    assert image.shape == (96, 128, 3)
    assert np.abs(image[30:50, 30:50].astype(int) - (200, 30, 30)).mean() < 25
    steps = [b.timestamp_s - a.timestamp_s for a, b in pairwise(sink.frames)]
    assert np.median(steps) == pytest.approx(0.05, abs=0.005)  # the camera's own spacing
    assert not source_threads("rtsp")


@pytest.mark.parametrize("digest", [False, True])
def test_a_password_with_every_sign_works_and_is_shown_nowhere(
    digest: bool, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    shown = []
    with (
        caplog.at_level(logging.DEBUG),
        RtspServer(red_square, user="admin", password=PLANTED, digest=digest) as server,
    ):
        for password in (QUOTED, "wrong" + QUOTED):
            sink = Sink()
            source = source_of(server.url.replace("//", f"//admin:{password}@"), sink)
            if password == QUOTED:
                assert sink.wait_for(3)
            else:
                assert until(lambda s=source: s.status().attempts >= 2)
                assert "401" in source.status().error or "nauthorized" in source.status().error
            shown += [repr(source.status()), repr(source.address), str(source_threads("rtsp"))]
            assert source.stop()
    written = capfd.readouterr()
    everything = " ".join([*shown, caplog.text, written.out, written.err])
    assert PLANTED not in everything
    assert QUOTED not in everything
    assert "kestrel" not in everything


@pytest.mark.parametrize("fault", ["closed", "dropped", "reset", "silent", "garbage", "noise"])
def test_every_fault_is_survived(server: RtspServer, fault: str) -> None:
    sink = Sink()
    source = source_of(server.url, sink)
    assert sink.wait_for(3)
    if fault == "closed":
        server.close()
    elif fault in ("dropped", "reset"):
        server.drop(reset=fault == "reset")
    else:
        server.fault = fault  # type: ignore[assignment]
    # Garbage payloads are dropped by the decoder, and silence shows after half of stall_s.
    assert until(lambda: source.status().state != "running" or source.status().attempts > 1)
    server.fault = ""
    if fault == "closed":
        server.open()
    healed, seen = time.monotonic(), len(sink.frames)
    assert sink.wait_for(seen + 3)
    assert time.monotonic() - healed < RETRY.open_s + RETRY.most_s + 3
    times = [f.timestamp_s for f in sink.frames]
    assert all(a < b for a, b in pairwise(times))
    assert [f.index for f in sink.frames] == list(range(len(times)))
    assert source.stop()
    assert not source_threads("rtsp")


def test_a_change_of_resolution_gives_frames_of_the_new_size(server: RtspServer) -> None:
    sink = Sink()
    source = source_of(server.url, sink)
    assert sink.wait_for(3)
    server.size = 192, 112
    assert until(lambda: sink.frames[-1].image_hw3.shape == (112, 192, 3))
    assert source.status().attempts == 1  # in-band: the connection holds
    assert source.stop()
    assert {f.image_hw3.shape for f in sink.frames} == {(96, 128, 3), (112, 192, 3)}


def test_a_stream_that_is_not_there_is_said_so(server: RtspServer) -> None:
    server.fault = "refuse"
    source = source_of(server.url, Sink())
    assert reaches(source, "backoff")
    assert "127.0.0.1" in source.status().error
    assert source.stop()


@pytest.mark.parametrize("where", ["connecting", "opening", "running", "stalled", "backoff"])
def test_stop_within_two_seconds_from_every_state(server: RtspServer, where: str) -> None:
    """Also while FFmpeg hangs in an opening or a read that nobody answers."""
    retry = Retry(first_s=5, stall_s=1.0 if where == "stalled" else 20, open_s=20)
    sink, blocked = Sink(), socket.create_server(("127.0.0.1", 0), backlog=0)
    url = server.url
    with blocked, socket.create_connection(blocked.getsockname()):
        if where == "connecting":  # a full backlog answers no connection
            url = f"rtsp://127.0.0.1:{blocked.getsockname()[1]}/live"
        elif where == "opening":
            server.fault = "silent"
        elif where == "backoff":
            server.close()
        source = source_of(url, sink, retry)
        if where in ("running", "stalled"):
            assert sink.wait_for(3)
            server.fault = "silent"
        if where == "opening":
            assert until(lambda: server.connections == 1)
        assert reaches(source, {"connecting": "opening"}.get(where, where))
        began = time.monotonic()
        assert source.stop()
        assert time.monotonic() - began < 2
    assert source.abandoned == 0
    assert not source_threads("rtsp")
    assert source.status().state == "stopped"


def test_a_tether_ends_from_every_state_and_says_what_went_wrong() -> None:
    closed = socket.create_server(("127.0.0.1", 0))
    port = closed.getsockname()[1]
    closed.close()
    refused = Tether("127.0.0.1", port, "tether-refused", 5)
    assert refused.join(5)
    assert refused.error == "Connection refused"
    nowhere = Tether("name.invalid", 554, "tether-name", 5)
    assert nowhere.join(10)
    assert "no address" in nowhere.error
    with socket.create_server(("127.0.0.1", 0)) as server:
        waiting = Tether("127.0.0.1", server.getsockname()[1], "tether-idle", 5)
        waiting.cut()
        waiting.cut()
        assert waiting.join(2)
        assert waiting.error == ""
        slow = Tether("127.0.0.1", server.getsockname()[1], "tether-slow", 0.1)
        assert slow.join(5)
        assert "within 0.1 s" in slow.error
    assert not [t for t in threading.enumerate() if t.name.startswith("tether")]


def test_a_tether_carries_every_byte_both_ways() -> None:
    """More than its buffers hold, at once in both directions, with a slow reader."""
    payload = np.random.default_rng(7).bytes(3_000_000)
    with socket.create_server(("127.0.0.1", 0)) as server:
        tether = Tether("127.0.0.1", server.getsockname()[1], "tether-bytes", 5)
        near = socket.create_connection(("127.0.0.1", tether.port))
        far, _ = server.accept()
        got: dict[str, bytes] = {}

        def take(name: str, end: socket.socket) -> None:
            data = bytearray()
            while len(data) < len(payload):
                data += end.recv(8192)
            got[name] = bytes(data)

        def give(end: socket.socket) -> None:
            end.sendall(payload)

        threads = [
            threading.Thread(target=target, args=args)
            for target, args in (
                (take, ("near", near)),
                (take, ("far", far)),
                (give, (near,)),
                (give, (far,)),
            )
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        near.close()
        assert tether.join(5)
        far.close()
    assert got["near"] == payload
    assert got["far"] == payload
