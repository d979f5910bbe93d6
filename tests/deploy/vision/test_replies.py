"""Replies of vision-language models: what is mended, what is refused, and that all of it ends."""

from __future__ import annotations

import json
import time

import pytest

from edgetwin.deploy.vision.pictures import FAMILIES, Family, family_of
from edgetwin.deploy.vision.replies import numbers, read_reply, whole_numbers
from edgetwin.deploy.vision.rsvp import Region, read_regions
from edgetwin.deploy.vision.vlm import Prompted, read_prompts
from edgetwin.twin.errors import InputError, ProtocolError


@pytest.mark.parametrize(
    ("text", "mended"),
    [
        ('<answer>[{"a": 1}]</answer>', False),
        ('<think>[9]</think><answer>\n[{"a": 1}]\n</answer>', False),
        ('<think>t</think><answer>[{"a": 1}]', False),
        ('[{"a": 1}]', False),
        ('```json\n[{"a": 1}]\n```', True),
        ('<answer>```json\n[{"a": 1}]\n```</answer>', True),
        ('Sure! Here it is: [{"a": 1}] Hope it helps.', True),
        ("<answer>[{'a': 1}]</answer>", True),
        ('<answer>[{"a": 1,},]</answer>', True),
        ('[1] <think>x</think> [{"a": 1}]', True),
        ('in {curly} words: [{"a": 1}]', True),
    ],
)
def test_json_is_found(text: str, mended: bool) -> None:
    spoken = read_reply(text)
    assert (spoken.value, spoken.mended) == ([{"a": 1}], mended)


def test_rationale_and_description_are_read() -> None:
    spoken = read_reply(
        "<think>a\n glass\x07</think><description>the purple one</description><answer>[]</answer>"
    )
    assert (spoken.rationale, spoken.description) == ("a glass", "the purple one")
    assert read_reply("<reason>r</reason><describe>d</describe>[]").rationale == "r"


@pytest.mark.parametrize(
    "text",
    ["", "no idea", "<answer>the glass</answer>", "<answer>3</answer>", '<answer>[{"a": NaN}]',
     '[{"a": Infinity}]', "[" * 20_000, "{" * 20_000, '[{"a": [1, 2}',
     '[{"a": [], "b": [NaN]}]', '[{"a": [2], "b": ]'],
)  # fmt: skip
def test_prose_and_broken_json_are_refused_soon(text: str) -> None:
    began = time.perf_counter()
    with pytest.raises(ProtocolError, match="expected JSON in <answer>"):
        read_reply(text)
    assert time.perf_counter() - began < 5.0


def test_numbers_are_checked() -> None:
    assert numbers([1, 2.5], 2) == [1.0, 2.5]
    for bad in ([1], [1, True], [1, "2"], [1, float("nan")], [1, float("inf")], "12", [1, 10**400]):
        assert numbers(bad, 2) is None
    assert whole_numbers(["3", 4.0, 5]) == [3, 4, 5]
    assert whole_numbers(7) == [7]
    for odd in ([1.5], ["x"], [True], [[1]], [None], "²", [float("nan")]):
        assert whole_numbers(odd) is None


def entry(**fields: object) -> dict[str, object]:
    return {"object": "a Mug", "description": "red <b>mug</b>", "horizontal": [2, 3], "vertical": [4], **fields}  # fmt: skip


def test_regions_are_read() -> None:
    want = [Region("Mug", "red b mug b", (2, 3), (4, 4))]
    for value in ({"objects": [entry()]}, [entry()], entry()):
        assert read_regions(value, (9, 9)) == want
    paper = {"object": "drum", "ids_h": [5, 7, 6], "ids_v": ["4", 6]}
    assert read_regions(paper, (9, 9)) == [Region("drum", "", (5, 7), (4, 6))]
    assert read_regions(entry(horizontal=[0, 2, 12]), (9, 9))[0].rows == (2, 2)
    absents: list[object] = [[], {"objects": []}, entry(horizontal=[], vertical=[])]
    for absent in absents:
        assert read_regions(absent, (9, 9)) == []
    assert len(read_regions([entry()] * 500, (9, 9))) == 16


