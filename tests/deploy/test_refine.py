"""Looking again, with the embedded networks on the example videos."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import lru_cache
from itertools import islice
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgetwin.deploy.refine import (
    Proposal,
    RecentFrames,
    RefineBudget,
    Refiner,
    SourceFrames,
)
from edgetwin.deploy.stream.source import open_source
from edgetwin.perception import Bundle, Perceiver, load_bundle
from edgetwin.twin import mask as rle
from edgetwin.twin.errors import InputError, ToolError
from edgetwin.twin.frame import Frame
from edgetwin.twin.motion import appeared_s
from edgetwin.twin.schema import ObjectTwin
from edgetwin.twin.tools import DEFAULT_REGISTRY
from edgetwin.twin.window import TwinWindow

VIDEO = (
    Path(__file__).parents[2] / "examples" / "temporal.mp4"
)  # box, two lamps, pan, spoon, teapot


PATIENT = RefineBudget(seconds=60, answer_seconds=60)  # figures must not depend on the machine


class Counted:
    """A provider that notes which frames were asked for."""

    def __init__(self, frames: Sequence[Frame], gone: Sequence[int] = ()) -> None:
        self.frames = {f.index: f for f in frames if f.index not in gone}
        self.asked: list[int] = []

    def held(self, indexes: Sequence[int]) -> list[int]:
        return [i for i in indexes if i in self.frames]

    def frame_at(self, index: int) -> Frame:
        self.asked.append(index)
        return self.frames[index]

    def frames_at(self, indexes: Sequence[int]) -> Iterator[Frame]:
        for index in self.held(indexes):
            yield self.frame_at(index)


@pytest.fixture(scope="module")
def bundle() -> Bundle:
    return load_bundle("embedded", threads=1)


@pytest.fixture(scope="module")
def frames() -> list[Frame]:
    """Every other frame of the video's second half: a lamp comes in, the teapot hides."""
    return list(islice(open_source(VIDEO), 8, 32, 2))


@pytest.fixture(scope="module")
def boxes(bundle: Bundle, frames: list[Frame]) -> TwinWindow:
    """What a stream that looks for boxes only has seen; tests change copies of it."""
    perceiver = Perceiver(bundle, ["box"])
    return TwinWindow(perceiver.observe(frame) for frame in frames)


@pytest.fixture(scope="module")
def everything(bundle: Bundle, frames: list[Frame]) -> TwinWindow:
    perceiver = Perceiver(bundle)
    return TwinWindow(perceiver.observe(frame) for frame in frames)


def copy(window: TwinWindow) -> TwinWindow:
    return TwinWindow(window.frames, window.max_frames)


def call(refiner: Refiner, window: TwinWindow, tool: str, **arguments: Any) -> Any:
    (result,) = refiner.registry().run_plan([{"tool": tool, **arguments}], window)
    return result


def labels(window: TwinWindow) -> dict[int, str]:
    return {i: window.latest(i).semantic_label for i in window.ids()}


def sound(window: TwinWindow) -> None:
    """Each record is of its frame and its id's history."""
    firsts: dict[int, float] = {}
    for frame in window.frames:
        for obj in frame.objects.values():
            assert firsts.setdefault(obj.id, obj.first_seen) == obj.first_seen
            if obj.state != "visible":
                assert obj.mask is None
                continue
            assert obj.mask is not None
            assert obj.last_seen == frame.timestamp_s
            assert obj.area == rle.area(obj.mask)
            assert np.abs(np.subtract(obj.box_xyxy, rle.to_box(obj.mask))).max() <= 1


# -- detect -------------------------------------------------------------------------------


