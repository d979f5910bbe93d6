"""A twin in the field's formats: COCO, YouTube-VIS, MOTChallenge, DAVIS, CSV, JSON lines.

Everything is written frame by frame as it is read, beside its place first, so that a file is there
whole or not at all. Hidden objects have no box of their own in a frame and are left out, except
from CSV and JSON lines, which hold every record.

========  ====================================================================================
jsonl     one :class:`FrameTwin` per line, as ``twin.jsonl``
coco      COCO instances (``images``, ``annotations``, ``categories``) with compressed RLE, boxes
          (x, y, width, height); ``track_id`` is the twin's id, ``score`` its confidence
ytvis     YouTube-VIS: one video, one annotation per id with a mask, box and area or null per frame
mot       MOTChallenge results: frame, id, left, top, width, height, confidence, -1, -1, -1; frames
          and pixels count from 1
csv       one row per object and frame (:data:`CSV_COLUMNS`), empty where a value is unknown
davis     a folder of palette pictures ``00000.png``, index = id, 255 never used
========  ====================================================================================

Not covered: the pictures themselves, several sources in one file, ids above 254 in DAVIS (they
wrap, and a warning says so), text cells that a spreadsheet would take for a formula.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal, TextIO

from ..twin import mask as rle
from ..twin.errors import OutputError
from ..twin.schema import FrameTwin, ObjectTwin
from .stream.sinks import MaskPngSink, writing
from .twin_files import TwinFile

__all__ = ["CSV_COLUMNS", "FORMATS", "Exported", "Format", "export_twin"]

Format = Literal["jsonl", "coco", "ytvis", "mot", "csv", "davis"]
CSV_COLUMNS: Final = (
    "frame", "time_s", "id", "label", "color", "state", "confidence",
    "x0", "y0", "x1", "y1", "center_x", "center_y", "area", "mean_depth", "depth_unit",
    "x_m", "y_m", "z_m", "velocity_x", "velocity_y", "first_seen", "last_seen", "origin",
)  # fmt: skip
_MAX_INDEX = 254  # DAVIS has 255 for void
_DECIMALS = 4  # tenths of a millimetre, hundredths of a pixel and better


@dataclass
class Exported:
    """What was written: where, how many frames and records, and one line per warning."""

    path: Path
    frames: int = 0
    records: int = 0
    warnings: list[str] = field(default_factory=list)


def export_twin(twin: TwinFile, out: Path, kind: Format) -> Exported:
    """Write a twin as ``kind``: a file at ``out``, or for ``davis`` a folder.

    Raises:
        InputError, SchemaError, StoreError: if the twin cannot be read.
        SchemaError: if a mask is malformed.
        OutputError: if ``out`` cannot be written, or is the twin itself.
    """
    if out.exists() and out.samefile(twin.path):
        raise OutputError(
            f"expected another file than the twin {twin.path} itself, got it: choose another -o"
        )
    done = Exported(out)
    FORMATS[kind](_counted(twin.frames(), done), out, done)
    return done


def _counted(frames: Iterator[FrameTwin], done: Exported) -> Iterator[FrameTwin]:
    for frame in frames:
        done.frames += 1
        yield frame


def _seen(frame: FrameTwin) -> Iterator[ObjectTwin]:
    """Visible objects by id."""
    return (o for _, o in sorted(frame.objects.items()) if o.state == "visible")


@contextmanager
def _whole_file(out: Path) -> Iterator[TextIO]:
    """A file that takes its place when it is complete."""
    beside = out.with_name(out.name + ".part")
    with writing(out):
        if out.is_dir():
            raise IsADirectoryError(21, "Is a directory, and this format is one file")
        out.parent.mkdir(parents=True, exist_ok=True)
        try:
            with beside.open("w", encoding="utf-8", newline="") as file:
                yield file
            beside.replace(out)
        finally:
            beside.unlink(missing_ok=True)


# ---- text formats, line by line


def _jsonl(frames: Iterator[FrameTwin], out: Path, done: Exported) -> None:
    with _whole_file(out) as file:
        for frame in frames:
            file.write(frame.model_dump_json() + "\n")
            done.records += len(frame.objects)


def _mot(frames: Iterator[FrameTwin], out: Path, done: Exported) -> None:
    with _whole_file(out) as file:
        for place, frame in enumerate(frames, 1):
            for obj in _seen(frame):
                x0, y0, x1, y1 = obj.box_xyxy
                numbers = (x0 + 1, y0 + 1, x1 - x0, y1 - y0, obj.confidence)
                cells = [str(place), str(obj.id), *(_short(n) for n in numbers), "-1", "-1", "-1"]
                file.write(",".join(cells) + "\n")
                done.records += 1


def _csv(frames: Iterator[FrameTwin], out: Path, done: Exported) -> None:
    with _whole_file(out) as file:
        rows = csv.writer(file, lineterminator="\n")
        rows.writerow(CSV_COLUMNS)
        for frame in frames:
            for _, obj in sorted(frame.objects.items()):
                rows.writerow(_cells(frame, obj))
                done.records += 1


def _cells(frame: FrameTwin, obj: ObjectTwin) -> list[Any]:
    place_m = obj.centroid_m or (None, None, None)
    unit = obj.depth_stats.unit if obj.depth_stats else None
    numbers = (*obj.box_xyxy, *obj.centroid)
    return [
        frame.index, _short(frame.timestamp_s), obj.id, obj.semantic_label,
        obj.attributes.get("color"), obj.state, _short(obj.confidence),
        *(_short(n) for n in numbers), obj.area, _short(obj.mean_depth), unit,
        *(_short(n) for n in place_m), *(_short(n) for n in obj.velocity),
        _short(obj.first_seen), _short(obj.last_seen), obj.origin,
    ]  # fmt: skip


def _short(value: float | None) -> str:
    """A number without needless digits: ``3``, ``3.25``."""
    return "" if value is None else f"{value:.{_DECIMALS}f}".rstrip("0").rstrip(".")


# ---- COCO and YouTube-VIS


class _Categories:
    """Labels as numbers from 1, in the order they were met."""

    def __init__(self) -> None:
        self._known: dict[str, int] = {}

    def id_of(self, label: str) -> int:
        return self._known.setdefault(label, len(self._known) + 1)

    def records(self) -> list[dict[str, Any]]:
        return [
            {"id": i, "name": name, "supercategory": "object"} for name, i in self._known.items()
        ]


def _info(done: Exported) -> dict[str, str]:
    return {"description": f"EdgeTwin's twin, written as {done.path.name}", "version": "1"}


def _coco(frames: Iterator[FrameTwin], out: Path, done: Exported) -> None:
    """Annotations are written as they come, images and categories, which are small, after them."""
    images: list[dict[str, Any]] = []
    categories = _Categories()
    with _whole_file(out) as file:
        file.write(f'{{"info": {json.dumps(_info(done))}, "licenses": [], "annotations": [')
        for number, frame in enumerate(frames, 1):
            images.append(_image(number, frame))
            for obj in _seen(frame):
                record = {
                    "id": done.records + 1,
                    "image_id": number,
                    "category_id": categories.id_of(obj.semantic_label),
                    **_shape(obj, frame),
                    "iscrowd": 0,
                    "track_id": obj.id,
                    "score": round(obj.confidence, _DECIMALS),
                    "attributes": obj.attributes,
                }
                file.write((",\n" if done.records else "\n") + json.dumps(record))
                done.records += 1
        file.write(f'],\n"images": {json.dumps(images)},\n')
        file.write(f'"categories": {json.dumps(categories.records())}}}\n')


def _image(number: int, frame: FrameTwin) -> dict[str, Any]:
    return {
        "id": number,
        "width": frame.width,
        "height": frame.height,
        "file_name": _picture(frame),
        "frame_index": frame.index,
        "timestamp_s": frame.timestamp_s,
    }


def _picture(frame: FrameTwin) -> str:
    """The frame's picture as datasets of video frames name it."""
    return f"{Path(frame.source_id).stem or 'source'}/{frame.index:05d}.jpg"


