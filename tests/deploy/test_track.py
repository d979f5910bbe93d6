"""Tracking without language: one pass, every file, exact counts, and what is kept when it stops."""

from __future__ import annotations

import json
import signal
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path

import av
import cv2
import numpy as np
import pytest

from edgetwin.deploy.models import Perception
from edgetwin.deploy.perceive import Tally, perceived, twin_files
from edgetwin.deploy.run import run
from edgetwin.deploy.stream.source import open_source
from edgetwin.deploy.track import Tracks, parse_words, track
from edgetwin.twin.errors import InputError, ModelError, SourceError
from edgetwin.twin.frame import Frame
from edgetwin.twin.jsonl import read_frames
from edgetwin.twin.schema import FrameTwin, ObjectTwin
from edgetwin.twin.store import TwinStore

from .scenes import PLAN_RED, SquareFinder, picture, square_models, write_clip, write_timed


class AheadFinder(SquareFinder):
    """Perceives three frames ahead of what it gives out, as a pipeline does."""

    def stream(self, frames: Iterable[Frame]) -> Iterator[FrameTwin]:
        held: list[FrameTwin] = []
        for frame in frames:
            held.append(self.observe(frame))
            if len(held) > 3:
                yield held.pop(0)
        yield from held


def squares(finder: SquareFinder | None = None) -> Perception:
    return Perception("squares", finder or SquareFinder())


def cut(path: Path) -> Path:
    data = write_clip(path, frames=40, movflags="faststart").read_bytes()
    path.write_bytes(data[: int(len(data) * 0.7)])
    return path


@pytest.mark.parametrize("finder", [SquareFinder, AheadFinder])
def test_one_pass_writes_every_file(tmp_path: Path, finder: type[SquareFinder]) -> None:
    out = tmp_path / "o"
    report = track(write_clip(tmp_path / "c.mp4"), out, squares(finder()))
    assert {p.name for p in out.iterdir()} == {
        "tracks.json", "masks.json", "overlay.mp4", "twin.jsonl", "twin.sqlite"
    }  # fmt: skip
    told = json.loads((out / "tracks.json").read_text())
    assert told == json.loads(json.dumps(report.document))
    assert (told["status"], told["reason"]) == ("ok", "")
    assert told["frames"] == {"in": 12, "processed": 12, "dropped": {}, "in_flight": 0}
    assert told["source"]["seconds"] == pytest.approx(1.1)
    red, blue = told["tracks"]
    assert (red["id"], red["label"], red["color"]) == (1, "box", "red")
    assert (red["first_seen"], red["frames_visible"]) == (0.0, 12)
    assert red["path_px"] == pytest.approx(22, abs=3)  # 2 px a frame
    assert blue["path_px"] == 0.0
    frames = read_frames(out / "twin.jsonl")
    assert [f.index for f in frames] == list(range(12))
    with TwinStore(out / "twin.sqlite") as store:
        assert list(store.frames()) == frames
    with av.open(str(out / "overlay.mp4")) as container:
        pictures = [f.to_ndarray(format="rgb24") for f in container.decode(video=0)]
    assert len(pictures) == 12


def test_an_ids_colour_is_the_same_in_every_frame(tmp_path: Path) -> None:
    track(write_clip(tmp_path / "c.mp4"), tmp_path / "o", squares())
    with av.open(str(tmp_path / "o" / "overlay.mp4")) as container:
        pictures = [f.to_ndarray(format="rgb24").astype(int) for f in container.decode(video=0)]
    scale = pictures[0].shape[0] / 96
    tints = [
        p[int(65 * scale) - 8 : int(65 * scale) + 8, int(95 * scale) - 8 : int(95 * scale) + 8]
        for p in pictures
    ]
    means = np.array([t.mean(axis=(0, 1)) for t in tints])
    assert np.ptp(means, axis=0).max() < 6
    assert np.abs(means[0] - np.array((30, 30, 200))).max() > 10  # tinted, not the bare square


def test_frames_are_counted_exactly_when_the_perceiver_works_ahead(tmp_path: Path) -> None:
    tally = Tally()
    source = open_source(write_clip(tmp_path / "c.mp4"))
    pairs = perceived(source, AheadFinder(), tally)
    for place, (frame, twin) in enumerate(islice(pairs, 5)):
        assert frame.index == twin.index == place
        assert np.array_equal(frame.image_hw3, next(islice(iter(source), place, None)).image_hw3)
        assert tally.read - tally.processed == 3  # in flight
    pairs.close()
    assert (tally.read, tally.processed) == (8, 5)


