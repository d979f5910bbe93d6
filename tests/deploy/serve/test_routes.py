"""What every route gives, over HTTP, on a hub that runs; its OpenAPI tells the truth."""

from __future__ import annotations

import io
import json
import re
import time
from pathlib import Path
from typing import Any

import httpx2
import jsonschema
import numpy as np
import pytest
from PIL import Image

from edgetwin.deploy.live.hub import LiveHub
from edgetwin.deploy.live.records import StreamStatus
from edgetwin.deploy.serve.config import ServeSettings
from edgetwin.twin import mask as rle
from edgetwin.twin.schema import FrameTwin, Rle

from .conftest import VIDEO
from .served import Served, serve

TABLE = "/api/streams/table"
DRINK = "what could I drink from?"


def test_probes(web: httpx2.Client) -> None:
    assert web.get("/healthz").json() == {"status": "ok"}
    assert web.get("/readyz").status_code == 200


def test_info_says_what_it_is(web: httpx2.Client) -> None:
    info = web.get("/api/info").json()
    assert "mug" in info["words"]
    assert "concise" in info["modes"]
    assert info["limits"]["kinds"] == ["rtsp", "simulated"]
    assert info["streams"] == ["table"]
    assert info["auth"] is False
    assert set(info["models"]) >= {"detector", "segmenter", "depth", "reasoner"}


def test_a_stream_and_its_counts(web: httpx2.Client) -> None:
    status = StreamStatus.model_validate(web.get(TABLE).json())
    frames = status.frames
    assert frames.read == frames.processed + frames.in_flight + sum(frames.dropped.values())
    assert status.source.kind == "video"
    assert status.age_ms is not None
    assert 0 <= status.age_ms < 5000
    assert [s["id"] for s in web.get("/api/streams").json()["streams"]] == ["table"]


def test_streams_come_and_go(hub: LiveHub) -> None:
    settings = ServeSettings(port=0, media=VIDEO.parent)
    with serve(hub, settings) as served, httpx2.Client(base_url=served.url, timeout=20) as web:
        body = {"source": VIDEO.name, "id": "second", "loop": True, "live": True}
        got = web.post("/api/streams", json=body)
        assert got.status_code == 201
        assert StreamStatus.model_validate(got.json()).id == "second"
        assert web.post("/api/streams", json=body).status_code == 400
        deadline = time.monotonic() + 20
        while web.get("/api/streams/second/twin").status_code == 503:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        assert web.get("/api/streams/second/frame.jpg").status_code == 200
        assert web.delete("/api/streams/second").status_code == 204
        assert web.get("/api/streams/second").status_code == 404


def test_before_the_first_frame_one_is_told_to_come_back(hub: LiveHub) -> None:
    with serve(hub) as served, httpx2.Client(base_url=served.url, timeout=20) as web:
        body = {"source": "rtsp://me:pl4nted@127.0.0.1:1/x", "id": "dead", "record": False}
        added = web.post("/api/streams", json=body)
        assert added.status_code == 201
        try:
            assert "pl4nted" not in added.text
            for path in ("twin", "frame.jpg", "masks", "masks.png", "objects", "video.mjpeg"):
                got = web.get(f"/api/streams/dead/{path}")
                assert got.status_code == 503, path
                assert int(got.headers["retry-after"]) >= 1
            assert web.get("/api/streams/dead/history").status_code == 400  # is not recorded
        finally:
            web.delete("/api/streams/dead")


def test_the_newest_frame_and_its_twin(web: httpx2.Client) -> None:
    got = web.get(f"{TABLE}/frame.jpg")
    assert got.headers["content-type"] == "image/jpeg"
    assert Image.open(io.BytesIO(got.content)).size == (256, 256)
    assert float(got.headers["x-age-ms"]) < 5000
    twin = web.get(f"{TABLE}/twin").json()
    assert FrameTwin.model_validate(twin["frame"]).index >= int(got.headers["x-frame-index"])


def test_an_overlay_is_drawn_on_the_objects_named(web: httpx2.Client) -> None:
    def red(query: str) -> np.ndarray[Any, Any]:
        data = web.get(f"{TABLE}/frame.jpg?{query}").content
        return np.asarray(Image.open(io.BytesIO(data)).convert("RGB")).astype(int)

    masks = web.get(f"{TABLE}/masks").json()["masks"]
    key, record = next(iter(masks.items()))
    mask_hw = rle.decode(Rle.model_validate(record))
    plain, drawn = red("overlay=0"), red(f"overlay=1&ids={key}")
    changed = np.abs(plain - drawn).mean(axis=2)
    assert changed[mask_hw].mean() > 5 * changed[~mask_hw].mean()


