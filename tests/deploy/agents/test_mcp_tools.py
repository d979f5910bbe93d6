"""What the tools tell, through the SDK's client, over hand-made twins."""

from __future__ import annotations

import json
import threading
from typing import Any

import anyio
import jsonschema
import numpy as np
import pytest
from mcp import Client, MCPError
from mcp_types import ErrorData, ResourceTemplateReference

from edgetwin.deploy.agents.mcp_server import TwinServer
from edgetwin.twin import mask as rle
from edgetwin.twin.schema import FrameTwin, Rle
from edgetwin.twin.window import TwinWindow

from ...twin.build import frame
from .clients import call, decoded, fact, image, refusal, talk
from .fakes import HOSTILE, SIZE, FakeBackend, masked

TOOLS: dict[str, dict[str, Any]] = {
    "list_streams": {},
    "list_objects": {"stream": "cell"},
    "get_object": {"stream": "cell", "id": 1},
    "where": {"stream": "cell", "id": 2},
    "track": {"stream": "cell", "id": 1},
    "relate": {"stream": "cell", "a": 1, "b": 3},
    "ask": {"stream": "cell", "question": "what is blue?"},
    "history": {"stream": "cell"},
    "events": {"stream": "cell"},
    "mask": {"stream": "cell", "id": 1},
    "frame": {"stream": "cell", "overlay": True},
}
NOW = 119  # index of the newest hand-made frame


@pytest.fixture
def backend() -> FakeBackend:
    return FakeBackend()


@pytest.fixture
def server(backend: FakeBackend) -> TwinServer:
    return TwinServer(backend)


def test_every_tool_reads_only_and_says_when_to_use_it(server: TwinServer) -> None:
    found = talk(server, lambda client: client.list_tools()).tools
    assert {tool.name for tool in found} == set(TOOLS)
    for tool in found:
        assert tool.annotations is not None
        assert tool.annotations.read_only_hint
        assert tool.annotations.destructive_hint is False
        assert len(tool.description or "") > 80
        assert tool.output_schema is not None
        assert all("description" in json.dumps(p) for p in tool.input_schema["properties"].values())


@pytest.mark.parametrize("name", TOOLS)
def test_what_a_tool_gives_fits_its_schema_and_says_its_age(server: TwinServer, name: str) -> None:
    async def use(client: Client) -> tuple[Any, Any]:
        tools = {tool.name: tool for tool in (await client.list_tools()).tools}
        return tools[name].output_schema, await client.call_tool(name, dict(TOOLS[name]))

    schema, result = talk(server, use)
    told = fact(result)
    jsonschema.validate(told, schema)
    for record in told.get("streams", [told])[:1]:
        assert record["age_ms"] == (88.0 if name == "ask" else 120.0)
        assert record["frame_index"] == (118 if name == "ask" else NOW)


def test_words_of_cameras_and_people_are_data(server: TwinServer) -> None:
    for name, arguments in TOOLS.items():
        said = json.dumps(fact(call(server, name, **arguments)), ensure_ascii=False)
        plan = said.replace('"$1"', "")
        assert not set("<>`$＜\u202e") & set(plan), said
        assert HOSTILE not in said
        assert "{{" not in said
    assert fact(call(server, "get_object", stream="cell", id=3))["object"]["attributes"] == {
        "i": "a",
        "color": "b blue",
    }


def test_objects_are_listed_by_label_and_what_is_left_out_is_said(server: TwinServer) -> None:
    told = fact(call(server, "list_objects", stream="cell"))
    assert [o["id"] for o in told["objects"]] == [1, 3, 2, 4]
    states = {o["id"]: o["state"] for o in told["objects"]}
    assert states == {1: "visible", 3: "visible", 2: "occluded", 4: "left"}
    cups = fact(call(server, "list_objects", stream="cell", label="Cup"))
    assert [o["id"] for o in cups["objects"]] == [1]
    none = fact(call(server, "list_objects", stream="cell", label="dragon"))
    assert none["total"] == 0
    assert "ball, cup, die" in none["note"]
    two = fact(call(server, "list_objects", stream="cell", limit=2))
    assert (len(two["objects"]), two["total"], two["truncated"]) == (2, 4, True)