def test_words_that_were_not_looked_for_are_found_as_the_stream_would_have(
    bundle: Bundle, frames: list[Frame], boxes: TwinWindow, everything: TwinWindow
) -> None:
    window, provider = copy(boxes), Counted(frames)
    refiner = Refiner(bundle, provider, budget=PATIENT)
    assert set(labels(window).values()) == {"box"}
    found = call(refiner, window, "detect", words=["lamp", "Teapot"])
    assert found.message == ""
    new = {i: label for i, label in labels(window).items() if i in found.value}
    assert sorted(new.values()) == ["lamp", "lamp", "teapot"]
    assert min(new) > max(boxes.ids())
    assert window.vocabulary == ("box", "lamp", "teapot")
    assert {window.latest(i).origin for i in new} == {"detect(lamp, teapot)"}
    assert window.latest(boxes.ids()[0]).origin is None
    sound(window)
    # the same masks, times of appearing and depths as with all words from the start
    for i, label in new.items():
        colour = window.latest(i).attributes["color"]
        (same,) = [
            k
            for k in everything.ids()
            if everything.latest(k).semantic_label == label
            and everything.latest(k).attributes["color"] == colour
        ]
        pairs = list(zip(window.track(i), everything.track(same), strict=True))
        assert all(
            a.mask is not None and b.mask is not None and rle.iou(a.mask, b.mask) > 0.95
            for (_, a), (_, b) in pairs
        )
        assert appeared_s(window, i) == appeared_s(everything, same)
        assert window.latest(i).mean_depth == pytest.approx(
            everything.latest(same).mean_depth, rel=0.02
        )
    assert refiner.counts.as_dict() == {
        "calls": {"detect": 1}, "cached": 0, "frames": 12, "frames_gone": 0, "added": 3,
        "changed": 0, "doubles": 0, "cut": 0, "ms": refiner.counts.as_dict()["ms"],
    }  # fmt: skip
    # asked again, also one by one or with what was known before: nothing is looked at
    asked = len(provider.asked)
    assert call(refiner, window, "detect", words=["lamp", "teapot"]).value == found.value
    both = call(refiner, window, "detect", words=["box", "lamp"]).value
    assert {labels(window)[i] for i in both} == {"box", "lamp"}
    assert len(provider.asked) == asked
    assert refiner.counts.cached == 2
    assert [f.index for f in refiner.refined(window)] == [f.index for f in frames]


def test_unknown_words_are_told_and_known_ones_are_found_all_the_same(
    bundle: Bundle, frames: list[Frame], boxes: TwinWindow
) -> None:
    window = TwinWindow(boxes.frames[:2])
    refiner = Refiner(bundle, Counted(frames), budget=PATIENT)
    found = call(refiner, window, "detect", words=["quokka", "<b>Pan</b>", "green pan", ""])
    assert found.message == "this model set does not know: quokka, b pan b"
    assert [labels(window)[i] for i in found.value] == ["pan"]
    assert call(refiner, window, "detect", words=["red pan"]).value == []
    assert call(refiner, window, "detect", words=[]).value == []
    assert window.vocabulary == ("box", "pan")


def test_a_full_vocabulary_needs_no_look(
    bundle: Bundle, frames: list[Frame], everything: TwinWindow
) -> None:
    window, provider = copy(everything), Counted(frames)
    found = call(Refiner(bundle, provider, budget=PATIENT), window, "detect", words=["lamp"]).value
    assert (
        found
        == call(Refiner(bundle, provider, budget=PATIENT), window, "find", words=["lamp"]).value
        != []
    )
    assert provider.asked == []
    assert window.frames == everything.frames


def test_a_colour_with_its_noun_is_a_word_of_its_own(bundle: Bundle, frames: list[Frame]) -> None:
    perceiver = Perceiver(bundle, ["green pan", "red lamp"])
    window = TwinWindow(perceiver.observe(frame) for frame in frames[:2])
    provider = Counted(frames)
    refiner = Refiner(bundle, provider, budget=PATIENT)
    (pan,) = call(refiner, window, "detect", words=["green pan"]).value
    assert provider.asked == []
    assert labels(window) == {pan: "pan"}
    lamps = call(refiner, window, "detect", words=["green lamp"]).value
    assert [window.latest(i).attributes["color"] for i in lamps] == ["green"]
    assert call(refiner, window, "detect", words=["red lamp"]).value == []


