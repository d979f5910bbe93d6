"""Odd and damaged videos end with a clear status: never a crash, a hang or a bare exception.

The default run covers some kinds of every group; all of them, over camera clips if the variable
``EDGETWIN_CLIPS`` names a folder of them, run with ``EDGETWIN_SLOW=1`` or by
``python -m tests.attacks.run_variants --from FOLDER --count 200``.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from edgetwin.deploy.models import Perception
from edgetwin.deploy.stream.source import open_source
from edgetwin.deploy.track import track
from edgetwin.perception.bundle import load_bundle
from edgetwin.perception.depth import DepthEstimator
from edgetwin.perception.detector import Detector
from edgetwin.perception.perceiver import Perceiver
from edgetwin.perception.segmenter import Segmenter
from edgetwin.twin.errors import SourceError
from edgetwin.twin.frame import Frame
from edgetwin.twin.schema import FrameTwin

from ..deploy.scenes import SquareFinder
from ..test_cli import embedded
from .run_variants import ROOT, Worker, attempt, judge, table
from .video_damage import KINDS
from .video_variants import Clip, Kind, load_clip, make_variants

EXAMPLES = ROOT / "examples"
NAMES = {kind.name: kind for kind in KINDS}
QUICK = (
    "1x1", "3x5", "odd-vp9", "10-bit-h264", "alpha-qtrle", "grey-16-bit", "mjpeg-avi", "gif",
    "apng", "fragments", "name-with-colon", "size-change-mjpeg", "variable-rate-mkv",
    "gap-of-days", "time-lapse", "rotated-90", "jpeg", "one-frame", "title-in-latin-1",
    "10-bytes", "100-bytes-ts", "zeroed-gap", "cut-50%-mkv", "index-fuzzed", "edit-list-late",
    "ticks-zero", "first-keyframe-gone", "one-time-huge", "empty", "garbage-behind-ftyp",
    "playlist", "giant-gif", "sound-only-m4a", "link-to-itself",
)  # fmt: skip
SHOWN = ("1x1", "line", "wide", "rotated-90", "size-change-mjpeg", "grey")


@pytest.fixture(scope="module")
def clips() -> list[Clip]:
    return [load_clip(EXAMPLES / f"{name}.mp4", 6, 96) for name in ("spatial", "temporal")]


def run(
    folder: Path, clips: list[Clip], kinds: list[Kind], models: str | Perception, seed: int = 0
) -> None:
    outcomes = [
        judge(variant, attempt(variant.path, folder / "out", 10, models))
        for variant in make_variants(folder / "v", clips, kinds, seed=seed)
    ]
    assert outcomes
    assert not any(o.bad for o in outcomes), table(outcomes)


def test_kinds_have_names_of_their_own() -> None:
    assert len(NAMES) == len(KINDS) > 150


@pytest.mark.parametrize("name", QUICK)
def test_a_variant_ends_with_a_clear_status(tmp_path: Path, clips: list[Clip], name: str) -> None:
    run(tmp_path, clips, [NAMES[name]], Perception("squares", SquareFinder()))


@embedded
def test_the_networks_take_every_size(tmp_path: Path, clips: list[Clip]) -> None:
    bundle = load_bundle("embedded")
    detector, segmenter, depth = Detector(bundle), Segmenter(bundle), DepthEstimator(bundle)
    short = [Clip(c.path, c.pictures[:3]) for c in clips]
    for name in SHOWN:
        perceiver = Perceiver(bundle, detector=detector, segmenter=segmenter, depth=depth)
        run(tmp_path, short, [NAMES[name]], Perception("embedded", perceiver))


@pytest.mark.parametrize("name", ["100-bytes", "packets-shuffled", "garbage"])
def test_a_seed_gives_the_same_bytes_again(tmp_path: Path, clips: list[Clip], name: str) -> None:
    made = [
        next(make_variants(tmp_path / f"{n}", clips, [NAMES[name]], seed=seed)).path.read_bytes()
        for n, seed in enumerate((3, 3, 4))
    ]
    assert made[0] == made[1] != made[2]


def test_times_rise_whatever_the_file_says(tmp_path: Path, clips: list[Clip]) -> None:
    wanted = [k for k in KINDS if k.group in ("time", "packets and clocks")]
    for variant in make_variants(tmp_path, clips, wanted):
        try:
            times = [frame.timestamp_s for frame in open_source(variant.path)]
        except SourceError:
            continue
        assert times[0] == 0.0
        assert (np.diff(times) > 0).all(), variant.path.name


def test_a_clock_that_jumps_back_is_taken_up_where_it_was(
    tmp_path: Path, clips: list[Clip]
) -> None:
    (variant,) = make_variants(tmp_path, clips, [NAMES["times-jump-back"]])
    steps = np.diff([frame.timestamp_s for frame in open_source(variant.path)])
    assert len(steps) == 5
    assert steps.max() <= 0.11  # 0.1 s each, though the fourth goes back by a quarter of an hour
    assert steps[3:] == pytest.approx(0.1, abs=0.01)


class Odd(SquareFinder):
    """Fails in the ways that a worker has to notice."""

    def __init__(self, way: str) -> None:
        super().__init__()
        self.way = way

    def observe(self, frame: Frame) -> FrameTwin:
        if self.way == "bare":
            raise RuntimeError("a bare exception")
        return super().observe(frame)


def test_the_judge_sees_what_must_not_be(tmp_path: Path, clips: list[Clip]) -> None:
    (variant,) = make_variants(tmp_path, clips, [NAMES["faststart"]])
    crash = attempt(variant.path, tmp_path / "o", 9, Perception("odd", Odd("bare")))
    assert judge(variant, crash).bad.startswith("crash")
    fine = attempt(variant.path, tmp_path / "o", 9, Perception("odd", Odd("")))
    assert judge(variant, fine).bad == ""
    assert judge(variant, {**fine, "frames": 5}).bad == "5 frames, expected 6"
    assert judge(variant, {**fine, "status": "partial"}).bad.startswith("partial")
    assert judge(variant, fine, limit_mb=1).bad.endswith("allowed: 1")


@pytest.fixture
def worker() -> Iterator[Worker]:
    worker = Worker(timeout_s=60)
    yield worker
    worker.close()


@embedded
def test_a_worker_that_hangs_or_dies_is_told_and_replaced(tmp_path: Path, worker: Worker) -> None:
    first = worker.run(tmp_path / "none.mp4", tmp_path / "o", 2)
    assert first["status"] == "error"
    process = worker._process
    assert process is not None
    process.send_signal(signal.SIGSTOP)
    worker.timeout_s = 0.5
    assert worker.run(EXAMPLES / "spatial.mp4", tmp_path / "o", 2)["status"] == "hang"
    assert process.poll() is not None
    assert worker._process is None


@pytest.mark.slow
@embedded
@pytest.mark.skipif(not os.environ.get("EDGETWIN_SLOW"), reason="takes minutes: EDGETWIN_SLOW=1")
def test_every_kind_ends_with_a_clear_status(tmp_path: Path) -> None:
    folder = Path(os.environ.get("EDGETWIN_CLIPS") or EXAMPLES)
    clips = [load_clip(path, 6) for path in sorted(folder.glob("*.mp4"))]
    run(tmp_path, clips, list(KINDS), "embedded")
    report = track(clips[0].path, tmp_path / "own", max_frames=30)
    assert report.status == "ok"
    assert report.frames["processed"] == 30