@pytest.mark.parametrize(
    ("value", "match"),
    [
        (entry(horizontal=[10]), r"from 1 to 9, got \[10\]"),
        (entry(horizontal=[-3]), "from 1 to 9"),
        (entry(vertical=["left"]), '"vertical" to be a list of strip numbers'),
        (entry(vertical=[float("nan")]), "list of strip numbers"),
        (entry(vertical=None), "list of strip numbers"),
        (entry(vertical=[]), "one empty"),
        ({"object": "mug"}, "list of strip numbers"),
        ({"objects": "mug"}, "no list"),
        (["mug"], "JSON object"),
    ],
)
def test_wrong_regions_are_told(value: object, match: str) -> None:
    with pytest.raises(ProtocolError, match=match):
        read_regions(value, (9, 9))


PIXELS = Family("pixels", square=512)


def test_prompts_are_scaled_to_the_frame() -> None:
    given = [{"bbox_2d": [128, 256, 256, 512], "point_2d": [192, 300], "label": "the mug"}]
    (one,) = read_prompts(given, PIXELS, (100, 200))
    assert one == Prompted((50, 50, 100, 100), ((75, pytest.approx(58.59375)),), "mug")
    thousand = [{"bbox_2d": [250, 500, 500, 1000], "point_2d": [375, 586]}]
    (two,) = read_prompts(thousand, FAMILIES["qwen3-vl"], (100, 200))
    assert two.box_xyxy == (50, 50, 100, 100)
    seg_zero = {"bbox": [128, 256, 256, 512], "points_1": [192, 300], "points_2": [200, 400]}
    (three,) = read_prompts(seg_zero, PIXELS, (100, 200))
    assert len(three.points_xy) == 2
    (four,) = read_prompts({"points": [[10, 10], [20, 20]]}, PIXELS, (100, 200))
    assert (four.box_xyxy, len(four.points_xy)) == (None, 2)


def test_prompts_are_mended() -> None:
    (one,) = read_prompts([{"bbox_2d": [256, 512, 128, 256]}], PIXELS, (100, 200))
    assert one.box_xyxy == (50, 50, 100, 100)
    assert one.notes == ("the corners of a box were put in order",)
    (two,) = read_prompts(
        [{"bbox_2d": [-50, 0, 600, 256], "point_2d": [9, 500]}], PIXELS, (100, 200)
    )
    assert two.box_xyxy == (0, 0, 200, 50)
    assert two.points_xy == ()
    assert len(two.notes) == 2
    assert read_prompts([], PIXELS, (100, 200)) == []


@pytest.mark.parametrize(
    "value",
    [
        [{"bbox_2d": [600, 600, 700, 700]}],
        [{"bbox_2d": [5, 5, 5, 5]}],
        [{"bbox_2d": [1, 2, 3]}],
        [{"bbox_2d": [1, 2, 3, float("nan")]}],
        [{"bbox_2d": "1,2,3,4"}],
        [{"point_2d": [9000, 1]}],
        [{}],
        ["mug"],
        {"objects": 3},
    ],
)
def test_wrong_prompts_are_told(value: object) -> None:
    with pytest.raises(ProtocolError, match="expected"):
        read_prompts(json.loads(json.dumps(value)) if "nan" not in str(value) else value, PIXELS, (100, 200))  # fmt: skip


def test_families() -> None:
    assert family_of("auto", "Qwen/Qwen2.5-VL-3B-Instruct") is FAMILIES["qwen2.5-vl"]
    assert family_of("auto", "qwen3-vl:4b") is FAMILIES["qwen3-vl"]
    assert family_of("auto", "Ricky06662/VisionReasoner-7B") is FAMILIES["seg-zero"]
    assert family_of("auto", "other") is FAMILIES["thousand"]
    with pytest.raises(InputError, match="model family"):
        family_of("gpt")
    # As Qwen's own processor sizes pictures: multiples of 28 within its bounds.
    qwen = FAMILIES["qwen2.5-vl"]
    assert qwen.size(1080, 1920) == (728, 1316)
    assert qwen.size(448, 448) == (448, 448)
    for size_hw in ((256, 256), (30, 2000), (4000, 3000), (1, 90)):
        tall, wide = qwen.size(*size_hw)
        assert tall % 28 == wide % 28 == 0
        assert qwen.least <= tall * wide <= qwen.most
    with pytest.raises(InputError, match="factor of at most 100"):
        qwen.size(10, 2000)
