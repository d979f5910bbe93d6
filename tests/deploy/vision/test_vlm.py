"""The direct policy end to end: the exact picture and prompt, boxes and points to masks."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any, get_args

import cv2
import numpy as np
import pytest

from edgetwin.deploy.vision.base import Proposer
from edgetwin.deploy.vision.pictures import FAMILIES
from edgetwin.deploy.vision.responder import load_proposer
from edgetwin.deploy.vision.vlm import prompt
from edgetwin.perception.bundle import load_bundle
from edgetwin.reasoner.models.endpoint import Endpoint
from edgetwin.reasoner.prompts import Mode
from edgetwin.tests.reasoner.loopback import Loopback, said, serving
from edgetwin.twin.errors import InputError

from .truth import frames, iou, pictures_of, text_of, true_box, true_mask, truths

GLASS, BOOK, PAN, LAMP, BOTTLE, SCISSORS = range(1, 7)
QUESTION = "what could I drink from?"
BUNDLE = load_bundle("embedded")


@pytest.fixture(scope="module")
def server() -> Iterator[Loopback]:
    with serving() as loopback:
        yield loopback


@pytest.fixture(autouse=True)
def _fresh(server: Loopback) -> None:
    server.asked.clear()
    server.script.clear()


def vlm(server: Loopback, name: str = "seer", **options: Any) -> Proposer:
    return load_proposer("vlm", Endpoint(server.url, name, timeout_s=5), BUNDLE, **options)


def entry(
    object_id: int, scale: float, *, label: str = "thing", point: bool = True
) -> dict[str, Any]:
    """What a model that sees well says, ``scale`` of its units per pixel of the frame."""
    place = truths()[0].objects[object_id]
    given: dict[str, Any] = {"bbox_2d": [round(v * scale) for v in place.box_xyxy], "label": label}
    if point:
        ys, xs = np.nonzero(true_mask(object_id))
        middle = int(((xs - xs.mean()) ** 2 + (ys - ys.mean()) ** 2).argmin())
        given["point_2d"] = [round((xs[middle] + 0.5) * scale), round((ys[middle] + 0.5) * scale)]
    return given


def reply(*entries: dict[str, Any]) -> str:
    return f"<think>One drinks from a glass.</think><answer>{json.dumps(entries)}</answer>"


@pytest.mark.parametrize(
    ("family", "side", "scale"),
    [("qwen2.5-vl", 448, 448 / 256), ("seg-zero", 840, 840 / 256), ("qwen3-vl", 448, 1000 / 256)],
)
def test_the_exact_request_and_a_mask_close_to_the_truth(
    server: Loopback, family: str, side: int, scale: float
) -> None:
    server.script.append(said(reply(entry(GLASS, scale, label="the glass"))))
    found = vlm(server, family=family).propose(frames()[0], QUESTION)
    (asked,) = server.asked
    (picture,) = pictures_of(asked)
    want = cv2.resize(frames()[0], (side, side), interpolation=cv2.INTER_CUBIC)
    np.testing.assert_array_equal(picture, want)
    text = text_of(asked)
    assert text == prompt(QUESTION, FAMILIES[family], (side, side))
    assert f'Please find "{QUESTION}" with bboxs and points.' in text
    units = "0 to 1000" if family == "qwen3-vl" else f"the picture is {side} wide and {side} high"
    assert units in text
    assert (found.status, found.labels) == ("ok", ("glass",))
    assert iou(found.masks_nhw[0], true_mask(GLASS)) > 0.85
    assert found.rationale == "One drinks from a glass."
    (traced,) = found.trace["objects"]
    np.testing.assert_allclose(traced["box_xyxy"], true_box(GLASS), atol=0.6)
    json.dumps(found.trace)


def test_every_object_has_its_mask(server: Loopback) -> None:
    ids = (GLASS, BOOK, PAN, LAMP, BOTTLE, SCISSORS)
    server.script.append(said(reply(*(entry(i, 1000 / 256, point=i % 2 == 0) for i in ids))))
    found = vlm(server).propose(frames()[0], "everything")
    assert len(found) == 6
    for row, object_id in enumerate(ids):
        assert iou(found.masks_nhw[row], true_mask(object_id)) > (0.7 if object_id == SCISSORS else 0.85)  # fmt: skip


def test_points_help_where_boxes_are_wrong(server: Loopback) -> None:
    entries = [entry(i, 1000 / 256) for i in (GLASS, BOOK, PAN, LAMP, BOTTLE)]
    for given in entries:
        x0, y0, x1, y1 = given["bbox_2d"]
        given["bbox_2d"] = [x0 - (x1 - x0) // 3, y0, x1 + (x1 - x0) // 3, y1 - (y1 - y0) // 4]
    boxes = [{**given} for given in entries]
    for given in boxes:
        del given["point_2d"]
    points = [{"point_2d": given["point_2d"]} for given in entries]
    server.script += [said(reply(*part)) for part in (entries, boxes, points)]
    policy = vlm(server)
    means = []
    for _ in range(3):
        found = policy.propose(frames()[0], "everything")
        means.append(np.mean([iou(found.masks_nhw[k], true_mask(k + 1)) for k in range(5)]))
    both, box_only, point_only = means
    assert both > box_only + 0.05
    assert point_only > 0.8


@pytest.mark.parametrize("mode", get_args(Mode))
def test_modes_ask_for_what_they_are_called(server: Loopback, mode: Mode) -> None:
    words = {
        "concise": "at most 25 words",
        "sentence": "(one sentence)",
        "detailed": "step by step",
        "description": "<description>description here</description>",
    }
    thing = reply(entry(GLASS, 1000 / 256)).replace(
        "</think>", "</think><description>the purple glass at the top</description>"
    )
    server.script.append(said(thing))
    found = vlm(server, mode=mode).propose(frames()[0], QUESTION)
    assert words[mode] in text_of(server.asked[0])
    assert found.description == "the purple glass at the top"


def test_large_frames_are_shrunk_and_scaled_back(server: Loopback) -> None:
    large = cv2.resize(frames()[0], (2560, 1440), interpolation=cv2.INTER_CUBIC)
    x0, y0, x1, y1 = true_box(BOTTLE)
    tall, wide = FAMILIES["qwen2.5-vl"].size(1440, 2560)
    box = [round(x0 * wide / 256), round(y0 * tall / 256), round(x1 * wide / 256), round(y1 * tall / 256)]  # fmt: skip
    server.script.append(said(json.dumps([{"bbox_2d": box, "label": "bottle"}])))
    found = vlm(server, "Qwen2.5-VL-7B").propose(large, "what holds water?")
    assert pictures_of(server.asked[0])[0].shape == (tall, wide, 3)
    assert found.masks_nhw.shape == (1, 1440, 2560)
    true = cv2.resize(true_mask(BOTTLE).astype(np.uint8), (2560, 1440)) > 0
    assert iou(found.masks_nhw[0], true) > 0.8


ANSWERED = {
    "fenced": ("```json\n[{}]\n```", "ok"),
    "reversed corners": ("<answer>[{reversed}]</answer>", "ok"),
    "beyond the edges": ('<answer>[{"bbox_2d":[-90,-90,2000,2000]}]</answer>', "ok"),
    "single object": ("<answer>{}</answer>", "ok"),
    "empty list": ("<answer>[]</answer>", "none"),
    "prose": ("It is the glass at the top.", "error"),
    "outside": ('<answer>[{"bbox_2d":[1200,1200,1300,1300]}]</answer>', "error"),
    "NaN": ('<answer>[{"bbox_2d":[NaN,1,2,3]}]</answer>', "error"),
    "three numbers": ('<answer>[{"bbox_2d":[1,2,3]}]</answer>', "error"),
    "no area": ('<answer>[{"bbox_2d":[5,5,5,5]}]</answer>', "error"),
    "text": ('<answer>[{"bbox_2d":"1,2,3,4"}]</answer>', "error"),
    "nothing": ("", "error"),
    "huge": ("[" * 300_000, "error"),
}


@pytest.mark.parametrize("name", ANSWERED)
def test_odd_answers_end_in_a_status(server: Loopback, name: str) -> None:
    text, status = ANSWERED[name]
    good = entry(GLASS, 1000 / 256)
    box = good["bbox_2d"]
    turned = json.dumps({**good, "bbox_2d": [box[2], box[3], box[0], box[1]]})
    text = text.replace("{}", json.dumps(good)).replace("{reversed}", turned)
    server.script += [said(text)] * 2
    began = time.perf_counter()
    found = vlm(server).propose(frames()[0], QUESTION)
    assert time.perf_counter() - began < 10
    assert found.status == status
    assert len(server.asked) == (2 if status == "error" else 1)
    assert bool(found.message) == (status != "ok")
    if status == "ok" and name != "beyond the edges":
        assert iou(found.masks_nhw[0], true_mask(GLASS)) > 0.85
    if name in ("reversed corners", "beyond the edges", "fenced"):
        assert found.trace["notes"]


def test_wrong_choices_are_told(server: Loopback) -> None:
    with pytest.raises(InputError, match="model family"):
        vlm(server, family="gpt")
    wrong: Any = "magic"
    with pytest.raises(InputError, match="rsvp or vlm"):
        load_proposer(wrong, Endpoint(server.url, "m"), BUNDLE)
