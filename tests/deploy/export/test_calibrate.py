"""Recorded inputs: from real runs, bounded, read one at a time, apart from those that judge."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray

from edgetwin.deploy.export.calibrate import (
    Calibration,
    Recorder,
    StoredFeeds,
    calibrate,
    example_clips,
)
from edgetwin.deploy.stream.source import open_source
from edgetwin.perception.bundle import load_bundle
from edgetwin.perception.engines import Port
from edgetwin.perception.segmenter import Segmenter
from edgetwin.twin.errors import InputError
from edgetwin.twin.files import sha256_of

CLIP = example_clips()[1]
GRAPHS = {path.name for path in load_bundle("embedded").directory.glob("*.onnx")}


class Echo:
    """An engine that gives back what it gets."""

    inputs = outputs = (Port("x", (1,), "float32"),)
    device = "cpu"

    def run(self, inputs: dict[str, NDArray[np.float32]]) -> dict[str, NDArray[np.float32]]:
        return inputs

    def close(self) -> None:
        pass


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Calibration:
    bundle = load_bundle("embedded", device="cpu", threads=1)
    return calibrate(bundle, [CLIP], tmp_path_factory.mktemp("feeds"), 8, most=5)


def test_every_graph_is_reached_by_a_real_clip(found: Calibration) -> None:
    assert found.feeds.keys() == found.held_out.keys() == GRAPHS
    assert found.driven == ()
    assert found.shared == ("detector_text.onnx",)
    assert (found.clips, found.frames) == ({CLIP.name: sha256_of(CLIP)}, 8)
    assert all(1 <= len(feeds) <= 5 for feeds in (found.feeds | found.held_out).values())


def test_inputs_are_those_of_the_clip(found: Calibration) -> None:
    """Frames 0 to 5 of 8 calibrate, 6 and 7 judge; of the six a sample of five is kept."""
    frames = list(open_source(CLIP))
    step = len(frames) // 8
    seen: list[NDArray[np.float32]] = []

    class Seen(Echo):
        def run(self, inputs: dict[str, NDArray[np.float32]]) -> dict[str, NDArray[np.float32]]:
            seen.append(inputs["pixel_values"])
            zeros = np.zeros((1, 1, 1, 1), np.float32)
            names = ("embedding", "image_embedding", "high_res_0", "high_res_1")
            return dict.fromkeys(names, zeros)

    segmenter = Segmenter(load_bundle("embedded", device="cpu", threads=1))
    segmenter._encoder = Seen()
    for frame in frames[: 8 * step : step]:
        segmenter.encode(frame.image_hw3)
    first = [feed["pixel_values"] for feed in found.feeds["segmenter_encoder.onnx"]]
    later = [feed["pixel_values"] for feed in found.held_out["segmenter_encoder.onnx"]]
    assert [any(np.array_equal(a, b) for b in seen[:6]) for a in first] == [True] * 5
    assert all(np.array_equal(a, b) for a, b in zip(later, seen[6:], strict=True))


def test_pictures_without_objects_are_driven(tmp_path: Path) -> None:
    pictures = tmp_path / "empty"
    pictures.mkdir()
    for number in range(4):
        grey = np.full((96, 128, 3), 90 + number, np.uint8)
        assert cv2.imwrite(str(pictures / f"{number}.png"), grey)
    bundle = load_bundle("embedded", device="cpu", threads=1)
    found = calibrate(bundle, [pictures], tmp_path / "feeds", 4, most=3)
    assert found.feeds.keys() == found.held_out.keys() == GRAPHS
    assert set(found.driven) == {
        "segmenter_decoder.onnx",
        "segmenter_memory_attention.onnx",
        "segmenter_memory_encoder.onnx",
    }


def test_a_fair_sample_is_kept_and_read_one_at_a_time(tmp_path: Path) -> None:
    recorder = Recorder(Echo(), tmp_path, 10)
    for number in range(500):
        recorder.run({"x": np.array([number], np.float32)})
    recorder.part = "held_out"
    recorder.run({"x": np.array([500], np.float32)})
    kept = recorder.kept("feeds")
    numbers = [float(feed["x"][0]) for feed in kept]
    assert isinstance(kept, StoredFeeds)
    assert len(kept) == len({*numbers}) == 10
    assert max(numbers) > 250  # not the first ten
    assert [float(feed["x"][0]) for feed in kept[2:4]] == numbers[2:4]
    assert [float(feed["x"][0]) for feed in recorder.kept("held_out")] == [500]


def test_what_calibrates_nothing_is_refused(tmp_path: Path) -> None:
    bundle = load_bundle("embedded", device="cpu", threads=1)
    with pytest.raises(InputError, match="0 clips"):
        calibrate(bundle, [], tmp_path)
    with pytest.raises(InputError, match="1 frames"):
        calibrate(bundle, [CLIP], tmp_path, 1)