def test_masks_as_runs_and_as_a_picture(web: httpx2.Client) -> None:
    got = web.get(f"{TABLE}/masks").json()
    assert got["size"] == [256, 256]
    assert got["masks"]
    key = next(iter(got["masks"]))
    assert set(web.get(f"{TABLE}/masks?ids={key}").json()["masks"]) == {key}
    picture = Image.open(io.BytesIO(web.get(f"{TABLE}/masks.png?ids={key}").content))
    assert picture.mode == "P"
    drawn = np.asarray(picture) == int(key)
    mask_hw = rle.decode(Rle.model_validate(got["masks"][key]))
    assert (drawn & mask_hw).sum() > 0.5 * (drawn | mask_hw).sum()  # a frame or two later


def test_objects_and_their_paths(web: httpx2.Client) -> None:
    found = web.get(f"{TABLE}/objects").json()["objects"]
    assert found
    one = web.get(f"{TABLE}/objects/{found[0]['id']}").json()
    assert one["object"]["id"] == found[0]["id"]
    times = [t for t, _, _ in one["path"]]
    assert times == sorted(times)
    assert one["timestamp_s"] >= times[0]


def test_history_by_time_label_and_id(web: httpx2.Client) -> None:
    deadline = time.monotonic() + 10
    while not (rows := web.get(f"{TABLE}/history?limit=20").json()["rows"]):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    label, key = rows[-1]["label"], rows[-1]["id"]
    ats = [row["at"] for row in rows]
    assert ats == sorted(ats)
    by_label = web.get(f"{TABLE}/history", params={"label": label, "limit": 5}).json()["rows"]
    assert {row["label"] for row in by_label} == {label}
    by_id = web.get(f"{TABLE}/history", params={"object_id": key, "limit": 5}).json()["rows"]
    assert {row["id"] for row in by_id} == {key}
    later = web.get(f"{TABLE}/history", params={"start_at": ats[0], "limit": 3}).json()
    assert min(row["at"] for row in later["rows"]) >= ats[0]
    assert later["truncated"] is True
    lives = web.get(f"{TABLE}/history?by=object").json()["rows"]
    assert {row["id"] for row in lives} >= {key}
    assert all(row["first_at"] <= row["last_at"] for row in lives)
    long_ago = web.get(f"{TABLE}/history", params={"by": "object", "end_at": 1}).json()
    assert long_ago["rows"] == []


def test_an_answer_has_ids_masks_and_how_old_it_is(web: httpx2.Client) -> None:
    got = web.post(f"{TABLE}/questions", json={"question": DRINK})
    assert got.status_code == 200
    record = got.json()
    assert record["status"] == "ok"
    assert record["ids"] == [obj["id"] for obj in record["objects"]]
    assert {obj["label"] for obj in record["objects"]} <= {"mug", "glass", "bottle", "bowl"}
    assert set(record["masks"]) == {str(key) for key in record["ids"]}
    for mask in record["masks"].values():
        assert rle.area(Rle.model_validate(mask)) > 0
    assert 0 <= record["age_ms"] < 5000
    assert record["plan"]
    assert record["rationale"]
    kept = web.get(f"{TABLE}/questions").json()["answers"]
    assert kept[-1]["question"] == DRINK


def events(text: str) -> list[tuple[str, Any]]:
    found = re.findall(r"event: (\w+)\ndata: (.*)\n\n", text)
    assert "".join(f"event: {k}\ndata: {d}\n\n" for k, d in found) == text
    return [(kind, json.loads(data)) for kind, data in found]


def test_an_answer_streams_its_rationale_plan_and_results(web: httpx2.Client) -> None:
    body = {"question": DRINK, "stream": True}
    with web.stream("POST", f"{TABLE}/questions", json=body) as got:
        assert got.headers["content-type"].startswith("text/event-stream")
        told = events(got.read().decode())
    kinds = [kind for kind, _ in told]
    assert kinds[-1] == "answer"
    assert kinds.count("text") >= 2
    assert kinds.index("text") < kinds.index("plan") < kinds.index("results")
    record = told[-1][1]
    text = "".join(data["text"] for kind, data in told if kind == "text")
    assert text.strip() == record["rationale"]
    assert dict(told)["plan"] == record["plan"]
    assert dict(told)["results"] == record["results"]


def test_a_streamed_question_is_refused_as_an_answer(web: httpx2.Client) -> None:
    body = {"question": DRINK, "stream": True}
    got = web.post("/api/streams/nope/questions", json=body)
    assert got.status_code == 404
    assert got.json()["error"]["code"] == "unknown"