def test_where_tells_boxes_metres_and_how_long_unseen(server: TwinServer) -> None:
    cup = fact(call(server, "where", stream="cell", id=1))
    assert cup["box_xyxy"] == [149.0, 50.0, 169.0, 70.0]
    assert cup["position_m"] == [pytest.approx(0.1 * NOW / 8, abs=1e-4), 0.0, 1.0]
    assert (cup["depth"], cup["depth_unit"], cup["unseen_s"]) == (1.0, "m", 0.0)
    ball = fact(call(server, "where", stream="cell", id=2))
    assert (ball["state"], ball["position_m"]) == ("occluded", None)
    assert ball["unseen_s"] == pytest.approx((NOW - 15) / 8, abs=1e-3)
    assert "last seen" in ball["note"]
    assert fact(call(server, "where", stream="cell", id=4))["state"] == "left"


def test_a_track_is_bounded_in_time_and_points(server: TwinServer) -> None:
    told = fact(call(server, "track", stream="cell", id=1, seconds=5, limit=9))
    assert (told["total"], len(told["points"]), told["truncated"]) == (41, 9, True)
    assert (told["from_s"], told["to_s"]) == (9.875, 14.875)
    assert told["points"][0]["x"] == 40 + 79
    assert told["points"][-1]["x"] == 40 + NOW
    assert told["moved_px"] == 40.0
    assert told["moved_m"] == pytest.approx(0.5, abs=1e-4)
    gone = fact(call(server, "track", stream="cell", id=2, seconds=1))
    assert (gone["points"], gone["total"], gone["moved_m"]) == ([], 0, None)
    assert "ask for more" in gone["note"]


def test_two_objects_are_compared(server: TwinServer) -> None:
    told = fact(call(server, "relate", stream="cell", a=1, b=3))
    assert told["relations"] == ["left_of", "above", "in_front_of"]
    assert told["distance_px"] == pytest.approx(np.hypot(41, 140), abs=0.1)
    assert told["distance_m"] is None  # one of them has no metres
    hidden = fact(call(server, "relate", stream="cell", a=2, b=1))
    assert "not visible now" in hidden["note"]
    assert "two different" in refusal(call(server, "relate", stream="cell", a=1, b=1))


def test_a_mask_is_the_twins_own(server: TwinServer, backend: FakeBackend) -> None:
    result = call(server, "mask", stream="cell", id=1)
    kind, picture = image(result)
    told = fact(result)
    wanted = rle.decode(backend.window.last.objects[1].mask)
    assert kind == "image/png"
    assert picture.shape == (SIZE, SIZE)
    assert np.array_equal(picture == 255, wanted)
    assert np.array_equal(rle.decode(Rle(**told["rle"])), wanted)
    assert told["current"]


def test_a_hidden_objects_mask_is_its_last_and_marked(server: TwinServer) -> None:
    result = call(server, "mask", stream="cell", id=2)
    told = fact(result)
    assert (told["current"], told["state"], told["mask_frame_index"]) == (False, "occluded", 15)
    assert "last mask" in told["note"]
    assert image(result)[1].any()


def test_a_frame_is_a_picture_and_draws_what_is_meant(server: TwinServer) -> None:
    kind, plain = image(call(server, "frame", stream="cell"))
    assert (kind, plain.shape) == ("image/jpeg", (SIZE, SIZE, 3))
    told = call(server, "frame", stream="cell", ids=[1])
    _, marked = image(told)
    assert fact(told)["scale"] == marked.shape[1] / SIZE == 2.0
    cup = marked[100:140, 298:338].astype(int)  # its box, drawn at twice the size
    assert np.ptp(cup, axis=2).max() > 80  # coloured on grey
    wrong = refusal(call(server, "frame", stream="cell", ids=[4]))
    assert "list_objects" in wrong