def test_what_is_known_under_another_name_is_not_doubled(
    bundle: Bundle, frames: list[Frame], everything: TwinWindow
) -> None:
    """The twin calls its lamps mugs: with little trust at first, then with more than the look."""
    for confidence, renamed in ((0.1, True), (1.0, False)):
        mugs = TwinWindow(_called_mug(f, confidence) for f in everything.frames[-3:])
        before = {i for i, label in labels(mugs).items() if label == "mug"}
        refiner = Refiner(bundle, Counted(frames), budget=PATIENT)
        found = call(refiner, mugs, "detect", words=["lamp"]).value
        assert mugs.ids() == everything.ids()
        assert set(found) == (before if renamed else set())
        assert refiner.counts.doubles == (len(before) if renamed else 0)
        assert refiner.counts.added == 0
        if renamed:
            for i in before:
                assert {o.semantic_label for _, o in mugs.track(i)} == {"lamp"}
                assert mugs.latest(i).origin == "detect(lamp)"


def _called_mug(frame: Any, confidence: float) -> Any:
    objects = {
        i: obj.model_copy(update={"semantic_label": "mug", "confidence": confidence})
        if obj.semantic_label == "lamp"
        else obj
        for i, obj in frame.objects.items()
    }
    return frame.model_copy(update={"objects": objects, "vocabulary": ("mug", "box")})


def test_few_frames_are_spread_and_what_lies_between_is_on_the_line(
    bundle: Bundle, frames: list[Frame], boxes: TwinWindow, everything: TwinWindow
) -> None:
    window, provider = copy(boxes), Counted(frames)
    refiner = Refiner(bundle, provider, budget=replace(PATIENT, frames=5))
    (pan,) = call(refiner, window, "detect", words=["pan"]).value
    assert provider.asked[0] == frames[0].index
    assert provider.asked[-1] == frames[-1].index
    assert len(provider.asked) == 5
    assert [t for t, _ in window.track(pan)] == [f.timestamp_s for f in frames]
    sound(window)
    assert window.vocabulary == ("box", "pan")
    (true,) = [i for i in everything.ids() if everything.latest(i).semantic_label == "pan"]
    ious = [
        rle.iou(a.mask, b.mask)
        for (_, a), (_, b) in zip(window.track(pan), everything.track(true), strict=True)
        if a.mask is not None and b.mask is not None
    ]
    assert min(ious) > 0.8


def test_what_moves_between_looks_that_lie_apart_is_not_lost(bundle: Bundle) -> None:
    """Six of 32 frames, and the teapot moves between the last two."""
    source = open_source(VIDEO.with_name("spatial.mp4"))
    perceiver = Perceiver(bundle, ["glass", "ball"])
    window = TwinWindow(perceiver.observe(frame) for frame in source)
    budget = replace(PATIENT, frames=6)
    refiner = Refiner(bundle, SourceFrames(source, window), budget=budget)
    (teapot,) = call(refiner, window, "detect", words=["teapot"]).value
    assert len(window.track(teapot)) == 32
    assert refiner.counts.frames == 6


def test_frames_that_are_gone_are_told_and_left_as_they_were(
    bundle: Bundle, frames: list[Frame], boxes: TwinWindow
) -> None:
    window = copy(boxes)
    ring = RecentFrames(max_frames=4)
    for frame in frames:
        ring.push(frame)
    refiner = Refiner(bundle, ring, budget=PATIENT)
    found = call(refiner, window, "detect", words=["pan"])
    assert found.message == "8 frames of the window are gone"
    assert len(window.track(found.value[0])) == 4
    assert [frame.vocabulary for frame in window.frames[7:9]] == [("box",), ("box", "pan")]
    assert refiner.counts.frames_gone == 8
    empty = Refiner(bundle, RecentFrames(), budget=PATIENT)
    again = copy(boxes)
    assert call(empty, again, "detect", words=["pan"]).message == "12 frames of the window are gone"
    assert again.frames == boxes.frames
    with pytest.raises(ToolError, match="frame of the window that can still be had, got none"):
        call(empty, again, "segment", point=[5, 5])


