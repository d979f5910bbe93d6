"""The clients against a real server: the same records from both, masks as arrays, events as they come."""

from __future__ import annotations

import asyncio
import inspect
import itertools
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import Any

import cv2
import numpy as np
import pytest

from edgetwin.deploy.client import Answer, AsyncClient, Client, LightTwin
from edgetwin.deploy.client.errors import NotReadyError, UnreachableError
from edgetwin.deploy.live.errors import BusyError, UnknownError
from edgetwin.deploy.live.hub import LiveHub
from edgetwin.deploy.live.records import Event, StreamSpec, StreamStatus
from edgetwin.deploy.serve.config import ServeSettings
from edgetwin.twin import mask as rle
from edgetwin.twin.errors import InputError, QueryError, SourceError

from ..serve.served import Served, serve
from .conftest import ROOT, TOKEN
from .unasync import FOLDER, asynchronous

VIDEO = str(ROOT / "examples" / "temporal.mp4")


@pytest.fixture(scope="module")
def still(hub: LiveHub) -> Iterator[str]:
    """A stream that is over, so that two readers see the same."""
    stream = hub.add(StreamSpec(id="still", source=VIDEO))
    assert stream.source.ended.wait(60)
    deadline = time.monotonic() + 60
    while stream.status().frames.in_flight:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    assert stream.memory is not None
    assert stream.memory.sync()
    yield "still"
    hub.remove("still")


def test_both_clients_read_the_same(client: Client, served: Served, still: str) -> None:
    rows = list(client.rows(still, page=7))
    object_id = rows[0].id
    reads: list[tuple[str, tuple[Any, ...], dict[str, Any]]] = [
        ("twin", (still,), {}), ("masks", (still,), {}), ("objects", (still,), {}),
        ("object", (still, object_id), {}), ("history", (still,), {"limit": 5}),
        ("lives", (still,), {}), ("answers", (still,), {}), ("sessions", (), {}),
        ("standing", (), {}), ("events", (), {"stream_id": still}), ("info", (), {}),
        ("frame", (still,), {"overlay": True}), ("ready", (), {}),
    ]  # fmt: skip

    async def again() -> list[Any]:
        async with AsyncClient(served.url, token=TOKEN) as other:
            found = [await getattr(other, name)(*args, **named) for name, args, named in reads]
            return [*found, [row async for row in other.rows(still, page=7)]]

    ours = [getattr(client, name)(*args, **named) for name, args, named in reads]
    theirs = asyncio.run(again())
    for (name, *_), one, other in zip(reads, ours, theirs, strict=False):
        if hasattr(one, "age_ms"):
            one, other = (x.model_copy(update={"age_ms": 0.0}) for x in (one, other))
        assert one == other, name
    assert theirs[-1] == rows
    assert ours[0].frame.index == ours[1].index == ours[2].frame_index


def test_a_history_of_many_pages_is_the_whole_one(client: Client, still: str) -> None:
    rows = list(client.rows(still, page=7))
    whole = client.history(still, start_at=0.0, limit=5000)
    assert not whole.truncated
    assert rows == whole.rows
    assert len({(row.run, row.frame_index, row.id) for row in rows}) == len(rows) > 50
    label = rows[0].label
    assert list(client.rows(still, label=label, page=9)) == [r for r in rows if r.label == label]
    lives = {life.id: life for life in client.lives(still)}
    assert set(lives) == {row.id for row in rows}
    first = lives[rows[0].id]
    assert (first.first_at, first.first_s) == (rows[0].at, rows[0].timestamp_s)


def test_masks_are_arrays_of_the_picture(client: Client, still: str) -> None:
    masks, twin = client.masks(still), client.twin(still).frame
    picture = client.frame(still)
    image = cv2.imdecode(np.frombuffer(picture.jpeg, np.uint8), cv2.IMREAD_COLOR)
    assert image is not None
    assert picture.index == masks.index == twin.index
    assert masks.masks_hw()
    for key, mask_hw in masks.masks_hw().items():
        assert mask_hw.dtype == np.bool_
        assert mask_hw.shape == image.shape[:2] == masks.size
        assert int(mask_hw.sum()) == twin.objects[key].area
        assert rle.encode(mask_hw) == twin.objects[key].mask
    one = next(iter(masks.masks))
    assert list(client.masks(still, ids=[one]).masks) == [one]


def test_questions_answer_with_masks_and_tell_what_is_heard(client: Client) -> None:
    heard: list[tuple[str, Any]] = []
    answer = client.ask(
        "table", "what could I drink from?", heard=lambda kind, said: heard.append((kind, said))
    )
    assert isinstance(answer, Answer)
    assert (answer.status, answer.stream) == ("ok", "table")
    assert set(answer.masks_hw()) <= set(answer.ids)
    assert all(mask_hw.any() for mask_hw in answer.masks_hw().values())
    assert "".join(said for kind, said in heard if kind == "text")
    assert [said for kind, said in heard if kind == "plan"] == [answer.plan]
    session = client.open_session("table")
    assert client.ask("table", "what is the largest object?", session=session).status == "ok"
    assert [found.questions for found in client.sessions() if found.session == session] == [1]  # type: ignore[attr-defined]
    client.close_session(session)
    assert session not in [found.session for found in client.sessions()]
    assert client.answers("table")[-1].question == "what is the largest object?"


