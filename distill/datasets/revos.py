"""ReVOS and MeViS: expressions that mean objects of a video, with a mask per frame.

Layouts::

    ReVOS/JPEGImages/<video>/<frame>.jpg
    ReVOS/meta_expressions_train_.json, meta_expressions_valid_.json   (the underscore is theirs)
    ReVOS/mask_dict.json, mask_dict_foreground.json

    MeViS/{train,valid_u,valid}/JPEGImages/<video>/<frame>.jpg
    MeViS/{train,valid_u,valid}/meta_expressions.json, mask_dict.json

``mask_dict.json`` has, per annotation, run lengths or null for every frame of its video; a target
is the union of its expression's annotations. MeViS's ``valid`` is published without them: its
samples have no truth. ReVOS's ``type_id`` is 0 referring, 1 reasoning, 2 another kind
that the data set's summaries leave out.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ...twin.errors import InputError
from ...twin.schema import Rle
from .coco_masks import rle_of, united
from .reading import first_folder, inside, mapping, picture, read_json, value
from .sample import Sample

__all__ = ["KINDS", "MEVIS_SPLITS", "REVOS_SPLITS", "foreground", "mevis", "revos", "videos"]

REVOS_SPLITS = ("train", "valid")
MEVIS_SPLITS = ("train", "valid_u", "valid")
KINDS = {0: "referring", 1: "reason", 2: "other"}
_MAX_FRAMES = 10_000
_REVOS = "download ReVOS from the authors of VISA (github.com/cilinyan/ReVOS-api)"
_MEVIS = "download MeViS from its authors (github.com/henghuiding/MeViS)"


def revos(root: str | Path, split: str) -> Iterator[Sample]:
    """The expressions of a split, video by video in the order of the file.

    Args:
        root: ``ReVOS`` or the folder that holds it.
        split: ``train`` or ``valid``.

    Raises:
        InputError: for an unknown split, a file or frame that is missing, or masks that do not
            fit their video.
    """
    if split not in REVOS_SPLITS:
        raise InputError(f"expected a split of ReVOS in {', '.join(REVOS_SPLITS)}, got {split!r}")
    meta = f"meta_expressions_{split}_.json"
    folder = first_folder(root, "ReVOS", meta, _REVOS)
    yield from _expressions(folder, folder / meta, folder / "mask_dict.json", "revos", split)


def mevis(root: str | Path, split: str) -> Iterator[Sample]:
    """The expressions of a split of MeViS; as :func:`revos`."""
    if split not in MEVIS_SPLITS:
        raise InputError(f"expected a split of MeViS in {', '.join(MEVIS_SPLITS)}, got {split!r}")
    folder = first_folder(root, "MeViS", split, _MEVIS) / split
    meta = folder / "meta_expressions.json"
    yield from _expressions(folder, meta, folder / "mask_dict.json", "mevis", split)


def videos(root: str | Path, name: str, split: str) -> tuple[str, ...]:
    """The names of the videos of a split of ``revos`` or ``mevis``; needs no pictures."""
    if name == "revos":
        meta = f"meta_expressions_{split}_.json"
        path = first_folder(root, "ReVOS", meta, _REVOS) / meta
    else:
        path = first_folder(root, "MeViS", split, _MEVIS) / split / "meta_expressions.json"
    hint = _REVOS if name == "revos" else _MEVIS
    return tuple(value(read_json(path, hint), "videos", dict, str(path)))


def foreground(root: str | Path) -> dict[str, tuple[tuple[Rle | None, ...], Any]]:
    """Video -> (the mask of everything in front per frame, the share of it, as the file has it).

    Raises:
        InputError: if ``mask_dict_foreground.json`` is missing or of another form.
    """
    file = "mask_dict_foreground.json"
    path = first_folder(root, "ReVOS", file, _REVOS) / file
    found: dict[str, tuple[tuple[Rle | None, ...], Any]] = {}
    for video, record in mapping(read_json(path, _REVOS), str(path)).items():
        where = f"{path}, {video}"
        rles = value(record, "masks_rle", list, where)
        per_frame = tuple(None if rle is None else rle_of(rle, where) for rle in rles)
        found[video] = (per_frame, record.get("foreground_ratio"))
    return found


def _expressions(
    folder: Path, meta: Path, mask_file: Path, name: str, split: str
) -> Iterator[Sample]:
    hint = _REVOS if name == "revos" else _MEVIS
    records = value(read_json(meta, hint), "videos", dict, str(meta))
    told = any(e.get("anno_id") for v in records.values() for e in _of(v, str(meta)).values())
    annotations = mapping(read_json(mask_file, hint), str(mask_file)) if told else {}
    for video, record in records.items():
        where = f"{meta}, {video}"
        frames = tuple(str(f) for f in value(record, "frames", list, where))
        if not 0 < len(frames) <= _MAX_FRAMES:
            raise InputError(f"{where}: expected 1 to {_MAX_FRAMES} frames, got {len(frames)}")
        pictures = inside(folder / "JPEGImages", video)
        paths = tuple(picture(pictures, f"{frame}.jpg", hint) for frame in frames)
        for eid, expression in _of(record, where).items():
            text = value(expression, "exp", str, where).strip()
            if not text:
                continue
            key = f"{name}/{split}/{video}/{eid}"
            type_id = expression.get("type_id")
            yield Sample(
                key=key,
                dataset=name,
                split=split,
                group=video,
                pictures=paths,
                questions=(text,),
                truth=_truth(expression, annotations, len(frames), key),
                kind=KINDS.get(type_id, "") if isinstance(type_id, int) else "",
                folder=pictures,
            )


def _of(video: Any, where: str) -> Mapping[str, dict[str, Any]]:
    """A video's expressions by their id."""
    found: dict[str, dict[str, Any]] = value(video, "expressions", dict, where)
    for expression in found.values():
        mapping(expression, where)
    return found


def _truth(
    expression: dict[str, Any], annotations: dict[str, Any], frames: int, where: str
) -> dict[int, Rle] | None:
    """The union of the expression's annotations per frame; None if it does not say any."""
    ids = expression.get("anno_id")
    if ids is None:
        return None
    parts: dict[int, list[Rle]] = {}
    for anno_id in ids if isinstance(ids, list) else [ids]:
        rles = annotations.get(str(anno_id))
        if not isinstance(rles, list) or len(rles) != frames:
            got = len(rles) if isinstance(rles, list) else "none"
            raise InputError(
                f"{where}: expected masks or null of annotation {anno_id} for {frames} frames in "
                f"mask_dict.json, got {got}; the two files may be of different versions"
            )
        for place, rle in enumerate(rles):
            if rle is not None:
                parts.setdefault(place, []).append(rle_of(rle, f"{where}, frame {place}"))
    unions = {place: united(found) for place, found in parts.items()}
    return {place: rle for place, rle in unions.items() if rle is not None}