def test_answers_name_ids_and_sessions_go_on(server: TwinServer, backend: FakeBackend) -> None:
    first = fact(call(server, "ask", stream="cell", question="which?", session="new"))
    assert (first["ids"], first["session"], first["status"]) == ([3], "s-1", "ok")
    assert first["objects"][0]["mask_uri"] == "edgetwin://streams/cell/objects/3/mask.png"
    assert first["plan"] == [{"tool": "find", "label": "cup"}, {"tool": "nearest", "to": "$1"}]
    call(server, "ask", stream="cell", question="and now?", session="s-1")
    assert backend.asked == [("which?", "s-1"), ("and now?", "s-1")]


def test_history_and_events_are_bounded_and_read_on(server: TwinServer) -> None:
    told = fact(call(server, "history", stream="cell", limit=100))
    assert (len(told["objects"]), told["truncated"]) == (100, True)
    few = fact(call(server, "history", stream="cell", label="cup"))
    assert {o["label"] for o in few["objects"]} == {"cup"}
    late = fact(call(server, "history", stream="cell", since_s=35))
    assert [o["id"] for o in late["objects"]] == [1, 2, 3]
    none = fact(call(server, "history", stream="cell", since_s=5))
    assert none["objects"] == []
    assert none["note"]
    page = fact(call(server, "events", limit=20))
    assert [e["id"] for e in page["events"]] == [f"e{i:03}" for i in range(10, 30)]
    assert (page["truncated"], page["next_after"]) == (True, "e029")
    first = fact(call(server, "events", limit=20, after="e004"))
    assert (first["events"][0]["id"], first["next_after"]) == ("e005", "e024")
    rest = fact(call(server, "events", limit=20, after="e024"))
    assert ([e["id"] for e in rest["events"]][-1], rest["truncated"]) == ("e029", False)
    end = fact(call(server, "events", after="e029"))
    assert (end["events"], end["next_after"]) == ([], "e029")


@pytest.mark.parametrize(
    ("name", "arguments", "said"),
    [
        ("where", {"stream": "nowhere", "id": 1}, "one of the streams cell, dark"),
        ("where", {"stream": "dark", "id": 1}, "got none yet"),
        ("where", {"stream": "cell", "id": 77}, "got 77"),
        ("where", {"stream": "cell", "id": 0}, "wrong arguments for where: id:"),
        ("where", {"stream": "../etc", "id": 1}, "wrong arguments for where: stream:"),
        ("where", {"stream": "cell"}, "wrong arguments for where: id:"),
        ("track", {"stream": "cell", "id": 1, "seconds": -1}, "seconds"),
        ("track", {"stream": "cell", "id": 1, "limit": 10**9}, "limit"),
        ("ask", {"stream": "cell", "question": "x" * 2001}, "question"),
        ("frame", {"stream": "cell", "ids": list(range(1, 20))}, "ids"),
        ("mask", {"stream": "cell", "id": 2**40}, "id"),
        ("no_such_tool", {}, "no_such_tool"),
    ],
)
def test_wrong_calls_are_tool_errors_that_say_what_to_do(
    server: TwinServer, name: str, arguments: dict[str, Any], said: str
) -> None:
    told = refusal(call(server, name, **arguments))
    assert said in told
    assert len(told) < 1200
    assert "Traceback" not in told


def test_a_busy_hub_is_told(server: TwinServer, backend: FakeBackend) -> None:
    backend.busy = True
    told = refusal(call(server, "ask", stream="cell", question="which?"))
    assert "ask again" in told


def test_a_crash_tells_no_details(server: TwinServer, backend: FakeBackend) -> None:
    backend.window = TwinWindow()  # what the fake asserts against
    told = refusal(call(server, "where", stream="cell", id=1))
    assert told == "Error executing tool where"


def test_more_than_fits_is_cut_and_said() -> None:
    crowd: FrameTwin = frame(0, [masked(i, f"thing {i}", 50, 50) for i in range(1, 301)])
    server = TwinServer(FakeBackend([crowd]))
    for limit in (25, 50):  # what it is if left out, and the most there is
        given = {} if limit == 25 else {"limit": limit}
        told = fact(call(server, "list_objects", stream="cell", **given))
        assert (len(told["objects"]), told["total"], told["truncated"]) == (limit, 300, True)
    read = talk(server, lambda c: c.read_resource("edgetwin://streams/cell/twin.json"))
    document = json.loads(read.contents[0].text)
    assert (len(document["frame"]["objects"]), document["truncated"]) == (200, True)


