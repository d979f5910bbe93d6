"""``edgetwin mcp --server URL``: agents on the streams of a real ``edgetwin serve`` process."""

from __future__ import annotations

import json
import queue
import socket
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mcp import Client, StdioServerParameters

from edgetwin.deploy.agents.backend import Backend
from edgetwin.deploy.agents.hub_backend import HubBackend
from edgetwin.deploy.agents.server_backend import ServerBackend
from edgetwin.deploy.agents.tools import AgentTools
from edgetwin.deploy.client.errors import RefusedError, UnreachableError
from edgetwin.deploy.live.hub import LiveHub
from edgetwin.deploy.live.records import StreamSpec
from edgetwin.deploy.models import load_models
from edgetwin.deploy.serve.config import ServeSettings
from edgetwin.deploy.serve.records import Info, Limits
from edgetwin.twin import mask as rle
from edgetwin.twin.errors import EdgeTwinError
from edgetwin.twin.geometry import box_iou
from edgetwin.twin.schema import FrameTwin

from ...test_cli import edgetwin, embedded
from ..serve.served import serve
from .clients import fact, image, refusal, talk
from .serving import LAST, ROOT, served, truth

TOKEN = "a-token-for-these-tests-only"
STREAM = "affordance"


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What a conversation with the command told, over a server that asks for a token."""
    folder = tmp_path_factory.mktemp("remote")
    token = folder / "token"
    token.write_text(TOKEN)
    token.chmod(0o600)

    async def use(client: Client) -> dict[str, Any]:
        got: dict[str, Any] = {"streams": fact(await client.call_tool("list_streams"))}
        ask = {"stream": STREAM, "question": "what could I drink from?", "session": "new"}
        got["ask"] = fact(await client.call_tool("ask", ask))
        again = {**ask, "question": "which is closest?", "session": got["ask"]["session"]}
        got["again"] = fact(await client.call_tool("ask", again))
        one = {"stream": STREAM, "id": got["ask"]["ids"][0]}
        got["mask"] = await client.call_tool("mask", one)
        for tool in ("where", "track", "get_object"):
            got[tool] = fact(await client.call_tool(tool, one))
        for tool in ("list_objects", "history", "events"):
            got[tool] = fact(await client.call_tool(tool, {"stream": STREAM}))
        got["frame"] = await client.call_tool("frame", {"stream": STREAM, "overlay": True})
        read = await client.read_resource(f"edgetwin://streams/{STREAM}/twin.json")
        got["twin"] = FrameTwin.model_validate(json.loads(read.contents[0].text)["frame"])
        got["wrong id"] = await client.call_tool("where", {"stream": STREAM, "id": 4711})
        got["wrong stream"] = await client.call_tool("where", {"stream": "nowhere", "id": 1})
        return got

    with served(folder, STREAM, token_file=str(token)) as url:
        arguments = ["-m", "edgetwin.cli", "mcp", "--server", url, "--token-file", str(token)]
        return talk(StdioServerParameters(command=sys.executable, args=arguments), use)


@embedded
def test_the_tools_tell_what_the_server_knows(told: dict[str, Any]) -> None:
    (stream,) = told["streams"]["streams"]
    assert (stream["id"], stream["state"]) == (STREAM, "stopped")
    assert "mug" in told["streams"]["words"]
    assert {o["label"] for o in told["list_objects"]["objects"]} >= {"glass", "book"}
    assert told["get_object"]["object"]["label"] == told["where"]["label"]
    assert told["where"]["position_m"][2] > 0.2
    assert told["track"]["total"] > LAST / 2
    assert {row["label"] for row in told["history"]["objects"]} >= {"glass", "book"}
    assert told["events"]["events"] == []
    for tool in ("ask", "where", "track", "list_objects", "history"):
        assert told[tool]["frame_index"] == LAST
        assert told[tool]["age_ms"] > 0


@embedded
def test_answers_and_follow_ups_come_from_its_sessions(told: dict[str, Any]) -> None:
    labels = {o["id"]: o["label"] for o in told["list_objects"]["objects"]}
    assert "glass" in {labels[i] for i in told["ask"]["ids"]}
    assert set(told["again"]["ids"]) <= set(told["ask"]["ids"])


@embedded
def test_masks_and_pictures_are_the_servers(told: dict[str, Any]) -> None:
    record = fact(told["mask"])
    _, picture = image(told["mask"])
    wanted = rle.decode(told["twin"].objects[record["id"]].mask)
    assert np.array_equal(picture == 255, wanted)
    true = truth(STREAM, record["label"])["box_xyxy"]
    assert box_iou(record["box_xyxy"], true) > 0.8
    kind, frame = image(told["frame"])
    assert kind == "image/jpeg"
    assert frame.shape[1] == round(256 * fact(told["frame"])["scale"])


@embedded
def test_what_the_server_refuses_is_told(told: dict[str, Any]) -> None:
    assert "4711" in refusal(told["wrong id"])
    assert "nowhere" in refusal(told["wrong stream"])


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveHub]:
    with LiveHub(load_models("embedded"), folder=tmp_path_factory.mktemp("hub")) as made:
        made.add(StreamSpec(id=STREAM, source=str(ROOT / f"examples/{STREAM}.mp4")))
        stream = made.stream(STREAM)
        moment = None
        while moment is None or moment.twin.index < LAST:
            moment = stream.wait(moment.seq if moment else 0, 30)
            assert moment is not None
        yield made


@embedded
def test_a_hub_and_a_server_over_it_tell_the_same(hub: LiveHub) -> None:
    def facts(backend: Backend) -> list[dict[str, Any]]:
        tools = AgentTools(backend)
        told: list[Any] = [tools.list_objects(STREAM), tools.history(STREAM)]
        for obj in told[0].objects:
            told += [tools.where(STREAM, obj.id), tools.get_object(STREAM, obj.id)]
            track = tools.track(STREAM, obj.id).model_dump(exclude={"age_ms", "moved_m"})
            track["points"] = [(p["timestamp_s"], p["x"], p["y"]) for p in track["points"]]
            told.append(track)
        told.append(tools.relate(STREAM, 1, 2))
        return [
            t if isinstance(t, dict) else t.model_dump(mode="json", exclude={"age_ms"})
            for t in told
        ]

    own, memory = HubBackend(hub), hub.stream(STREAM).memory
    assert memory is not None
    assert memory.sync()  # the same history for both
    with serve(hub, ServeSettings(port=0, token=TOKEN)) as server:
        remote = ServerBackend(server.url, TOKEN)
        try:
            assert facts(remote) == facts(own)
        finally:
            remote.close()


@embedded
def test_an_event_of_a_standing_question_reaches_agents_either_way(hub: LiveHub) -> None:
    clip = str(ROOT / "examples/temporal.mp4")  # a lamp comes in after half a second
    heard: queue.Queue[str] = queue.Queue()
    stop = hub.standing.listen(lambda event: heard.put(event.id))
    hub.add(StreamSpec(id="door", source=clip, live=True, loop=True))
    try:
        hub.standing.add("door", "tell me when a lamp comes in")
        first = heard.get(timeout=30)
        with serve(hub) as server:
            remote = ServerBackend(server.url)
            try:
                own, other = (AgentTools(b).events("door") for b in (HubBackend(hub), remote))
            finally:
                remote.close()
        assert other.events[: len(own.events)] == own.events
        event = own.events[0]
        assert (event.id, event.stream, event.labels) == (first, "door", ["lamp"])
        assert "lamp" in event.question
        assert AgentTools(HubBackend(hub)).events("door", after=own.next_after).truncated is False
    finally:
        stop()
        hub.remove("door")


@embedded
def test_a_wrong_token_and_a_wrong_address_are_told_at_once(hub: LiveHub) -> None:
    before = set(threading.enumerate())
    with (
        serve(hub, ServeSettings(port=0, token=TOKEN)) as server,
        pytest.raises(RefusedError, match="Bearer"),
    ):
        ServerBackend(server.url, "another-token-of-this-length")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with pytest.raises(UnreachableError, match="is it running"):
        ServerBackend(f"http://127.0.0.1:{port}")
    assert set(threading.enumerate()) <= before


def test_the_command_says_in_one_line_that_no_server_is_there() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    got = edgetwin("mcp", "--server", f"http://127.0.0.1:{port}")
    assert got.returncode == 2
    assert "is it running" in got.stderr
    assert len(got.stderr.strip().splitlines()) == 1


def test_what_waits_for_a_silent_server_is_let_go(tmp_path: Path) -> None:
    limits = Limits(
        kinds=[], body_bytes=1, streams=1, sessions=1, questions=1, sockets=1, viewers=1,
        peers=1, rows=1,
    )  # fmt: skip
    info = Info(
        version="0", models={}, words=["cup"], modes=[], limits=limits, streams=[], auth=False,
        webrtc=False,
    )  # fmt: skip
    body = info.model_dump_json().encode()
    over = threading.Event()

    def answer_once() -> None:
        link, _ = listening.accept()
        with link:
            link.recv(65536)
            head = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: "
            link.sendall(head + str(len(body)).encode() + b"\r\n\r\n" + body)
            over.wait(20)  # the next request is read by nobody

    with socket.create_server(("127.0.0.1", 0)) as listening:
        server = threading.Thread(target=answer_once)
        server.start()
        backend = ServerBackend(f"http://127.0.0.1:{listening.getsockname()[1]}")
        failed: list[str] = []

        def ask() -> None:
            try:
                backend.ask("table", "which?", None)
            except EdgeTwinError as error:
                failed.append(str(error))

        asking = threading.Thread(target=ask)
        asking.start()
        time.sleep(0.2)  # so that the question is under way
        began = time.monotonic()
        backend.close()
        asking.join(5)
        assert time.monotonic() - began < 2.0
        assert failed == ["the connection was closed while the server answered"]
        with pytest.raises(EdgeTwinError, match="was closed"):
            backend.streams()
        over.set()
        server.join(5)
    assert not asking.is_alive()
