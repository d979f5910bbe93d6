"""Standing questions over HTTP: asked, watched on a socket, their events with clip and picture."""

from __future__ import annotations

import io
import json
import time
from collections.abc import Iterator

import av
import httpx2
import pytest
from PIL import Image
from websockets.sync.client import connect

from edgetwin.deploy.live.hub import LiveHub
from edgetwin.deploy.live.records import Event, StreamSpec

from .conftest import VIDEO
from .served import Served, serve

QUESTION = "tell me when a bottle appears"
STREAM = "/api/streams/spatial"


@pytest.fixture(scope="module")
def watched(hub: LiveHub) -> Iterator[Served]:
    """A clip in which a bottle appears, again and again."""
    clip = VIDEO.with_name("spatial.mp4")
    stream = hub.add(StreamSpec(id="spatial", source=str(clip), loop=True, live=True))
    assert stream.wait(2, 20) is not None
    with serve(hub) as found:
        yield found
    hub.remove("spatial")


def test_a_standing_question_raises_events_that_can_be_looked_at(watched: Served) -> None:
    socket = connect(f"{watched.url.replace('http', 'ws')}/api/ws?stream=spatial")
    with socket, httpx2.Client(base_url=watched.url, timeout=30) as web:
        added = web.post(f"{STREAM}/standing", json={"question": QUESTION})
        assert added.status_code == 201
        standing = added.json()
        assert standing["stream"] == "spatial"
        deadline = time.monotonic() + 40
        told = None
        while told is None:
            assert time.monotonic() < deadline, web.get(f"{STREAM}/standing").json()
            message = json.loads(socket.recv(10))
            told = message if message["type"] == "event" else None
        event = Event.model_validate({k: v for k, v in told.items() if k != "type"})
        assert event.standing == standing["id"]
        assert event.ids
        assert event.delay_ms >= 0
        assert web.get("/api/events?stream=table").json()["events"] == []
        listed = web.get("/api/events?stream=spatial&limit=1000").json()["events"]
        assert event.id in [one["id"] for one in listed]
        after = web.get(f"/api/events?after={event.id}").json()["events"]
        assert event.id not in [one["id"] for one in after]
        assert Event.model_validate(web.get(f"/api/events/{event.id}").json()).ids == event.ids
        path = f"/api/events/{event.id}"
        while (clip := web.get(f"{path}/clip.mp4")).status_code == 404:
            assert time.monotonic() < deadline
            time.sleep(0.2)
        assert clip.headers["content-type"] == "video/mp4"
        with av.open(io.BytesIO(clip.content)) as video:
            assert sum(1 for _ in video.decode(video=0)) >= 2
        part = web.get(f"{path}/clip.mp4", headers={"Range": "bytes=0-9"})
        assert part.status_code == 206
        assert part.content == clip.content[:10]
        picture = web.get(f"{path}/picture.jpg")
        assert Image.open(io.BytesIO(picture.content)).format == "JPEG"
        found = web.get("/api/standing").json()["standing"]
        assert next(one["events"] for one in found if one["id"] == standing["id"]) >= 1
        assert web.delete(f"/api/standing/{standing['id']}").status_code == 204
        assert web.delete(f"/api/standing/{standing['id']}").status_code == 404
        assert web.get(f"{STREAM}/standing").json()["standing"] == []
        assert web.get(path).status_code == 200  # what happened stays
        assert 'edgetwin_events_total{stream="spatial"}' in web.get("/metrics").text


def test_a_webhook_that_is_not_allowed_is_refused(watched: Served) -> None:
    body = {"question": QUESTION, "webhook": "http://169.254.169.254/latest"}
    got = httpx2.post(f"{watched.url}{STREAM}/standing", json=body, timeout=20)
    assert got.status_code == 400
    assert httpx2.get(f"{watched.url}/api/standing").json()["standing"] == []
