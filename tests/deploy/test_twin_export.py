"""Exports read back by others: pycocotools, Pillow, csv, numpy and hands."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Iterator
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path

import numpy as np
import pytest

from edgetwin.deploy.twin_export import CSV_COLUMNS, FORMATS, Exported, Format, export_twin
from edgetwin.deploy.twin_files import TwinFile
from edgetwin.twin import mask as rle
from edgetwin.twin.errors import OutputError, SchemaError
from edgetwin.twin.jsonl import read_frames, write_frames
from edgetwin.twin.schema import FrameTwin, ObjectTwin

from .twins import tracked

# pycocotools asks numpy for a copy in the old way
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")


@pytest.fixture(scope="module")
def twin(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Squares for eight frames; the red one is hidden in the last two."""
    folder = tracked(tmp_path_factory.mktemp("twin"))
    frames = read_frames(folder / "twin.jsonl")
    hidden = {"state": "occluded", "mask": None, "last_seen": frames[5].timestamp_s}
    for place in (6, 7):
        red = frames[5].objects[1].model_copy(update=hidden)
        objects = {**frames[place].objects, 1: red}
        frames[place] = frames[place].model_copy(update={"objects": objects})
    alone = folder.parent / "alone"
    alone.mkdir()
    write_frames(alone / "twin.jsonl", frames)
    return alone


@pytest.fixture(scope="module")
def frames(twin: Path) -> list[FrameTwin]:
    return read_frames(twin / "twin.jsonl")


def export(twin: Path, out: Path, kind: Format) -> Exported:
    return export_twin(TwinFile(twin), out, kind)


def visible(frames: list[FrameTwin]) -> Iterator[tuple[int, ObjectTwin]]:
    for place, frame in enumerate(frames):
        for _, obj in sorted(frame.objects.items()):
            if obj.state == "visible":
                yield place, obj


def test_coco_is_what_pycocotools_reads(
    twin: Path, frames: list[FrameTwin], tmp_path: Path
) -> None:
    coco = pytest.importorskip("pycocotools.coco")
    done = export(twin, tmp_path / "a" / "twin.json", "coco")
    assert (done.frames, done.records) == (8, 14)
    with redirect_stdout(StringIO()):
        api = coco.COCO(str(done.path))
    assert [c["name"] for c in api.loadCats(api.getCatIds())] == ["box"]
    images = api.loadImgs(sorted(api.getImgIds()))
    assert [i["file_name"] for i in images] == [f"squares/{n:05d}.jpg" for n in range(8)]
    assert {(i["width"], i["height"]) for i in images} == {(128, 96)}
    annotations = api.loadAnns(sorted(api.getAnnIds()))
    for annotation, (place, obj) in zip(annotations, visible(frames), strict=True):
        assert annotation["image_id"] == place + 1
        assert annotation["track_id"] == obj.id
        mask_hw = api.annToMask(annotation)
        assert (mask_hw == rle.decode(obj.mask)).all()
        assert annotation["area"] == mask_hw.sum()
        x, y, width, height = annotation["bbox"]
        assert (x, y, x + width, y + height) == obj.box_xyxy
    detections = [
        {k: a[k] for k in ("image_id", "category_id", "segmentation", "score")} for a in annotations
    ]
    with redirect_stdout(StringIO()):  # against itself everything is found: AP = 1
        scored = pytest.importorskip("pycocotools.cocoeval").COCOeval(
            api, api.loadRes(detections), "segm"
        )
        scored.evaluate()
        scored.accumulate()
        scored.summarize()
    assert scored.stats[0] == pytest.approx(1.0)


def test_youtube_vis_has_one_annotation_per_id_with_nulls_where_hidden(
    twin: Path, frames: list[FrameTwin], tmp_path: Path
) -> None:
    masks = pytest.importorskip("pycocotools.mask")
    done = export(twin, tmp_path / "twin.json", "ytvis")
    document = json.loads(done.path.read_text())
    (video,) = document["videos"]
    assert (video["length"], len(video["file_names"])) == (8, 8)
    assert (video["width"], video["height"]) == (128, 96)
    assert {c["id"] for c in document["categories"]} == {1}
    assert [a["id"] for a in document["annotations"]] == [1, 2]
    red, blue = document["annotations"]
    assert [s is None for s in red["segmentations"]] == [False] * 6 + [True] * 2
    assert red["bboxes"][6:] == red["areas"][6:] == [None, None]
    assert None not in blue["segmentations"]
    for annotation in (red, blue):
        assert annotation["video_id"] == video["id"]
        for place, code in enumerate(annotation["segmentations"]):
            if code is not None:
                mask_hw = masks.decode(code)
                assert (mask_hw == rle.decode(frames[place].objects[annotation["id"]].mask)).all()
                assert annotation["areas"][place] == masks.area(code)
                assert annotation["bboxes"][place] == list(masks.toBbox(code))


def test_mot_counts_frames_and_pixels_from_one(
    twin: Path, frames: list[FrameTwin], tmp_path: Path
) -> None:
    done = export(twin, tmp_path / "squares.txt", "mot")
    rows = np.loadtxt(done.path, delimiter=",")
    assert rows.shape == (14, 10)
    for row, (place, obj) in zip(rows, visible(frames), strict=True):
        x0, y0, x1, y1 = obj.box_xyxy
        assert row[:2].tolist() == [place + 1, obj.id]
        assert row[2:6].tolist() == pytest.approx([x0 + 1, y0 + 1, x1 - x0, y1 - y0], abs=1e-4)
        assert row[6] == pytest.approx(obj.confidence, abs=1e-4)
        assert row[7:].tolist() == [-1, -1, -1]


