"""Differences of graphs, twins and answers, on cases whose figures are known by hand."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from edgetwin.deploy.export.parity import (
    AnswerDifference,
    TwinDifference,
    compare_answers,
    compare_graph,
    compare_twins,
)
from edgetwin.perception.bundle import load_bundle
from edgetwin.twin import mask as rle
from edgetwin.twin.errors import InputError
from edgetwin.twin.schema import FrameTwin, ObjectTwin
from edgetwin.twin.window import TwinWindow


def thing(number: int, x: int, label: str = "mug", depth: float = 1.0) -> ObjectTwin:
    """A square of 10 x 10 pixels whose left edge is at ``x``."""
    pixels = np.zeros((40, 60), bool)
    pixels[10:20, x : x + 10] = True
    return ObjectTwin(
        id=number,
        semantic_label=label,
        confidence=0.9,
        mask=rle.encode(pixels),
        box_xyxy=(x, 10, x + 10, 20),
        centroid=(x + 5, 15),
        area=100,
        mean_depth=depth,
        first_seen=0.0,
        last_seen=0.0,
    )


def frame(*objects: ObjectTwin, index: int = 0) -> FrameTwin:
    return FrameTwin(
        index=index, timestamp_s=index / 10, width=60, height=40, objects={o.id: o for o in objects}
    )


def test_matched_pairs_give_their_iou_and_lonely_objects_nothing() -> None:
    found = TwinDifference()
    # moved by two pixels: 80 shared of 120; the second has another id and label; a third is lost
    before = frame(thing(1, 0), thing(2, 20, depth=2.0), thing(3, 45))
    after = frame(thing(1, 2), thing(7, 20, "cup", depth=1.9))
    compare_twins([before], [after], found)
    assert sorted(found.ious) == pytest.approx([0.0, 80 / 120, 1.0])
    assert found.mean_iou == pytest.approx((80 / 120 + 1) / 3)
    figures = found.figures()
    assert figures["box_px_mean"] == pytest.approx((1.0 + 0.0) / 2)  # x by 2, y not at all
    assert figures["depth_relative_mean"] == pytest.approx((0.0 + 0.05) / 2)
    assert (found.unmatched, found.relabelled, found.other_ids) == (1, 1, 1)
    assert found.partner() == {1: 1, 2: 7}


def test_the_most_frequent_partner_counts() -> None:
    found = TwinDifference()
    for index, other in enumerate((4, 4, 9)):
        compare_twins([frame(thing(1, 0), index=index)], [frame(thing(other, 0))], found)
    assert found.partner() == {1: 4}
    assert TwinDifference().mean_iou == 1.0
    with pytest.raises(InputError, match="same frames, got 1 and 2"):
        compare_twins([frame()], [frame(), frame()], found)


def test_answers_are_the_same_by_status_and_partnered_ids() -> None:
    def answers(table: dict[str, tuple[str, list[int]]]) -> Any:
        return lambda question, _: SimpleNamespace(
            status=table[question][0], ids=table[question][1], value=None, plan=[question]
        )

    window = TwinWindow()
    one = answers({"a": ("ok", [1, 2]), "b": ("ok", [3]), "c": ("none", [])})
    other = answers({"a": ("ok", [8, 7]), "b": ("ok", [3]), "c": ("error", [])})
    found = AnswerDifference()
    compare_answers((one, window), (other, window), "abc", found, {1: 7, 2: 8, 3: 4})
    assert (found.questions, found.same_plans, found.same_ids) == (3, 3, 1)
    assert found.same == pytest.approx(1 / 3)
    assert found.examples == ["'b': ok [4] became ok [3]", "'c': none [] became error []"]


@pytest.mark.parametrize(("other", "same"), [(2.0, 1), (2.03, 1), (2.1, 0), (None, 0)])
def test_an_answered_number_counts(other: float | None, same: int) -> None:
    def answer(value: float | None) -> Any:
        return lambda question, _: SimpleNamespace(status="ok", ids=[], value=value, plan=[])

    found = AnswerDifference()
    window = TwinWindow()
    compare_answers((answer(2.0), window), (answer(other), window), ["how far?"], found)
    assert (found.questions, found.same_ids) == (1, same)


def test_a_graph_equals_itself_and_a_changed_one_does_not() -> None:
    bundle = load_bundle("embedded", device="cpu", threads=1)
    ids = np.array([[3, 4, 5, 0, 0, 0, 0, 0]])
    same = compare_graph(bundle, bundle, "detector_text.onnx", [{"input_ids": ids}])
    assert (same.inputs, same.largest, same.mean) == (1, 0.0, 0.0)

    class Shifted:
        def __init__(self, by: float) -> None:
            self.by = by

        def engine(self, name: str) -> Any:
            own = bundle.engine(name)

            def run(given: Any) -> Any:
                return {k: v + np.float32(self.by) for k, v in own.run(given).items()}

            return SimpleNamespace(run=run)

    changed: Any = Shifted(0.25)
    gap = compare_graph(bundle, changed, "detector_text.onnx", [{"input_ids": ids}])
    assert gap.largest == pytest.approx(0.25, rel=1e-3)
    assert gap.mean == pytest.approx(0.25, rel=1e-3)
    with pytest.raises(InputError, match=r"inputs for detector_text\.onnx"):
        compare_graph(bundle, bundle, "detector_text.onnx", [])
