"""ReasonSeg (LISA): pictures with implicit questions and polygons.

Layout: ``ReasonSeg/{train,val,test}/X.jpg`` beside ``X.json`` with ``text`` (list of questions),
``is_sentence`` (true: a long question) and ``shapes`` (``label``, ``points``); and
``ReasonSeg/explanatory/train.json``, a list of ``image``, ``query``, ``outputs``.

As LISA reads it: some files are cp1252. A shape labelled ``flag`` is left out, one whose label
holds ``ignore`` paints 255 (neither right nor wrong), any other 1. Shapes are painted from the
largest to the smallest, outline of thickness 1 and filled, so a small one lies on top. Two test
files have no shapes; they are left out and counted. Validation and test use the first text only.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from ...deploy.stream.source import open_source
from ...twin import mask as masks
from ...twin.errors import InputError
from .reading import first_folder, mapping, picture, read_json, value
from .sample import Sample

__all__ = ["IGNORED", "SPLITS", "explanations", "paint_shapes", "pictures", "reasonseg"]

SPLITS = ("train", "val", "test")
IGNORED = 255
_HINT = "download ReasonSeg from the authors of LISA (github.com/dvlab-research/LISA)"
_ENCODINGS = ("utf-8", "cp1252")
_MAX_POINTS = 100_000


def reasonseg(
    root: str | Path, split: str, skipped: Counter[str] | None = None
) -> Iterator[Sample]:
    """The pictures of a split by name, each with its questions.

    Args:
        root: ``ReasonSeg`` or the folder that holds it.
        split: ``train``, ``val`` or ``test``.
        skipped: counts what was left out, by reason.

    Raises:
        InputError: for an unknown split, a picture that is missing or a file of another form.
    """
    if split not in SPLITS:
        raise InputError(f"expected a split of ReasonSeg in {', '.join(SPLITS)}, got {split!r}")
    folder = first_folder(root, "ReasonSeg", split, _HINT) / split
    skipped = Counter() if skipped is None else skipped
    for path in sorted(folder.glob("*.json")):
        sample = _sample(path, split, skipped)
        if sample is not None:
            yield sample


def explanations(root: str | Path) -> dict[str, tuple[tuple[str, str], ...]]:
    """Picture name -> its (query, explained answer) pairs, of ``explanatory/train.json``.

    Raises:
        InputError: if the file is missing or of another form.
    """
    folder = first_folder(root, "ReasonSeg", "explanatory", _HINT)
    path = folder / "explanatory" / "train.json"
    found: dict[str, tuple[tuple[str, str], ...]] = {}
    records = read_json(path, _HINT, _ENCODINGS)
    if not isinstance(records, list):
        raise InputError(f"{path}: expected a list, got {type(records).__name__}")
    for record in records:
        image, query, told = (
            value(record, k, str, str(path)) for k in ("image", "query", "outputs")
        )
        found[image] = (*found.get(image, ()), (query, told))
    return found


def pictures(root: str | Path, split: str) -> tuple[str, ...]:
    """The names of a split's pictures.

    Raises:
        InputError: if the split's folder is missing.
    """
    folder = first_folder(root, "ReasonSeg", split, _HINT) / split
    return tuple(sorted(path.name for path in folder.glob("*.jpg")))


def paint_shapes(shapes: Any, size_hw: tuple[int, int], where: str) -> NDArray[np.uint8]:
    """(H, W) picture of 0 background, 1 target and 255 ignored.

    Raises:
        InputError: for a shape without a label or without points in pixels.
    """
    painted: list[tuple[int, int, NDArray[np.int32]]] = []
    for shape in shapes:
        label = value(shape, "label", str, where).lower()
        if label == "flag":
            continue
        corners = _corners(mapping(shape, where).get("points"), where)
        alone = _painted(np.zeros(size_hw, np.uint8), corners, 1)
        painted.append((int(alone.sum()), IGNORED if "ignore" in label else 1, corners))
    canvas = np.zeros(size_hw, np.uint8)
    for _, shade, corners in sorted(painted, key=lambda one: one[0])[::-1]:
        canvas = _painted(canvas, corners, shade)
    return canvas


def _sample(path: Path, split: str, skipped: Counter[str]) -> Sample | None:
    where = str(path)
    record = mapping(read_json(path, _HINT, _ENCODINGS), where)
    texts = tuple(str(text).strip() for text in value(record, "text", list, where))
    texts = tuple(dict.fromkeys(text for text in texts if text))
    shapes = record.get("shapes")
    if shapes is None or not texts:
        skipped["no shapes" if texts else "no text"] += 1
        return None
    if not isinstance(shapes, list):
        raise InputError(f"{where}: expected a list of shapes, got {type(shapes).__name__}")
    image = picture(path.parent, f"{path.stem}.jpg", _HINT)
    frame = next(iter(open_source(image)))
    height, width = frame.image_hw3.shape[:2]
    canvas = paint_shapes(shapes, (height, width), where)
    ignored = canvas == IGNORED
    return Sample(
        key=f"reasonseg/{split}/{path.stem}",
        dataset="reasonseg",
        split=split,
        group=image.name,
        pictures=(image,),
        questions=texts if split == "train" else texts[:1],
        truth={0: masks.encode(canvas == 1)},
        ignore={0: masks.encode(ignored)} if ignored.any() else None,
        kind="long" if record.get("is_sentence") else "short",
    )


def _corners(points: Any, where: str) -> NDArray[np.int32]:
    try:
        corners = np.asarray(points, np.float64)
    except (ValueError, TypeError) as error:
        raise InputError(f"{where}: expected points as pairs of numbers, got {error}") from error
    fits = corners.ndim == 2 and corners.shape[1:] == (2,) and len(corners) <= _MAX_POINTS
    if not fits or not np.isfinite(corners).all() or np.abs(corners).max() > 65_536:
        raise InputError(
            f"{where}: expected points as [[x, y], …] in pixels, got {str(points)[:60]!r}"
        )
    return corners.astype(np.int32)  # cut off, as LISA does


def _painted(
    canvas: NDArray[np.uint8], corners: NDArray[np.int32], shade: int
) -> NDArray[np.uint8]:
    cv2.polylines(canvas, [corners], True, shade, 1)
    cv2.fillPoly(canvas, [corners], shade)
    return canvas