def test_a_stream_that_goes_on_keeps_its_refined_objects(
    bundle: Bundle, frames: list[Frame], boxes: TwinWindow
) -> None:
    ring = RecentFrames(max_frames=12)
    window = TwinWindow(boxes.frames[:6])
    for frame in frames[:6]:
        ring.push(frame)
    stream = Perceiver(bundle, ["box"])
    for frame in frames[:6]:
        stream.observe(frame)
    refiner = Refiner(bundle, ring, budget=PATIENT, reserve=stream.tracker.reserve)
    first = call(refiner, window, "detect", words=["pan"]).value
    looked = refiner.counts.frames
    for frame in frames[6:9]:  # the stream itself goes on looking for boxes only
        window.append(stream.observe(frame))
        ring.push(frame)
    assert len(window.vocabulary or ()) == 1
    assert call(refiner, window, "detect", words=["pan"]).value == first
    assert refiner.counts.frames == looked + 3
    assert len(window.track(first[0])) == 9
    assert window.vocabulary == ("box", "pan")
    assert stream.tracker.reserve(1) > max(window.ids())  # the stream will not give that id


# -- budgets ------------------------------------------------------------------------------


def test_budgets_end_a_call_an_answer_and_a_late_plan(
    bundle: Bundle, frames: list[Frame], boxes: TwinWindow
) -> None:
    window = copy(boxes)
    refiner = Refiner(bundle, Counted(frames), budget=replace(PATIENT, frames=4, answer_frames=6))
    call(refiner, window, "detect", words=["pan"])
    call(refiner, window, "detect", words=["lamp"])
    assert refiner.counts.frames == 6
    with pytest.raises(ToolError, match="one answer may look at 6 frames for 60 s"):
        call(refiner, window, "detect", words=["spoon"])
    assert call(refiner, window, "detect", words=["pan"]).value  # what is known costs nothing
    refiner.begin()
    call(refiner, window, "detect", words=["spoon"])
    with pytest.raises(ToolError, match="expected frames and time left to look again"):
        refiner.detect(window, ["teapot"], deadline_s=time.monotonic() - 1)
    assert refiner.counts.cut == 2
    with pytest.raises(InputError, match="positive frames and seconds"):
        RefineBudget(seconds=0)


def test_time_ends_a_look_between_frames(
    bundle: Bundle, frames: list[Frame], boxes: TwinWindow
) -> None:
    class Slow(Counted):
        def frame_at(self, index: int) -> Frame:
            time.sleep(0.2)
            return super().frame_at(index)

    window, provider = copy(boxes), Slow(frames)
    refiner = Refiner(bundle, provider, budget=RefineBudget(seconds=1))
    call(refiner, window, "detect", words=["pan"])
    assert 1 <= len(provider.asked) < len(frames)
    sound(window)


def test_one_answer_at_a_time(bundle: Bundle, frames: list[Frame], boxes: TwinWindow) -> None:
    started, go = threading.Event(), threading.Event()

    class Waiting(Counted):
        def frame_at(self, index: int) -> Frame:
            started.set()
            go.wait(10)
            return super().frame_at(index)

    refiner = Refiner(bundle, Waiting(frames))
    thread = threading.Thread(target=lambda: call(refiner, copy(boxes), "detect", words=["pan"]))
    thread.start()
    started.wait(10)
    with pytest.raises(ToolError, match="one answer at a time"):
        call(refiner, copy(boxes), "detect", words=["lamp"])
    go.set()
    thread.join()