@pytest.mark.parametrize("finder", [SquareFinder, AheadFinder])
def test_max_frames_stops_early_without_reading_more(
    tmp_path: Path, finder: type[SquareFinder]
) -> None:
    used = finder()
    report = track(write_clip(tmp_path / "c.mp4"), tmp_path / "o", squares(used), max_frames=4)
    assert used.seen == 4
    assert report.status == "ok"
    assert report.frames == {"in": 4, "processed": 4, "dropped": {}, "in_flight": 0}
    with pytest.raises(InputError, match="at least 1"):
        track(tmp_path / "c.mp4", tmp_path / "o", squares(), max_frames=0)


def test_a_cut_video_is_partial_and_says_why(tmp_path: Path) -> None:
    report = track(cut(tmp_path / "cut.mp4"), tmp_path / "o", squares())
    assert report.status == "partial"
    assert "declares 40 frames" in report.reason
    assert 0 < report.frames["processed"] < 40
    frames = report.frames
    assert frames["in"] == frames["processed"] + sum(frames["dropped"].values())


def test_pictures_left_out_are_counted_by_reason(tmp_path: Path) -> None:
    frames = tmp_path / "frames"
    frames.mkdir()
    for step in range(5):
        cv2.imwrite(str(frames / f"{step}.png"), picture(step)[:, :, ::-1])
    (frames / "1.png").write_bytes(b"\x89PNG\r\n\x1a\n broken")
    cv2.imwrite(str(frames / "3.png"), picture()[:50, :, ::-1])
    report = track(frames, tmp_path / "o", squares())
    assert report.frames == {
        "in": 5, "processed": 3, "dropped": {"unreadable": 1, "other size": 1}, "in_flight": 0
    }  # fmt: skip
    assert report.status == "partial"
    assert "1 unreadable" in report.text()


def test_a_source_without_a_frame_leaves_its_status(tmp_path: Path) -> None:
    path = write_clip(tmp_path / "c.mp4", frames=3, movflags="faststart")
    data = path.read_bytes()
    at = data.index(b"mdat") + 4
    path.write_bytes(data[:at] + b"\xff" * (len(data) - at))
    with pytest.raises(SourceError, match=r"c\.mp4"):
        track(path, tmp_path / "o", squares())
    told = json.loads((tmp_path / "o" / "tracks.json").read_text())
    assert told["status"] == "error"
    assert "c.mp4" in told["reason"]
    assert told["frames"]["processed"] == 0


@pytest.mark.parametrize("finder", [SquareFinder, AheadFinder])
def test_interrupting_keeps_everything_until_then(
    tmp_path: Path, finder: type[SquareFinder]
) -> None:
    used = finder()
    used.fail_at = 7
    with pytest.raises(KeyboardInterrupt):
        track(write_clip(tmp_path / "c.mp4"), tmp_path / "o", squares(used))
    told = json.loads((tmp_path / "o" / "tracks.json").read_text())
    assert told["status"] == "interrupted"
    kept = 7 if finder is SquareFinder else 4
    assert told["frames"] == {
        "in": 8, "processed": kept, "dropped": {}, "in_flight": 8 - kept
    }  # fmt: skip
    assert len(read_frames(tmp_path / "o" / "twin.jsonl")) == kept
    assert len(json.loads((tmp_path / "o" / "masks.json").read_text())["frames"]) == kept
    with av.open(str(tmp_path / "o" / "overlay.mp4")) as container:
        assert sum(1 for _ in container.decode(video=0)) == kept


def test_a_failing_network_is_an_error_with_its_reason(tmp_path: Path) -> None:
    class Broken(SquareFinder):
        def observe(self, frame: Frame) -> FrameTwin:
            if frame.index == 2:
                raise ModelError("expected a result, got none: export it again")
            return super().observe(frame)

    with pytest.raises(ModelError):
        track(write_clip(tmp_path / "c.mp4"), tmp_path / "o", squares(Broken()))
    told = json.loads((tmp_path / "o" / "tracks.json").read_text())
    assert (told["status"], told["frames"]["processed"]) == ("error", 2)
    assert told["reason"].startswith("expected a result")