def test_resources_are_listed_and_read(server: TwinServer, backend: FakeBackend) -> None:
    async def use(client: Client) -> tuple[Any, ...]:
        root = "edgetwin://streams/cell"
        return (
            await client.list_resources(),
            await client.list_resource_templates(),
            await client.read_resource(f"{root}/frame.jpg"),
            await client.read_resource(f"{root}/overlay.jpg"),
            await client.read_resource(f"{root}/twin.json"),
            await client.read_resource(f"{root}/objects/1/mask.png"),
        )

    listed, templates, picture, overlay, twin, mask = talk(server, use)
    uris = {str(r.uri) for r in listed.resources}
    assert "edgetwin://streams/cell/frame.jpg" in uris
    assert len(templates.resource_templates) == 4
    assert picture.contents[0].mime_type == "image/jpeg"
    assert decoded(picture.contents[0].blob).shape == (SIZE, SIZE, 3)
    assert decoded(overlay.contents[0].blob).shape == (2 * SIZE, 2 * SIZE, 3)
    document = json.loads(twin.contents[0].text)
    held = FrameTwin.model_validate(document["frame"])
    assert (held.index, document["age_ms"]) == (NOW, 120.0)
    assert "<" not in held.objects[3].semantic_label
    wanted = rle.decode(backend.window.last.objects[1].mask)
    assert np.array_equal(decoded(mask.contents[0].blob) == 255, wanted)


def unread(server: TwinServer, uri: str) -> ErrorData:
    """What a refused read says."""

    async def use(client: Client) -> ErrorData:
        with pytest.raises(MCPError) as told:
            await client.read_resource(uri)
        return told.value.error

    return talk(server, use)


@pytest.mark.parametrize(
    "uri",
    [
        "edgetwin://streams/nowhere/frame.jpg",
        "edgetwin://streams/cell/objects/77/mask.png",
        "edgetwin://streams/cell/objects/0x1/mask.png",
        "edgetwin://streams/..%2f..%2fetc/frame.jpg",
        "edgetwin://streams/cell/../../etc/passwd",
        "edgetwin://streams/CELL/twin.json",
        "file:///etc/passwd",
    ],
)
def test_resources_that_are_not_there_are_told(server: TwinServer, uri: str) -> None:
    assert unread(server, uri).code == -32602


def test_a_stream_without_a_frame_has_no_picture_yet(server: TwinServer) -> None:
    assert "got none yet" in unread(server, "edgetwin://streams/dark/frame.jpg").message


def test_ids_are_completed(server: TwinServer) -> None:
    ref = ResourceTemplateReference(uri="edgetwin://streams/{stream}/objects/{id}/mask.png")

    async def use(client: Client) -> tuple[list[str], list[str]]:
        streams = await client.complete(ref, {"name": "stream", "value": "c"})
        ids = await client.complete(
            ref, {"name": "id", "value": ""}, context_arguments={"stream": "cell"}
        )
        return streams.completion.values, ids.completion.values

    assert talk(server, use) == (["cell"], ["1", "2", "3", "4"])


def test_waiting_questions_do_not_hold_up_looking(server: TwinServer, backend: FakeBackend) -> None:
    backend.holding = threading.Event()

    async def use(client: Client) -> str:
        async with anyio.create_task_group() as group:
            arguments = {"stream": "cell", "question": "which?"}
            for _ in range(12):
                group.start_soon(client.call_tool, "ask", arguments)
            await anyio.to_thread.run_sync(backend.began.wait)
            told = await client.call_tool("where", {"stream": "cell", "id": 1})
            group.cancel_scope.cancel()
        return str(fact(told)["label"])

    assert talk(server, use) == "cup"
    backend.holding.set()