# -- segment, zoom, redepth, similarity, propose ------------------------------------------


def test_a_point_becomes_an_object_that_is_followed_and_named(
    bundle: Bundle, frames: list[Frame], boxes: TwinWindow, everything: TwinWindow
) -> None:
    (pan,) = [i for i in everything.ids() if everything.latest(i).semantic_label == "pan"]
    x, y = everything.latest(pan).centroid
    window = copy(boxes)
    refiner = Refiner(bundle, Counted(frames), budget=PATIENT)
    (new,) = call(refiner, window, "segment", point=[x, y], time=3.0).value
    assert new > max(boxes.ids())
    record = window.latest(new)
    assert (record.semantic_label, record.attributes) == ("pan", {"color": "green"})
    assert record.origin == "segment(point)"
    assert record.mean_depth == pytest.approx(everything.latest(pan).mean_depth, rel=0.1)
    sound(window)
    ious = [
        rle.iou(a.mask, b.mask)
        for (_, a), (_, b) in zip(window.track(new), everything.track(pan), strict=False)
        if a.mask is not None and b.mask is not None
    ]
    assert len(ious) >= 10  # memory carries it through the window
    assert float(np.mean(ious)) > 0.6
    box = list(window.latest(new).box_xyxy)
    assert call(refiner, window, "segment", box=box).value == [new]  # known: not doubled
    assert refiner.counts.doubles == 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "a box or a point, got both or neither"),
        ({"box": [0, 0, 9, 9], "point": [1, 1]}, "a box or a point, got both or neither"),
        ({"box": [9, 9, 3, 30]}, "a box .* with an area within 256x256"),
        ({"box": [400, 10, 900, 30]}, "a box .* with an area within 256x256"),
        ({"point": [256, 1]}, "a point within 256x256"),
        ({"point": [-1, 1]}, "a point within 256x256"),
        ({"point": [1, 2, 3]}, "point to be a list of 2 numbers"),
    ],
)
def test_places_that_cannot_be(
    bundle: Bundle, boxes: TwinWindow, arguments: dict[str, Any], message: str
) -> None:
    with pytest.raises(ToolError, match=message):
        call(Refiner(bundle, RecentFrames(), budget=PATIENT), copy(boxes), "segment", **arguments)


def test_a_closer_look_puts_a_doubtful_name_right(
    bundle: Bundle, frames: list[Frame], everything: TwinWindow
) -> None:
    mugs = TwinWindow(_called_mug(f, 0.2) for f in everything.frames[-2:])
    wrong = [i for i, label in labels(mugs).items() if label == "mug"]
    sure = [i for i, label in labels(mugs).items() if label == "pan"]
    refiner = Refiner(bundle, Counted(frames), budget=PATIENT)
    assert call(refiner, mugs, "zoom", ids=wrong + sure).value == wrong + sure
    assert {labels(mugs)[i] for i in wrong} == {"lamp"}
    assert mugs.latest(wrong[0]).origin == f"zoom({wrong[0]})"
    assert mugs.latest(wrong[0]).confidence > 0.2
    assert {labels(mugs)[i] for i in sure} == {"pan"}
    sound(mugs)


def test_a_closer_look_at_a_large_frame_mends_a_mask(bundle: Bundle, frames: list[Frame]) -> None:
    image = cv2.resize(frames[-1].image_hw3, (1024, 1024), interpolation=cv2.INTER_CUBIC)
    large = Frame(0, 0.0, np.asarray(image, np.uint8))
    twin = Perceiver(bundle).observe(large)
    (spoon,) = [o for o in twin.objects.values() if o.semantic_label == "spoon"]
    assert spoon.mask is not None
    thick = cv2.dilate(rle.decode(spoon.mask).astype(np.uint8), np.ones((7, 7), np.uint8)) > 0
    coarse = spoon.model_copy(update={"mask": rle.encode(thick), "area": int(thick.sum())})
    window = TwinWindow([twin.model_copy(update={"objects": {spoon.id: coarse}})])
    call(Refiner(bundle, Counted([large]), budget=PATIENT), window, "zoom", ids=[spoon.id])
    new = window.latest(spoon.id)
    assert new.mask is not None
    assert new.origin == f"zoom({spoon.id})"
    assert rle.iou(new.mask, spoon.mask) > 0.8 > rle.iou(rle.encode(thick), spoon.mask)
    sound(window)


