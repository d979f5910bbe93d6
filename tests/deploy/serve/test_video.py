"""Video: MJPEG shared between viewers, WebRTC to a real peer, overlays that are true."""

from __future__ import annotations

import asyncio
import io
import re
import time
from collections.abc import Iterator
from typing import Any

import cv2
import httpx2
import numpy as np
import pytest
from PIL import Image

from edgetwin.deploy.live.hub import LiveHub
from edgetwin.deploy.live.records import StreamSpec
from edgetwin.deploy.serve.config import ServeLimits, ServeSettings
from edgetwin.deploy.serve.overlay import encode_jpeg, even, outlines, overlaid
from edgetwin.twin import mask as rle

from .conftest import VIDEO
from .served import Served, serve

VIDEO_URL = "/api/streams/table/video.mjpeg"


def parts(response: httpx2.Response) -> Iterator[tuple[dict[str, str], bytes]]:
    boundary = response.headers["content-type"].partition("boundary=")[2].encode()
    kept = b""
    for chunk in response.iter_bytes():
        kept += chunk
        while True:
            head, found, rest = kept.partition(b"\r\n\r\n")
            length = re.search(rb"Content-Length: (\d+)", head)
            if not found or length is None or len(rest) < int(length[1]) + 2:
                break
            assert head.startswith(b"--" + boundary)
            lines = head.decode().split("\r\n")[1:]
            size = int(length[1])
            yield dict(line.split(": ", 1) for line in lines), rest[:size]
            assert rest[size : size + 2] == b"\r\n"
            kept = rest[size + 2 :]


def test_frames_come_with_their_index_and_age(served: Served) -> None:
    with httpx2.stream("GET", f"{served.url}{VIDEO_URL}?overlay=1", timeout=10) as got:
        found = [part for part, _ in zip(parts(got), range(5), strict=False)]
    indexes = [int(head["X-Frame-Index"]) for head, _ in found]
    assert indexes == sorted(set(indexes))
    for head, data in found:
        assert Image.open(io.BytesIO(data)).size == (256, 256)
        assert 0 <= float(head["X-Age-Ms"]) < 5000


def test_a_frame_is_encoded_once_for_all_who_look(served: Served) -> None:
    state = served.app.state.serving
    url = f"{served.url}{VIDEO_URL}?overlay=1"
    with httpx2.stream("GET", url) as one, httpx2.stream("GET", url) as two:
        both = [zip(parts(got), range(6), strict=False) for got in (one, two)]
        frames = [{head["X-Frame-Index"]: data for (head, data), _ in got} for got in both]
        (shared,) = state._shared.values()
        assert shared.readers == 2
        made = shared.made
    same = set(frames[0]) & set(frames[1])
    assert same
    assert all(frames[0][index] == frames[1][index] for index in same)
    everything = [int(index) for got in frames for index in got]
    assert made <= max(everything) - min(everything) + 8


def test_a_viewer_may_ask_for_fewer(served: Served) -> None:
    with httpx2.stream("GET", f"{served.url}{VIDEO_URL}?fps=2", timeout=10) as got:
        began = time.monotonic()
        heads = [head for (head, _), _ in zip(parts(got), range(4), strict=False)]
        took = time.monotonic() - began
    assert took >= 1.2
    indexes = [int(head["X-Frame-Index"]) for head in heads]
    assert max(np.diff(indexes)) >= 2  # the ones between were not sent


def test_a_viewer_that_leaves_leaves_nothing(hub: LiveHub) -> None:
    with serve(hub) as served:
        state = served.app.state.serving
        for _ in range(3):
            with httpx2.stream("GET", f"{served.url}{VIDEO_URL}") as got:
                next(parts(got))
        deadline = time.monotonic() + 5
        while (state.viewers.used or state._shared) and time.monotonic() < deadline:
            time.sleep(0.02)
        assert (state.viewers.used, state._shared) == (0, {})
        listeners = hub.stream("table").listeners
        assert "heard" not in repr(vars(listeners))


def test_a_server_that_stops_ends_its_video(hub: LiveHub) -> None:
    with serve(hub) as served, httpx2.stream("GET", f"{served.url}{VIDEO_URL}") as got:
        found = parts(got)
        next(found)
        served.drain()
        began = time.monotonic()
        for _ in found:
            assert time.monotonic() < began + 5
        served.thread.join(5)
        assert not served.thread.is_alive()


def test_outlines_are_of_the_mask() -> None:
    mask_hw = np.zeros((120, 160), bool)
    cv2_mask = mask_hw.astype(np.uint8)
    cv2.circle(cv2_mask, (80, 60), 37, 1, -1)
    cv2.rectangle(cv2_mask, (5, 5), (20, 30), 1, -1)
    mask_hw = cv2_mask.astype(bool)
    found = outlines(rle.encode(mask_hw))
    assert len(found) == 2
    assert sum(len(piece) for piece in found) <= 60
    drawn = np.zeros_like(cv2_mask)
    cv2.fillPoly(drawn, [np.array(piece, np.int32) for piece in found], 1)
    both = drawn.astype(bool)
    assert (both & mask_hw).sum() / (both | mask_hw).sum() > 0.95