def test_no_overlay_is_drawn_when_none_is_wanted(tmp_path: Path) -> None:
    report = track(write_clip(tmp_path / "c.mp4", 3), tmp_path / "o", squares(), overlay=False)
    assert not (tmp_path / "o" / "overlay.mp4").exists()
    assert "masks.json" in report.text()


def test_track_and_run_replace_each_others_results(tmp_path: Path) -> None:
    clip, out = write_clip(tmp_path / "c.mp4", 3), tmp_path / "o"
    replies = [PLAN_RED, "<answer>$1</answer>"]
    run(clip, ["what is red?"], out, square_models(replies))
    track(clip, out, squares())
    assert not (out / "answer.json").exists()
    assert not list((out / "masks").glob("*.png"))
    run(clip, ["what is red?"], out, square_models(replies))
    assert not (out / "tracks.json").exists()


def test_a_gap_of_days_does_not_break_the_overlay(tmp_path: Path) -> None:
    clip = write_timed(tmp_path / "gap.mkv", [0.0, 0.1, 200_000.0, 200_000.1])
    report = track(clip, tmp_path / "o", squares())
    assert report.source["seconds"] == pytest.approx(200_000.1, abs=0.01)
    with av.open(str(tmp_path / "o" / "overlay.mp4")) as container:
        times = [float(f.time or 0) for f in container.decode(video=0)]
    np.testing.assert_allclose(times, [0.0, 0.1, 3600.1, 3600.2], atol=0.01)


def _frame(index: int, *objects: ObjectTwin) -> FrameTwin:
    by_id = {o.id: o for o in objects}
    return FrameTwin(index=index, timestamp_s=index / 10, width=100, height=100, objects=by_id)


def _at(id: int, x: float, state: str = "visible", depth: float | None = None) -> ObjectTwin:
    return ObjectTwin(
        id=id,
        semantic_label="mug",
        confidence=1.0,
        state=state,
        box_xyxy=(x - 5, 0, x + 5, 10),
        centroid=(x, 5),
        area=100,
        mean_depth=depth,
        first_seen=0.0,
        last_seen=0.0,
    )


def test_a_summary_counts_what_was_visible() -> None:
    tracks = Tracks()
    for index, x in enumerate((10.0, 10.9, 10.0, 20.0, 21.5, 30.0)):
        state = "occluded" if index == 4 else "visible"
        tracks.add(_frame(index, _at(3, x, state, depth=1.0 + index)))
    (record,) = tracks.records()
    assert record["frames_visible"] == 5
    assert record["path_px"] == 20.0  # trembling under 2 px is no path; 10 to 20, 20 to 30
    assert record["mean_depth"] == pytest.approx((1 + 2 + 3 + 4 + 6) / 5)


def test_summaries_are_bounded_and_the_loss_is_counted() -> None:
    tracks = Tracks(limit=3)
    for index in range(10):
        tracks.add(_frame(index, _at(1, 10.0), _at(index + 2, 50.0)))
    assert [r["id"] for r in tracks.records()] == [1, 10, 11]
    assert tracks.dropped == 8


def test_words_are_parsed_and_bounded() -> None:
    assert parse_words(" Mug,red  ball,, mug ") == ("mug", "red ball")
    assert parse_words(["Cup", "cup"]) == ("cup",)
    for bad in ("", " , ", ",".join(f"w{n}" for n in range(65)), "x" * 65):
        with pytest.raises(InputError):
            parse_words(bad)


def test_an_interrupted_frame_is_in_every_file_or_in_none(tmp_path: Path) -> None:
    class Interrupted(TwinStore):
        def append(self, frame: FrameTwin, at: float | None = None) -> None:
            super().append(frame, at)
            if frame.index == 1:
                signal.raise_signal(signal.SIGINT)

    def write_three() -> None:
        with (
            Interrupted(tmp_path / "twin.sqlite") as store,
            twin_files(tmp_path, store) as write,
        ):
            for k in range(3):
                write(FrameTwin(index=k, timestamp_s=k / 10, width=8, height=8, objects={}))

    with pytest.raises(KeyboardInterrupt):
        write_three()
    assert len(list(read_frames(tmp_path / "twin.jsonl"))) == 2
    assert len(json.loads((tmp_path / "masks.json").read_text())["frames"]) == 2
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