def test_depth_is_measured_again(
    bundle: Bundle, frames: list[Frame], everything: TwinWindow
) -> None:
    pan = next(i for i in everything.ids() if everything.latest(i).semantic_label == "pan")
    flat = TwinWindow(_without_depth(f) for f in everything.frames[-2:])
    refiner = Refiner(bundle, Counted(frames), budget=PATIENT)
    assert call(refiner, flat, "redepth", ids=[pan]).value == [pan]
    new, old = flat.latest(pan), everything.latest(pan)
    assert new.mean_depth == pytest.approx(old.mean_depth, rel=0.05)
    assert new.centroid_m == pytest.approx(old.centroid_m, abs=0.05)
    assert new.origin == f"redepth({pan})"
    assert flat.frames[0].objects[pan].mean_depth is None


def _without_depth(frame: Any) -> Any:
    gone = {"mean_depth": None, "depth_stats": None, "centroid_m": None, "extent_m": None}
    objects = {i: obj.model_copy(update=gone) for i, obj in frame.objects.items()}
    return frame.model_copy(update={"objects": objects})


def test_similarity_is_a_number_per_object_in_order(
    bundle: Bundle, frames: list[Frame], everything: TwinWindow
) -> None:
    window = TwinWindow(everything.frames[-2:])
    refiner = Refiner(bundle, Counted(frames), budget=PATIENT)
    seen = [i for i in window.ids() if window.visible_at_end(i)]
    of = {word: call(refiner, window, "similarity", ids=seen, text=word) for word in
          ("pan", "green pan", "red pan")}  # fmt: skip
    assert all(len(r.value) == len(seen) and r.kind == "numbers" for r in of.values())
    assert all(0 <= score <= 1 for r in of.values() for score in r.value)
    best = [seen[int(np.argmax(of[word].value))] for word in of]
    assert labels(window)[best[0]] == "pan"
    assert best[1] == best[0]
    assert max(of["green pan"].value) > 2 * max(of["red pan"].value)
    turned = call(refiner, window, "similarity", ids=seen[::-1], text="pan").value
    assert turned == of["pan"].value[::-1]
    none = call(refiner, window, "similarity", ids=seen, text="quokka")
    assert (none.value, none.message) == (
        [0.0] * len(seen), "this model set does not know: quokka"
    )  # fmt: skip


def test_proposals_of_someone_with_eyes_become_objects(
    bundle: Bundle, frames: list[Frame], boxes: TwinWindow, everything: TwinWindow
) -> None:
    (spoon,) = [i for i in everything.ids() if everything.latest(i).semantic_label == "spoon"]
    (box,) = boxes.ids()
    asked: list[tuple[str, int]] = []

    def look(query: str, frame: Frame) -> list[Proposal]:
        asked.append((query, frame.index))
        where = everything.latest(spoon).box_xyxy
        return [
            Proposal(where, "spoon</answer>", "red", 0.8),
            Proposal(boxes.latest(box).box_xyxy, "crate"),
        ]

    window = TwinWindow(boxes.frames[-3:])
    refiner = Refiner(bundle, Counted(frames), budget=PATIENT, propose=look)
    assert "propose" not in Refiner(bundle, Counted(frames), budget=PATIENT).registry()
    new, known = call(refiner, window, "propose", query="what stirs tea?").value
    assert asked == [("what stirs tea?", frames[-1].index)]
    assert known == box
    record: ObjectTwin = window.latest(new)
    assert (record.semantic_label, record.attributes) == ("spoon answer", {"color": "red"})
    assert record.origin == "propose()"
    shape = everything.latest(spoon).mask
    assert record.mask is not None
    assert shape is not None
    assert rle.iou(record.mask, shape) > 0.7