@pytest.mark.parametrize("kind", ["empty", "full", "noise", "pixel", "line"])
def test_outlines_of_any_mask_are_bounded(kind: str) -> None:
    mask_hw = np.zeros((97, 131), bool)
    if kind == "full":
        mask_hw[:] = True
    elif kind == "noise":
        mask_hw = np.random.default_rng(0).random((97, 131)) > 0.5
    elif kind == "pixel":
        mask_hw[3, 4] = True
    elif kind == "line":
        mask_hw[10, :] = True
    found = outlines(rle.encode(mask_hw))
    assert sum(len(piece) for piece in found) <= 120
    assert bool(found) == bool(mask_hw.any())


def test_an_overlay_survives_masks_of_another_size(hub: LiveHub) -> None:
    moment = hub.stream("table").latest()
    small = np.ascontiguousarray(moment.frame.image_hw3[:50, :60])
    drawn = overlaid(small, moment.twin)
    assert drawn.shape == small.shape
    assert encode_jpeg(even(drawn[:49, :59]))[:2] == b"\xff\xd8"
    assert even(drawn[:49, :59]).shape == (48, 58, 3)


def test_the_overlay_leaves_the_frame_as_it_is(hub: LiveHub) -> None:
    moment = hub.stream("table").latest()
    before = moment.frame.image_hw3.copy()
    overlaid(moment.frame.image_hw3, moment.twin)
    assert np.array_equal(before, moment.frame.image_hw3)


# ---- WebRTC


async def offered(served: Served, got: list[Any], query: str = "", stream: str = "table") -> Any:
    """A real peer that receives video from the server; the connection, to be closed."""
    from aiortc import RTCConfiguration, RTCPeerConnection, RTCSessionDescription

    peer = RTCPeerConnection(RTCConfiguration(iceServers=[]))
    peer.addTransceiver("video", direction="recvonly")
    peer.on("track", got.append)
    await peer.setLocalDescription(await peer.createOffer())
    local = {"sdp": peer.localDescription.sdp, "type": peer.localDescription.type}
    async with httpx2.AsyncClient(base_url=served.url, timeout=20) as web:
        answer = await web.post(f"/api/streams/{stream}/webrtc{query}", json=local)
    if answer.status_code != 200:
        await peer.close()
        return answer
    await peer.setRemoteDescription(RTCSessionDescription(**answer.json()))
    return peer


def test_a_peer_sees_what_the_stream_sees(served: Served, hub: LiveHub) -> None:
    pytest.importorskip("aiortc", reason="aiortc is not installed: pip install 'edgetwin[webrtc]'")
    state = served.app.state.serving

    async def watch() -> list[Any]:
        tracks: list[Any] = []
        peer = await offered(served, tracks, "?overlay=0")
        try:
            async with asyncio.timeout(20):
                frames = [await tracks[0].recv() for _ in range(8)]
            assert state.peers.used == 1
        finally:
            await peer.close()
        return frames

    frames = asyncio.run(watch())
    times = [float(frame.pts * frame.time_base) for frame in frames]
    assert times == sorted(times)
    assert 0.1 < times[-1] - times[0] < 10
    seen = frames[-1].to_ndarray(format="rgb24").astype(int)
    real = hub.stream("table").latest().frame.image_hw3.astype(int)
    assert seen.shape == real.shape
    assert np.abs(seen - real).mean() < 12  # a lossy picture of nearly the same moment
    deadline = time.monotonic() + 10
    while state.peers.used and time.monotonic() < deadline:
        time.sleep(0.05)
    assert state.peers.used == 0


def test_a_peer_of_a_stream_that_goes_gives_its_place_back(served: Served, hub: LiveHub) -> None:
    pytest.importorskip("aiortc", reason="aiortc is not installed: pip install 'edgetwin[webrtc]'")
    state = served.app.state.serving
    spec = StreamSpec(id="going", source=str(VIDEO), loop=True, live=True, record=False)
    assert hub.add(spec).wait(1, 20) is not None

    async def watch() -> None:
        tracks: list[Any] = []
        peer = await offered(served, tracks, stream="going")
        async with asyncio.timeout(20):
            await tracks[0].recv()
            hub.remove("going")
            while state.peers.used:
                await asyncio.sleep(0.05)
        await peer.close()

    asyncio.run(watch())
    assert state.peers.used == 0


def test_peers_are_so_many(hub: LiveHub) -> None:
    pytest.importorskip("aiortc", reason="aiortc is not installed: pip install 'edgetwin[webrtc]'")

    async def two(served: Served) -> Any:
        peer = await offered(served, [])
        refused = await offered(served, [])
        await peer.close()
        return refused

    with serve(hub, ServeSettings(port=0, limits=ServeLimits(peers=1))) as served:
        refused = asyncio.run(two(served))
        assert refused.status_code == 429
        assert refused.headers["retry-after"]


@pytest.mark.parametrize("sdp", ["x", "v=0\r\n", "m=video 9 UDP/TLS/RTP/SAVPF 96\r\n" * 50])
def test_an_offer_that_is_none_is_refused_and_holds_nothing(served: Served, sdp: str) -> None:
    pytest.importorskip("aiortc", reason="aiortc is not installed: pip install 'edgetwin[webrtc]'")
    body = {"sdp": sdp, "type": "offer"}
    got = httpx2.post(f"{served.url}/api/streams/table/webrtc", json=body)
    assert got.status_code == 400
    assert served.app.state.serving.peers.used == 0
