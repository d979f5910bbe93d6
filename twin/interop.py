"""The twin in other libraries' records: supervision's ``Detections`` for drawing and counting.

Not covered: the way back (a twin holds more than detections do); compact masks.
"""

from __future__ import annotations

import zlib
from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from . import mask as rle
from .errors import InputError, MissingExtraError
from .schema import FrameTwin, ObjectTwin, State

if TYPE_CHECKING:
    from supervision import Detections

__all__ = ["to_supervision"]

_VISIBLE: tuple[State, ...] = ("visible",)


def to_supervision(
    frame: FrameTwin,
    *,
    labels: Sequence[str] | None = None,
    states: Collection[State] = _VISIBLE,
    masks: bool = True,
) -> Detections:
    """Turn a frame's objects into ``supervision.Detections``, one row per object, by id.

    ``xyxy`` (N, 4) float32 pixels; ``mask`` (N, H, W) bool of the frame's size, False all over
    for an object without one (``masks=False`` leaves them out: N × H × W bytes);
    ``confidence`` (N,) float32; ``tracker_id`` (N,) the twin's ids; ``class_id`` (N,) the
    label's place in ``labels``, ``len(labels)`` for a label that is not among them. Without
    ``labels`` it is a number made of the label's letters (CRC-32, 31 bits): the same in every
    frame, run and process, so colours by class stay.

    ``data`` holds columns of N rows: ``class_name``, ``color`` ("" if unknown), ``state``,
    ``depth_m`` (median), ``centroid_m`` (N, 3) and ``extent_m`` (N, 3) in metres along the
    camera's axes (NaN where not known in metres), ``velocity`` (N, 2) pixels per second,
    ``first_seen`` and ``last_seen`` seconds. ``metadata``: ``source_id``, ``frame_index``,
    ``timestamp_s``.

    Objects that are hidden or gone keep their last box; they come along only with ``states``.

    Raises:
        MissingExtraError: if supervision is not installed (extra ``viz``).
        InputError: if a mask is not of the frame's size.
        SchemaError: if a mask is malformed.
    """
    try:
        from supervision import Detections
    except ImportError as error:
        raise MissingExtraError("supervision", "viz") from error
    rows = [obj for _, obj in sorted(frame.objects.items()) if obj.state in states]
    return Detections(
        xyxy=_column(rows, [obj.box_xyxy for obj in rows], (4,)),
        mask=_masks(frame, rows) if masks else None,
        confidence=np.array([obj.confidence for obj in rows], np.float32),
        class_id=np.array([_class_id(obj.semantic_label, labels) for obj in rows], np.int64),
        tracker_id=np.array([obj.id for obj in rows], np.int64),
        data=_data(rows),
        metadata={
            "source_id": frame.source_id,
            "frame_index": frame.index,
            "timestamp_s": frame.timestamp_s,
        },
    )


def _class_id(label: str, labels: Sequence[str] | None) -> int:
    if labels is None:
        return zlib.crc32(label.encode()) & 0x7FFFFFFF
    return labels.index(label) if label in labels else len(labels)


def _column(
    rows: Sequence[ObjectTwin], values: Sequence[Any], shape: tuple[int, ...] = ()
) -> NDArray[np.float32]:
    """Return (N, *shape) float32, NaN where a value is None."""
    column = np.full((len(rows), *shape), np.nan, np.float32)
    for row, value in enumerate(values):
        if value is not None:
            column[row] = value
    return column


def _data(rows: Sequence[ObjectTwin]) -> dict[str, Any]:
    depths = [
        obj.depth_stats.p50 if obj.depth_stats is not None and obj.depth_stats.unit == "m" else None
        for obj in rows
    ]
    return {
        "class_name": np.array([obj.semantic_label for obj in rows], np.str_),
        "color": np.array([obj.attributes.get("color", "") for obj in rows], np.str_),
        "state": np.array([obj.state for obj in rows], np.str_),
        "depth_m": _column(rows, depths),
        "centroid_m": _column(rows, [obj.centroid_m for obj in rows], (3,)),
        "extent_m": _column(rows, [obj.extent_m for obj in rows], (3,)),
        "velocity": _column(rows, [obj.velocity for obj in rows], (2,)),
        "first_seen": np.array([obj.first_seen for obj in rows], np.float64),
        "last_seen": np.array([obj.last_seen for obj in rows], np.float64),
    }


def _masks(frame: FrameTwin, rows: Sequence[ObjectTwin]) -> NDArray[np.bool_]:
    full = np.zeros((len(rows), frame.height, frame.width), np.bool_)
    for row, obj in enumerate(rows):
        if obj.mask is None:
            continue
        if obj.mask.size != (frame.height, frame.width):
            raise InputError(
                f"expected masks of {frame.height} x {frame.width} pixels, the frame's size, got "
                f"{obj.mask.size[0]} x {obj.mask.size[1]} for object {obj.id}"
            )
        full[row] = rle.decode(obj.mask)
    return full