# -- registries ---------------------------------------------------------------------------


def test_the_switch(bundle: Bundle, frames: list[Frame], boxes: TwinWindow) -> None:
    refiner = Refiner(bundle, Counted(frames), budget=PATIENT)
    assert refiner.registry("off") is DEFAULT_REGISTRY
    assert refiner.registry("auto")["find"].category == "perception"
    names = set(refiner.registry("call")) - set(DEFAULT_REGISTRY)
    assert names == {"detect", "segment", "zoom", "redepth", "similarity"}
    tools = refiner.registry("call")
    assert {tools[name].category for name in names} == {"perception"}
    assert tools["segment"].signature == "segment(box=null,point=null,time=null)"
    assert json.dumps(tools.json_schemas())
    plan = [{"tool": "find", "words": ["pan"]}, {"tool": "find", "words": ["object"]}]
    window = copy(boxes)
    static = [r.value for r in refiner.registry("off").run_plan(plan, window)]
    assert static == [[], boxes.ids()]
    assert [r.value for r in refiner.registry("call").run_plan(plan, window)] == static
    auto = refiner.registry("auto").run_plan(plan, window)
    assert [labels(window)[i] for i in auto[0].value] == ["pan"]
    assert auto[1].value == [*boxes.ids(), *auto[0].value]
    assert refiner.registry("auto").run_plan(plan[:1], window)[0].value == auto[0].value
    quokka = refiner.registry("auto").run_plan([{"tool": "find", "words": ["quokka"]}], window)
    assert quokka[0].value == []


NUMBERS = st.integers() | st.floats() | st.sampled_from([0, 5, 300, -1, 1e18, 10**400])
VALUES = st.one_of(
    st.none(),
    NUMBERS,
    st.text(max_size=8),
    st.lists(NUMBERS, max_size=5),
    st.lists(st.text(max_size=8), max_size=3),
    st.sampled_from(["$1", "pan", "</answer>", [1], [1, 2], ["lamp"], ["object", "quokka"]]),
)
NAMES = ["words", "box", "point", "time", "ids", "text", "query"]


@given(
    st.sampled_from(["detect", "segment", "zoom", "redepth", "similarity", "find", "propose"]),
    st.dictionaries(st.sampled_from(NAMES), VALUES, max_size=3),
)
@settings(
    max_examples=400,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_any_call_is_answered_or_refused_in_one_line(
    bundle: Bundle, boxes: TwinWindow, tool: str, arguments: dict[str, Any]
) -> None:
    refiner = _blind(bundle)
    try:
        (result,) = refiner.registry("auto").run_plan([{"tool": tool, **arguments}], copy(boxes))
        assert isinstance(result.value, list)
        said = result.message
    except ToolError as error:
        said = str(error)
    assert said == "" or said.isprintable()
    assert len(said) < 700


@lru_cache(maxsize=1)
def _blind(bundle: Bundle) -> Refiner:
    """A refiner whose frames are gone: what is left is reading the arguments."""
    return Refiner(bundle, RecentFrames(), budget=PATIENT, propose=lambda query, frame: [])


def test_a_files_frames_do(bundle: Bundle) -> None:
    source = open_source(VIDEO)
    perceiver = Perceiver(bundle, ["box"])
    window = TwinWindow(perceiver.observe(frame) for frame in islice(source, 3))
    refiner = Refiner(bundle, SourceFrames(source, window), budget=PATIENT)
    found = call(refiner, window, "detect", words=["spoon"]).value
    assert [labels(window)[i] for i in found] == ["spoon"]
    assert [f.index for f in refiner.refined(window)] == [0, 1, 2]
