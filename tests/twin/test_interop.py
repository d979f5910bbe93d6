"""The twin as supervision's detections: every column by hand, and drawn by the real package."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np
import pytest

from edgetwin.twin import mask as rle
from edgetwin.twin.errors import InputError, MissingExtraError, SchemaError
from edgetwin.twin.interop import to_supervision
from edgetwin.twin.schema import FrameTwin, ObjectTwin, Rle

from .build import frame, obj


def block(x0: int, y0: int, x1: int, y1: int) -> np.ndarray:
    full = np.zeros((256, 256), np.bool_)
    full[y0:y1, x0:x1] = True
    return full


def scene() -> FrameTwin:
    mug = obj(
        7, "mug", 50, 60, z=0.5, attributes={"color": "red"},
        mask=rle.encode(block(40, 50, 60, 70)),
        centroid_m=(0.1, 0.2, 0.5), extent_m=(0.1, 0.05, 0.02), velocity=(3.0, -4.0),
    )  # fmt: skip
    ball = obj(2, "toy ball", 150, 100, z=3.0, unit="relative")
    return frame(5, [mug, ball, obj(9, "mug", state="occluded"), obj(11, "box", state="left")])


class TestWithSupervision:
    @pytest.fixture(autouse=True)
    def package(self) -> None:
        pytest.importorskip("supervision")

    def test_every_column(self) -> None:
        got = to_supervision(scene(), labels=["mug", "bowl"])
        assert got.tracker_id is not None
        assert got.class_id is not None
        assert got.confidence is not None
        assert got.mask is not None
        assert got.tracker_id.tolist() == [2, 7]  # by id; hidden and gone objects stay out
        assert got.xyxy.tolist() == [[140, 90, 160, 110], [40, 50, 60, 70]]
        assert got.confidence.tolist() == pytest.approx([0.9, 0.9])
        assert got.class_id.tolist() == [2, 0]  # "toy ball" is not among the labels
        masks = np.asarray(got.mask)
        assert masks.shape == (2, 256, 256)
        assert masks.dtype == np.bool_
        assert not masks[0].any()  # visible, but without a mask of its own
        assert (masks[1] == block(40, 50, 60, 70)).all()
        data = got.data
        assert list(data["class_name"]) == ["toy ball", "mug"]
        assert list(data["color"]) == ["", "red"]
        assert list(data["state"]) == ["visible", "visible"]
        np.testing.assert_allclose(data["depth_m"], [np.nan, 0.5])
        np.testing.assert_allclose(data["centroid_m"], [[np.nan] * 3, [0.1, 0.2, 0.5]])
        np.testing.assert_allclose(data["extent_m"], [[np.nan] * 3, [0.1, 0.05, 0.02]])
        assert np.asarray(data["velocity"]).tolist() == [[0, 0], [3, -4]]
        assert list(data["last_seen"]) == [100, 100]
        assert got.metadata == {
            "source_id": "source", "frame_index": 5, "timestamp_s": 5 / 8,
        }  # fmt: skip

    def test_hidden_and_gone_objects_on_request(self) -> None:
        got = to_supervision(scene(), states=("visible", "occluded", "left"), masks=False)
        assert got.tracker_id is not None
        assert got.tracker_id.tolist() == [2, 7, 9, 11]
        assert list(got.data["state"]) == ["visible", "visible", "occluded", "left"]
        assert got.mask is None

    def test_class_ids_are_the_same_in_every_frame_and_process(self) -> None:
        here = to_supervision(scene()).class_id
        alone = to_supervision(frame(0, [obj(1, "mug")])).class_id
        assert here is not None
        assert alone is not None
        assert here.tolist()[1] == alone.tolist()[0]
        assert len(set(here.tolist())) == 2
        assert min(here.tolist()) >= 0
        code = "from edgetwin.twin.interop import _class_id; print(_class_id('mug', None), end='')"
        other = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
        assert int(other.stdout) == alone.tolist()[0]

    def test_a_frame_without_objects(self) -> None:
        got = to_supervision(frame(0, []))
        assert len(got) == 0
        assert got.is_empty()
        assert np.asarray(got.mask).shape == (0, 256, 256)

    def test_the_annotators_draw_it(self) -> None:
        import supervision as sv

        got = to_supervision(scene())
        canvas = np.zeros((256, 256, 3), np.uint8)
        drawn = sv.MaskAnnotator(opacity=1.0).annotate(canvas.copy(), got)
        touched = drawn.any(axis=2)
        assert (touched == block(40, 50, 60, 70)).all()
        boxes = sv.BoxAnnotator(thickness=1).annotate(canvas.copy(), got)
        assert boxes[50, 45].any()
        assert boxes[90, 150].any()
        texts = [
            f"#{number} {name}"
            for number, name in zip(
                got.tracker_id if got.tracker_id is not None else (),
                got.data["class_name"],
                strict=True,
            )
        ]
        labels = sv.LabelAnnotator().annotate(canvas.copy(), got, labels=texts)
        assert labels.any()
        traced = canvas.copy()
        trace = sv.TraceAnnotator(thickness=1)
        for step in range(3):
            moved = frame(step, [obj(7, "mug", 50 + 20 * step, 60)])
            traced = trace.annotate(canvas.copy(), to_supervision(moved))
        assert traced[:, 52:88].any()
        for annotator in (sv.MaskAnnotator(), sv.BoxAnnotator(), sv.LabelAnnotator()):
            empty = annotator.annotate(canvas.copy(), to_supervision(frame(0, [])))
            assert not empty.any()

    def test_its_own_tools_work_on_it(self) -> None:
        import supervision as sv

        got = to_supervision(scene())
        mugs: Any = got[got.data["class_name"] == "mug"]
        assert len(mugs) == 1
        assert list(mugs.data["color"]) == ["red"]
        two = sv.Detections.merge([got, to_supervision(scene())])
        assert len(two) == 4
        zone = sv.PolygonZone(np.array([[0, 0], [100, 0], [100, 100], [0, 100]]))
        assert zone.trigger(got).tolist() == [False, True]

    def test_masks_that_cannot_be(self) -> None:
        wrong = frame(0, [obj(1, mask=Rle(size=(5, 5), counts="i0"))])
        with pytest.raises(InputError, match=r"256 x 256 pixels.* got 5 x 5 for object 1"):
            to_supervision(wrong)
        broken: ObjectTwin = obj(1, mask=Rle(size=(256, 256), counts="\x00"))
        with pytest.raises(SchemaError):
            to_supervision(frame(0, [broken]))


def test_without_the_package_the_pip_line_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "supervision", None)
    with pytest.raises(MissingExtraError, match=r"pip install 'edgetwin\[viz\]'"):
        to_supervision(scene())


def test_importing_the_room_does_not_import_supervision() -> None:
    code = "import sys, edgetwin.twin.interop; sys.exit('supervision' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
