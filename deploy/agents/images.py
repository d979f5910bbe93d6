"""Masks and frames as what agents see: the record and the picture's bytes."""

from __future__ import annotations

from typing import Any

from ...twin.errors import InputError
from ...twin.schema import FrameTwin, ObjectTwin
from .backend import Backend, NotYetError, Seen
from .pictures import mask_png
from .records import FrameTold, MaskTold
from .telling import frame_uri, fresh, mask_uri
from .words import label_of, word

__all__ = ["MAX_FRAME_IDS", "frame_of", "mask_of", "twin_of"]

MAX_FRAME_IDS = 16  # drawn strongly; more is all of them
_MAX_RLE_CHARS = 20_000  # of a mask's run lengths; a plain object's are some hundred
_MAX_TWIN_OBJECTS = 200  # of a twin's document, about 1 kB each


def mask_of(backend: Backend, stream: str, object_id: int) -> tuple[MaskTold, bytes]:
    """The newest mask of an object and its PNG; an earlier one, marked so, while it is hidden.

    Raises:
        NotYetError: if the window has no mask of it.
    """
    now = backend.now(stream)
    obj = now.frame.objects.get(object_id)
    current = obj is not None and obj.state == "visible" and obj.mask is not None
    if obj is not None and current:
        seen = Seen(obj, now.frame.index, now.frame.timestamp_s)
    else:
        seen = backend.seen(stream, object_id)
    mask = seen.obj.mask
    if mask is None:
        raise NotYetError(
            f"expected a mask of object {object_id}, got none: it was not visible in the window; "
            "where has its last box, and it can be asked for again when it is visible"
        )
    told = MaskTold(
        **fresh(stream, now),
        id=object_id,
        label=label_of(seen.obj.semantic_label),
        state=obj.state if obj is not None else "left",
        current=current,
        mask_frame_index=seen.frame_index,
        mask_timestamp_s=round(seen.timestamp_s, 3),
        width=mask.size[1],
        height=mask.size[0],
        area_px=seen.obj.area,
        box_xyxy=seen.obj.box_xyxy,
        uri=mask_uri(stream, object_id),
        rle=mask.model_dump(mode="json") if len(mask.counts) <= _MAX_RLE_CHARS else None,
        note="" if current else "not visible now: this is the last mask that was seen",
    )
    return told, mask_png(mask)


def frame_of(
    backend: Backend, stream: str, *, overlay: bool, ids: list[int]
) -> tuple[FrameTold, bytes]:
    """The newest picture's record and its JPEG; ``ids`` are drawn strongly and imply an overlay.

    Raises:
        InputError: for an id that the newest frame does not hold.
    """
    now = backend.now(stream)
    unknown = [i for i in ids if i not in now.frame.objects]
    if unknown:
        raise InputError(
            f"expected ids of the newest frame {sorted(now.frame.objects)[:50]}, got {unknown}; "
            "list_objects has the ids, and mask shows one that is no longer visible"
        )
    overlay = overlay or bool(ids)
    picture = backend.picture(stream, overlay=overlay, ids=ids)
    fact = fresh(stream, now) | {
        "frame_index": picture.frame_index,
        "age_ms": round(picture.age_ms, 1),
    }
    if picture.timestamp_s is not None:
        fact["timestamp_s"] = round(picture.timestamp_s, 3)
    told = FrameTold(
        **fact,
        width=picture.width,
        height=picture.height,
        scale=round(picture.width / now.frame.width, 4),
        overlay=overlay,
        ids=ids,
        uri=frame_uri(stream),
    )
    return told, picture.jpeg


def twin_of(backend: Backend, stream: str) -> dict[str, Any]:
    """The newest twin as a document: as the schema has it, words cleaned, objects bounded."""
    now = backend.now(stream)
    ids = sorted(now.frame.objects)
    kept = {i: _harmless(now.frame.objects[i]) for i in ids[:_MAX_TWIN_OBJECTS]}
    frame: FrameTwin = now.frame.model_copy(
        update={
            "objects": kept,
            "source_id": stream,
            "vocabulary": None
            if now.frame.vocabulary is None
            else tuple(label_of(text) for text in now.frame.vocabulary),
        }
    )
    return {
        "stream": stream,
        "age_ms": round(now.age_ms, 1),
        "truncated": len(ids) > len(kept),
        "frame": frame.model_dump(mode="json"),
    }


def _harmless(obj: ObjectTwin) -> ObjectTwin:
    attributes = {name: word(value) for key, value in obj.attributes.items() if (name := word(key))}
    origin = None if obj.origin is None else word(obj.origin) or None
    return obj.model_copy(
        update={
            "semantic_label": label_of(obj.semantic_label),
            "attributes": attributes,
            "origin": origin,
        }
    )
