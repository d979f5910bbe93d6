"""``edgetwin mcp`` as an agent's host runs it: a real process, real videos, the embedded set."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import anyio
import numpy as np
import pytest
from mcp import Client, StdioServerParameters
from typer.testing import CliRunner

from edgetwin.cli import app
from edgetwin.twin import mask as rle
from edgetwin.twin.errors import EdgeTwinError
from edgetwin.twin.geometry import box_iou
from edgetwin.twin.schema import FrameTwin, Rle

from ...test_cli import edgetwin, embedded
from .clients import INITIALIZE, decoded, fact, image, refusal, talk

ROOT = Path(__file__).parents[3]
EDGETWIN = [sys.executable, "-m", "edgetwin.cli"]
STOP_S = 5.0  # under two on an idle machine
SLIDE, HIDE = "affordance", "temporal"  # a bowl slides; a teapot goes behind a bottle


def command(*arguments: str, cwd: Path) -> StdioServerParameters:
    """The installed command line, as a host's configuration names it."""
    env = {"OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "2")}
    return StdioServerParameters(
        command=EDGETWIN[0], args=[*EDGETWIN[1:], "mcp", *arguments], cwd=cwd, env=env
    )


async def over(client: Client, stream: str) -> dict[str, Any]:
    """The stream's status when its file was read and perceived to the end."""
    while True:
        streams = fact(await client.call_tool("list_streams"))["streams"]
        (found,) = [s for s in streams if s["id"] == stream]
        if found["state"] == "stopped" and found["frame_index"] == 31:
            return dict(found)
        await anyio.sleep(0.05)


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What one conversation over two videos told."""
    sources = [f"{name}={ROOT}/examples/{name}.mp4" for name in (SLIDE, HIDE)]

    async def use(client: Client) -> dict[str, Any]:
        got: dict[str, Any] = {"early": await client.call_tool("list_objects", {"stream": SLIDE})}
        for stream in (SLIDE, HIDE):
            got[stream] = await over(client, stream)
            read = await client.read_resource(f"edgetwin://streams/{stream}/twin.json")
            document = json.loads(read.contents[0].text)
            got["twin", stream] = FrameTwin.model_validate(document["frame"])
            got["objects", stream] = fact(
                await client.call_tool("list_objects", {"stream": stream})
            )["objects"]
        ask = {"stream": SLIDE, "question": "what could I drink from?", "session": "new"}
        got["drink"] = fact(await client.call_tool("ask", ask))
        follow = {"stream": SLIDE, "question": "and the leftmost of them?"}
        got["leftmost"] = fact(
            await client.call_tool("ask", {**follow, "session": got["drink"]["session"]})
        )
        got["moved"] = fact(
            await client.call_tool("ask", {"stream": SLIDE, "question": "what moved?"})
        )
        for key, stream, object_id in (
            ("mask", SLIDE, got["drink"]["ids"][0]),
            ("hidden", HIDE, _id(got["objects", HIDE], "teapot")),
        ):
            arguments = {"stream": stream, "id": object_id}
            got[key] = await client.call_tool("mask", arguments)
            got[key, "where"] = fact(await client.call_tool("where", arguments))
            got[key, "track"] = fact(await client.call_tool("track", arguments))
            got[key, "png"] = await client.read_resource(fact(got[key])["uri"])
        got["frame"] = await client.call_tool("frame", {"stream": SLIDE, "ids": [1]})
        got["history"] = fact(await client.call_tool("history", {"stream": SLIDE}))
        got["events"] = fact(await client.call_tool("events", {"stream": SLIDE}))
        got["wrong"] = await client.call_tool("where", {"stream": SLIDE, "id": 4711})
        return got

    return talk(command(*sources, cwd=tmp_path_factory.mktemp("agent")), use)


def _id(objects: list[dict[str, Any]], label: str) -> int:
    (found,) = [o["id"] for o in objects if o["label"] == label]
    return int(found)


def truth(stream: str, category: str, when: str = "last_frame") -> dict[str, Any]:
    document = json.loads((ROOT / f"examples/{stream}.truth.json").read_text())
    (found,) = [o["id"] for o in document["objects"] if o["category"] == category]
    return dict(document[when][str(found)])


@embedded
def test_objects_are_those_of_the_world(told: dict[str, Any]) -> None:
    assert fact(told["early"])["frame_index"] >= 0  # the first call waited for a frame
    labels = {o["label"] for o in told["objects", SLIDE]}
    assert labels >= {"glass", "book", "pan"}
    glass = next(o for o in told["objects", SLIDE] if o["label"] == "glass")
    true = truth(SLIDE, "glass")
    assert box_iou(glass["box_xyxy"], true["box_xyxy"]) > 0.8
    assert glass["depth_unit"] == "m"


@embedded
def test_answers_are_ids_with_reasons_and_follow_ups_lean_on_them(told: dict[str, Any]) -> None:
    labels = {o["id"]: o["label"] for o in told["objects", SLIDE]}
    assert told["drink"]["status"] == "ok"
    assert "glass" in {labels[i] for i in told["drink"]["ids"]}
    assert told["drink"]["rationale"]
    assert told["drink"]["plan"]
    assert told["leftmost"]["status"] in ("ok", "none")
    assert told["moved"]["ids"]


@embedded
def test_a_mask_over_the_wire_is_the_twins_own(told: dict[str, Any]) -> None:
    record = fact(told["mask"])
    kind, picture = image(told["mask"])
    held = told["twin", SLIDE].objects[record["id"]]
    wanted = rle.decode(held.mask)
    assert kind == "image/png"
    assert np.array_equal(picture == 255, wanted)
    assert np.array_equal(rle.decode(Rle(**record["rle"])), wanted)
    contents = told["mask", "png"].contents[0]
    assert contents.mime_type == "image/png"
    assert np.array_equal(decoded(contents.blob) == 255, wanted)
    assert told["mask", "where"]["position_m"][2] > 0.2


@embedded
def test_what_is_hidden_is_told_where_it_was(told: dict[str, Any]) -> None:
    assert truth(HIDE, "teapot")["state"] == "occluded"
    where, record = told["hidden", "where"], fact(told["hidden"])
    assert where["state"] != "visible"
    assert where["unseen_s"] > 0.5
    assert not record["current"]
    assert record["mask_timestamp_s"] == pytest.approx(where["last_seen_s"], abs=0.2)
    assert told["hidden", "track"]["to_s"] == pytest.approx(where["last_seen_s"], abs=0.2)


@embedded
def test_pictures_history_and_errors(told: dict[str, Any]) -> None:
    kind, picture = image(told["frame"])
    assert (kind, picture.shape) == ("image/jpeg", (512, 512, 3))
    assert {row["label"] for row in told["history"]["objects"]} >= {"glass", "book"}
    assert told["events"]["events"] == []
    assert "list_objects" in refusal(told["wrong"])
    assert f"{SLIDE}.mp4" in told[SLIDE]["source"]


@embedded
@pytest.mark.parametrize("when", ["at once", "while watching"])
def test_the_command_ends_with_its_input_and_leaves_nothing(tmp_path: Path, when: str) -> None:
    env = {**os.environ, "TMPDIR": str(tmp_path)}
    pipe = subprocess.PIPE
    arguments = [*EDGETWIN, "mcp", "--loop", "--live", f"cell={ROOT}/examples/{SLIDE}.mp4"]
    with subprocess.Popen(
        arguments, stdin=pipe, stdout=pipe, stderr=pipe, env=env, cwd=tmp_path
    ) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        assert child.stderr is not None
        if when == "while watching":
            child.stdin.write(json.dumps(INITIALIZE).encode() + b"\n")
            child.stdin.flush()
            assert json.loads(child.stdout.readline())["id"] == 1  # it watches by now
        child.stdin.close()
        began = time.monotonic()
        assert child.wait(timeout=30) == 0
        if when == "while watching":
            assert time.monotonic() - began < STOP_S
        assert child.stdout.read() == b""
        assert child.stderr.read() == b""
    assert list(tmp_path.iterdir()) == []  # the temporary folder went with it


@embedded
def test_the_same_over_http_until_it_is_told_to_end(tmp_path: Path) -> None:
    env = {**os.environ, "TMPDIR": str(tmp_path)}
    clip = f"{SLIDE}={ROOT}/examples/{SLIDE}.mp4"
    arguments = [*EDGETWIN, "mcp", "--http", "--port", "0", clip]

    async def use(client: Client) -> tuple[Any, ...]:
        await over(client, SLIDE)
        question = {"stream": SLIDE, "question": "what could I drink from?"}
        answer = fact(await client.call_tool("ask", question))
        twin = await client.read_resource(f"edgetwin://streams/{SLIDE}/twin.json")
        mask = await client.read_resource(answer["objects"][0]["mask_uri"])
        return answer, json.loads(twin.contents[0].text), decoded(mask.contents[0].blob)

    with subprocess.Popen(arguments, stderr=subprocess.PIPE, text=True, env=env) as child:
        assert child.stderr is not None
        address = child.stderr.readline().split()[-1]
        answer, twin, mask = talk(address, use)
        child.terminate()
        assert child.wait(timeout=10) == 0
        assert child.stderr.read() == ""
    held = FrameTwin.model_validate(twin["frame"]).objects[answer["ids"][0]]
    assert np.array_equal(mask == 255, rle.decode(held.mask))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "got neither"),
        (("clip.mp4", "--server", "http://127.0.0.1:1"), "got both"),
        (("nothing-there.mp4",), "nothing-there.mp4"),
        (("clip.mp4", "--http", "--host", "0.0.0.0"), "expected a token"),
        (("--server", "rtsp://camera"), "expected a server's address"),
        (("clip.mp4", "--fps", "0"), "a rate in (0, 240]"),
    ],
)
def test_wrong_options_are_refused_before_anything_is_served(
    arguments: tuple[str, ...], said: str
) -> None:
    got = CliRunner().invoke(app, ["mcp", *arguments])
    assert isinstance(got.exception, EdgeTwinError)
    assert said in str(got.exception)


def test_a_refusal_is_one_line_and_exit_code_2() -> None:
    got = edgetwin("mcp")
    assert got.returncode == 2
    assert got.stdout == ""
    assert got.stderr.startswith("error: expected sources, or --server URL")
    assert len(got.stderr.strip().splitlines()) == 1