def test_csv_has_one_row_per_object_and_frame(
    twin: Path, frames: list[FrameTwin], tmp_path: Path
) -> None:
    done = export(twin, tmp_path / "twin.csv", "csv")
    with done.path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert tuple(rows[0]) == CSV_COLUMNS
    assert len(rows) == done.records == 16  # hidden ones too
    wanted = [(f, o) for f in frames for _, o in sorted(f.objects.items())]
    for row, (frame, obj) in zip(rows, wanted, strict=True):
        assert (int(row["frame"]), int(row["id"])) == (frame.index, obj.id)
        assert (row["label"], row["state"], row["color"]) == (
            "box", obj.state, obj.attributes["color"]
        )  # fmt: skip
        assert math.isclose(float(row["time_s"]), frame.timestamp_s, abs_tol=1e-4)
        assert [float(row[k]) for k in ("x0", "y0", "x1", "y1")] == list(obj.box_xyxy)
        assert (int(row["area"]), row["mean_depth"], row["x_m"]) == (obj.area, "", "")


def test_csv_quotes_labels_with_commas_and_line_ends(tmp_path: Path) -> None:
    label = 'a "b", c\nd'
    thing = ObjectTwin(
        id=1, semantic_label=label, confidence=1, box_xyxy=(0, 0, 2, 2), centroid=(1, 1), area=4,
        first_seen=0, last_seen=0,
    )  # fmt: skip
    frame = FrameTwin(index=0, timestamp_s=0, width=4, height=4, objects={1: thing})
    write_frames(tmp_path / "twin.jsonl", [frame])
    export(tmp_path, tmp_path / "twin.csv", "csv")
    with (tmp_path / "twin.csv").open(newline="") as file:
        (row,) = csv.DictReader(file)
    assert row["label"] == label
    document = json.loads(export(tmp_path, tmp_path / "c.json", "coco").path.read_text())
    assert document["categories"][0]["name"] == label
    (annotation,) = document["annotations"]  # without a mask an object is its box
    assert annotation["area"] == 4
    assert annotation["bbox"] == [0, 0, 2, 2]


def test_davis_pictures_hold_ids_in_the_palette(
    twin: Path, frames: list[FrameTwin], tmp_path: Path
) -> None:
    image = pytest.importorskip("PIL.Image")
    done = export(twin, tmp_path / "squares", "davis")
    names = sorted(p.name for p in done.path.iterdir())
    assert names == [f"{n:05d}.png" for n in range(8)]
    for place, name in enumerate(names):
        with image.open(done.path / name) as picture:
            assert picture.mode == "P"
            index_hw = np.asarray(picture)
            assert picture.getpalette()[3:6] == [128, 0, 0]
        for key, obj in frames[place].objects.items():
            wanted_hw = rle.decode(obj.mask) if obj.mask else np.zeros((96, 128), bool)
            assert ((index_hw == key) == wanted_hw).all()


def test_davis_warns_of_ids_that_wrap(twin: Path, frames: list[FrameTwin], tmp_path: Path) -> None:
    far = frames[0].objects[1].model_copy(update={"id": 300})
    write_frames(tmp_path / "twin.jsonl", [frames[0].model_copy(update={"objects": {300: far}})])
    (warning,) = export(tmp_path, tmp_path / "png", "davis").warnings
    assert "300" in warning
    assert export(twin, tmp_path / "png2", "davis").warnings == []


def test_json_lines_come_back_equal(twin: Path, frames: list[FrameTwin], tmp_path: Path) -> None:
    done = export(twin, tmp_path / "twin.jsonl", "jsonl")
    assert read_frames(done.path) == frames
    with pytest.raises(OutputError, match=r"twin .* itself"):
        export(tmp_path, tmp_path / "twin.jsonl", "jsonl")
    assert read_frames(done.path) == frames


@pytest.mark.parametrize("kind", FORMATS)
def test_what_cannot_be_written_or_read_leaves_no_half_file(
    twin: Path, tmp_path: Path, kind: Format
) -> None:
    blocked = tmp_path / "file"
    blocked.write_text("in the way")
    with pytest.raises(OutputError, match="expected to write"):
        export(twin, blocked / "under" if kind != "davis" else blocked, kind)
    broken = tmp_path / "broken"
    broken.mkdir()
    text = (twin / "twin.jsonl").read_text().splitlines()
    (broken / "twin.jsonl").write_text("\n".join([*text[:3], "{}", *text[3:]]))
    out = tmp_path / "out" / "file"
    with pytest.raises(SchemaError, match="line 4"):
        export(broken, out, kind)
    if kind != "davis":
        assert not list(out.parent.glob("*"))


def test_an_empty_twin_makes_empty_documents(tmp_path: Path) -> None:
    (tmp_path / "twin.jsonl").write_text("")
    for kind in FORMATS:
        done = export(tmp_path, tmp_path / f"out-{kind}", kind)  # type: ignore[arg-type]
        assert (done.frames, done.records) == (0, 0)
    for kind in ("coco", "ytvis"):
        assert json.loads((tmp_path / f"out-{kind}").read_text())["annotations"] == []