def test_both_clients_ask_and_watch(served: Served) -> None:
    async def use() -> tuple[Answer, list[Any]]:
        async with AsyncClient(served.url, token=TOKEN) as client:
            heard: list[str] = []
            answer = await client.ask(
                "table", "what is the largest object?", heard=lambda kind, _: heard.append(kind)
            )
            assert "text" in heard
            seen = []
            watching = client.watch("table")
            async for message in watching:
                seen.append(message)
                if len(seen) == 4:
                    break
            await watching.aclose()  # type: ignore[attr-defined]
            return answer, seen

    answer, seen = asyncio.run(use())
    assert answer.status == "ok"
    assert isinstance(seen[0], StreamStatus)
    assert {type(message) for message in seen[1:]} <= {LightTwin, StreamStatus, Event}
    with Client(served.url, token=TOKEN) as client:
        mine = list(itertools.islice(client.watch("table"), 4))
    assert isinstance(mine[0], StreamStatus)
    twins = [m for m in mine if isinstance(m, LightTwin)]
    assert [t.index for t in twins] == sorted(t.index for t in twins)
    assert all(t.stream == "table" and t.objects for t in twins)


def test_streams_are_added_watched_to_their_end_and_removed(hub: LiveHub) -> None:
    settings = ServeSettings(
        port=0, allow=frozenset({"video"}), media=ROOT / "examples"
    )  # no token: loopback
    with serve(hub, settings) as own, Client(own.url) as client:
        status = client.add_stream("temporal.mp4", id="added", loop=True, live=True, record=False)
        assert (status.id, status.source.kind) == ("added", "video")
        assert "added" in [found.id for found in client.streams()]
        seen = []
        for message in client.watch("added"):  # it ends because the stream is removed
            seen.append(message)
            if isinstance(message, LightTwin) and "added" in [s.id for s in client.streams()]:
                client.remove_stream("added")
        assert any(isinstance(message, LightTwin) for message in seen)
        with pytest.raises(UnknownError, match="expected a stream"):
            client.stream("added")
        client.add_stream("temporal.mp4", id="unrecorded", record=False)
        with pytest.raises(InputError, match="recorded"):
            client.history("unrecorded")
        client.remove_stream("unrecorded")


def test_standing_questions_and_their_events(client: Client) -> None:
    made = client.add_standing("table", "tell me when there is a lamp")
    assert made.plan == [{"tool": "find", "words": ["lamp"]}]
    for listed in (client.standing("table"), client.standing()):
        (found,) = [one for one in listed if one.id == made.id]
        assert (found.question, found.plan) == (made.question, made.plan)
    client.remove_standing(made.id)
    assert made.id not in [found.id for found in client.standing()]
    with pytest.raises(UnknownError):
        client.remove_standing(made.id)
    assert client.events("table", limit=5) == client.events("table")[-5:]
    for ask in (client.event, client.clip, client.event_picture):
        with pytest.raises(UnknownError):
            ask("no-such-event")


def test_refusals_are_the_errors_of_a_hub_in_this_process(client: Client, hub: LiveHub) -> None:
    with pytest.raises(UnknownError) as remote:
        client.twin("nowhere")
    with pytest.raises(UnknownError) as local:
        hub.stream("nowhere")
    assert str(remote.value) == str(local.value)
    with pytest.raises(SourceError, match="--allow"):
        client.add_stream("v4l2:/dev/video0")
    with pytest.raises((QueryError, InputError)):
        client.ask("table", "")
    with pytest.raises(InputError, match="expected what a stream is to be"):
        client.add_stream("rtsp://camera", fps=-1.0)
    with pytest.raises(UnknownError):
        client.object("table", 10**6)


def test_a_server_that_stops_says_so(hub: LiveHub) -> None:
    with serve(hub) as own, Client(own.url, retries=0, timeout_s=5) as client:
        watching = client.watch("table")
        assert isinstance(next(watching), StreamStatus)
        own.drain()
        with pytest.raises((BusyError, UnreachableError)) as told:
            for _ in watching:
                pass
        assert isinstance(told.value, UnreachableError) or told.value.closing
    with Client(own.url, retries=0) as late, pytest.raises(UnreachableError, match="is it running"):
        late.streams()


def test_a_stream_without_a_frame_is_not_ready(hub: LiveHub, client: Client) -> None:
    hub.add(StreamSpec(id="dead", source="rtsp://127.0.0.1:9/none", record=False))
    try:
        with pytest.raises(NotReadyError):
            client.twin("dead")
    finally:
        hub.remove("dead")


# ---- one client twice


def test_the_asynchronous_client_is_made_from_the_other() -> None:
    made = asynchronous((FOLDER / "client.py").read_text(encoding="utf-8"))
    assert (FOLDER / "async_client.py").read_text(encoding="utf-8") == made, (
        "run python tests/deploy/client/unasync.py"
    )


def test_both_have_the_same_methods() -> None:
    def methods(kind: type) -> dict[str, list[str]]:
        public = {n: f for n, f in vars(kind).items() if not n.startswith("_") and callable(f)}
        return {
            n: [str(p) for p in inspect.signature(f).parameters.values()] for n, f in public.items()
        }

    assert methods(Client) == methods(AsyncClient)
    assert len(methods(Client)) >= 28


def test_importing_the_client_loads_neither_server_nor_networks() -> None:
    script = (
        "import sys; import edgetwin.deploy.client; "
        "print([m for m in ('torch', 'transformers', 'onnxruntime', 'fastapi', 'uvicorn', "
        "'httpx2', 'websockets', 'av', 'cv2') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