def _shape(obj: ObjectTwin, frame: FrameTwin) -> dict[str, Any]:
    """Mask, box and area as COCO has them; an object without a mask is its box."""
    code = obj.mask or _box_mask(obj, frame)
    x0, y0, x1, y1 = rle.to_box(code) if obj.mask else obj.box_xyxy
    return {
        "segmentation": {"size": list(code.size), "counts": code.counts},
        "bbox": [round(v, _DECIMALS) for v in (x0, y0, x1 - x0, y1 - y0)],
        "area": rle.area(code),
    }


def _box_mask(obj: ObjectTwin, frame: FrameTwin) -> Any:
    import numpy as np

    x0, y0, x1, y1 = (max(0, round(v)) for v in obj.box_xyxy)
    filled_hw = np.zeros((frame.height, frame.width), np.bool_)
    filled_hw[y0:y1, x0:x1] = True
    return rle.encode(filled_hw)


def _ytvis(frames: Iterator[FrameTwin], out: Path, done: Exported) -> None:
    """One annotation per id needs all its frames: the masks, as text, are held until the end."""
    names: list[str] = []
    size = (0, 0)
    tracks: dict[int, dict[str, Any]] = {}
    categories = _Categories()
    for place, frame in enumerate(frames):
        names.append(_picture(frame))
        size = size if place else (frame.width, frame.height)
        for obj in _seen(frame):
            known = tracks.setdefault(obj.id, {"labels": {}, "shapes": {}})
            known["shapes"][place] = _shape(obj, frame)
            counts = known["labels"]
            counts[obj.semantic_label] = counts.get(obj.semantic_label, 0) + 1
    video = {
        "id": 1,
        "width": size[0],
        "height": size[1],
        "length": len(names),
        "file_names": names,
    }
    annotations = []
    for object_id, known in sorted(tracks.items()):
        label = max(known["labels"], key=known["labels"].__getitem__)
        shapes = [known["shapes"].get(place) for place in range(len(names))]
        annotations.append(
            {
                "id": object_id,
                "video_id": 1,
                "category_id": categories.id_of(label),
                "iscrowd": 0,
                "width": size[0],
                "height": size[1],
                "segmentations": [s and s["segmentation"] for s in shapes],
                "bboxes": [s and s["bbox"] for s in shapes],
                "areas": [s and s["area"] for s in shapes],
            }
        )
    done.records = len(annotations)
    document = {"info": _info(done), "licenses": [], "videos": [video]}
    document |= {"categories": categories.records(), "annotations": annotations}
    with _whole_file(out) as file:
        json.dump(document, file)
        file.write("\n")


# ---- pictures


def _davis(frames: Iterator[FrameTwin], out: Path, done: Exported) -> None:
    highest = 0
    with writing(out):
        if out.exists() and not out.is_dir():
            raise NotADirectoryError(20, "Not a folder, and this format is a folder of pictures")
    for frame in frames:
        ids = {o.id for o in _seen(frame)}
        MaskPngSink(out, ids).write(frame)
        done.records += len(ids)
        highest = max([highest, *ids])
    if highest > _MAX_INDEX:
        done.warnings.append(
            f"ids go up to {highest} and palette indices to {_MAX_INDEX}: higher ones wrap, and "
            "two objects may share an index; coco and csv have the true ids"
        )


Writer = Callable[[Iterator[FrameTwin], Path, Exported], None]
FORMATS: Final[Mapping[str, Writer]] = {
    "jsonl": _jsonl,
    "coco": _coco,
    "ytvis": _ytvis,
    "mot": _mot,
    "csv": _csv,
    "davis": _davis,
}