def test_conversations_see_their_earlier_questions(web: httpx2.Client) -> None:
    begun = web.post("/api/sessions", json={"stream": "table"})
    assert begun.status_code == 201
    session = begun.json()["session"]
    first = web.post(f"{TABLE}/questions", json={"question": DRINK, "session": session}).json()
    second = web.post(
        f"{TABLE}/questions", json={"question": "which of them is leftmost?", "session": session}
    ).json()
    assert first["status"] == "ok"
    assert second["status"] in ("ok", "stale", "none")
    listed = web.get("/api/sessions").json()["sessions"]
    assert [s["questions"] for s in listed if s["session"] == session] == [2]
    assert web.delete(f"/api/sessions/{session}").status_code == 204
    assert web.delete(f"/api/sessions/{session}").status_code == 404


def test_openapi_is_documented_with_examples(web: httpx2.Client) -> None:
    api = web.get("/api/openapi.json").json()
    assert api["info"]["title"] == "EdgeTwin"
    ids = []
    for path, methods in api["paths"].items():
        for method, operation in methods.items():
            assert operation["summary"], (method, path)
            assert operation["description"], (method, path)
            ids.append(operation["operationId"])
    assert len(set(ids)) == len(ids) >= 25
    schemas = api["components"]["schemas"]
    for name in ("Question", "StandingQuestion", "AnswerRecord", "ErrorBody", "Chat"):
        for example in schemas[name]["examples"]:
            jsonschema.validate(example, {**schemas[name], "components": api["components"]})


@pytest.mark.parametrize(
    ("method", "path", "template", "body"),
    [
        ("GET", "/api/info", "/api/info", None),
        ("GET", "/api/streams", "/api/streams", None),
        ("GET", TABLE, "/api/streams/{id}", None),
        ("GET", f"{TABLE}/twin", "/api/streams/{id}/twin", None),
        ("GET", f"{TABLE}/masks", "/api/streams/{id}/masks", None),
        ("GET", f"{TABLE}/objects", "/api/streams/{id}/objects", None),
        ("GET", f"{TABLE}/history?limit=3", "/api/streams/{id}/history", None),
        ("GET", f"{TABLE}/standing", "/api/streams/{id}/standing", None),
        ("GET", "/api/events", "/api/events", None),
        ("GET", "/api/sessions", "/api/sessions", None),
        ("GET", "/v1/models", "/v1/models", None),
        ("POST", f"{TABLE}/questions", "/api/streams/{id}/questions", {"question": DRINK}),
        (
            "POST",
            "/v1/chat/completions",
            "/v1/chat/completions",
            {"messages": [{"role": "user", "content": DRINK}]},
        ),
        ("GET", "/api/streams/nope", "/api/streams/{id}", None),
    ],
)
def test_openapi_tells_what_comes(
    web: httpx2.Client, method: str, path: str, template: str, body: object
) -> None:
    api = web.get("/api/openapi.json").json()
    got = web.request(method, path, json=body)
    told = api["paths"][template][method.lower()]["responses"][str(got.status_code)]
    schema = told["content"]["application/json"]["schema"]
    jsonschema.validate(got.json(), {**schema, "components": api["components"]})


def test_metrics_count_what_happened(web: httpx2.Client) -> None:
    def figure(name: str) -> float:
        text = web.get("/metrics").text
        found = re.search(rf"^{re.escape(name)} (\S+)$", text, re.MULTILINE)
        return float(found[1]) if found else 0.0

    ok = 'edgetwin_answers_total{status="ok"}'
    before, seconds = figure(ok), figure("edgetwin_answer_seconds_count")
    web.post(f"{TABLE}/questions", json={"question": DRINK})
    assert figure(ok) == before + 1
    assert figure("edgetwin_answer_seconds_count") == seconds + 1
    assert figure('edgetwin_frames_total{fate="processed",stream="table"}') > 0
    assert figure('edgetwin_source_state{state="running",stream="table"}') == 1
    assert figure('edgetwin_age_seconds{stream="table"}') < 5
    assert figure('edgetwin_places_used{of="questions"}') == 0
    for name in ("edgetwin_fps", "edgetwin_questions", "edgetwin_viewer_frames_dropped"):
        assert name in web.get("/metrics").text


def test_two_servers_do_not_share_figures(hub: LiveHub, served: Served) -> None:
    def count(server: Served) -> float:
        text = httpx2.get(f"{server.url}/metrics").text
        return float(re.findall(r"edgetwin_answer_seconds_count (\S+)", text)[0])

    before = count(served)
    with serve(hub) as other:
        httpx2.post(f"{other.url}{TABLE}/questions", json={"question": DRINK}, timeout=20)
        assert count(other) == 1
    assert count(served) == before


def test_the_page_folder_is_packaged() -> None:
    assert (Path(__file__).parents[3] / "deploy" / "serve" / "page" / "index.html").is_file()
