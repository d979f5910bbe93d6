"""The digital twin's records (FastReasonSeg, section 3, equation 1), validated where made.

A :class:`FrameTwin` is one frame: every known object keyed by its id. Pixel coordinates
have their origin at the top left corner of the frame, x right and y down; boxes are
``(x0, y0, x1, y1)`` with exclusive right and bottom edges; camera coordinates are metres,
x right, y down, z forward.

Records are written in version 3. Version 2 has neither ``vocabulary`` nor ``origin``, version 1
no ``extent_m`` either; both are read wherever records are read (window, store, JSON lines) and
become version 3 with those fields None. Any other version is refused.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

__all__ = [
    "SCHEMA_VERSION",
    "DepthStats",
    "FrameTwin",
    "Intrinsics",
    "ObjectTwin",
    "Rle",
    "State",
]

SCHEMA_VERSION: Final = 3

_MAX_ID = 2**31 - 1
_MAX_COUNT = 2**53 - 1  # what JSON numbers and SQLite both carry exactly
_MAX_SIDE = 65_536
_MAX_WORDS = 4096  # no detector is asked for more; a record from outside must end

State = Literal["visible", "occluded", "left"]
Finite = Annotated[float, Field(allow_inf_nan=False)]
NonNegative = Annotated[float, Field(ge=0, allow_inf_nan=False)]
Word = Annotated[str, Field(min_length=1, max_length=64)]


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Rle(_Record):
    """A mask as compressed COCO run-length encoding: ``size`` is (height, width)."""

    size: tuple[Annotated[int, Field(ge=1)], Annotated[int, Field(ge=1)]]
    counts: str


class Intrinsics(_Record):
    """Pinhole camera: focal lengths and principal point in pixels of the frame."""

    fx: Annotated[float, Field(gt=0)]
    fy: Annotated[float, Field(gt=0)]
    cx: Finite
    cy: Finite


class DepthStats(_Record):
    """Depth over an object's mask; metres when ``unit`` is ``"m"``, else unit-free (larger = farther)."""

    unit: Literal["m", "relative"]
    variance: NonNegative
    min: Finite
    max: Finite
    p5: Finite
    p50: Finite
    p95: Finite


class ObjectTwin(_Record):
    """One object in one frame.

    While ``state`` is ``"visible"`` the mask, box, centroid and depth are of this frame;
    otherwise they are the last ones seen and ``mask`` is None.

    ``centroid_m`` (x, y, z) is the mask's centroid at its median depth; ``extent_m`` (width,
    height, depth) the sides of the axis-aligned box, in camera axes, around what is seen of
    the object. Both are metres and None where depth is relative or the camera unknown.

    ``origin`` is None for what the stream itself found, else the call that found or changed
    the object, such as ``detect(lamp)``.
    """

    id: Annotated[int, Field(ge=1, le=_MAX_ID)]
    semantic_label: Annotated[str, Field(min_length=1, max_length=64)]
    attributes: dict[str, str] = Field(default_factory=dict)
    confidence: Annotated[float, Field(ge=0, le=1)]
    state: State = "visible"
    mask: Rle | None = None
    box_xyxy: tuple[Finite, Finite, Finite, Finite]
    centroid: tuple[Finite, Finite]
    area: Annotated[int, Field(ge=0, le=_MAX_COUNT)]
    mean_depth: Finite | None = None
    depth_stats: DepthStats | None = None
    centroid_m: tuple[Finite, Finite, Finite] | None = None
    extent_m: tuple[NonNegative, NonNegative, NonNegative] | None = None
    velocity: tuple[Finite, Finite] = (0.0, 0.0)
    first_seen: NonNegative
    last_seen: NonNegative
    origin: Annotated[str, Field(min_length=1, max_length=128)] | None = None

    @model_validator(mode="after")
    def _check(self) -> ObjectTwin:
        x0, y0, x1, y1 = self.box_xyxy
        if x1 < x0 or y1 < y0:
            raise ValueError(f"expected box_xyxy with x0 <= x1 and y0 <= y1, got {self.box_xyxy}")
        if self.last_seen < self.first_seen:
            raise ValueError(
                f"expected first_seen <= last_seen, got {self.first_seen} and {self.last_seen}"
            )
        return self


class FrameTwin(_Record):
    """Every known object at one moment; ``timestamp_s`` is seconds since the source began.

    ``velocity`` of an object is pixels per second; ``first_seen`` and ``last_seen`` are
    seconds on the same clock as ``timestamp_s``. ``vocabulary`` are the words that were looked
    for in this frame; None: all that the detector knows.
    """

    schema_version: Literal[3] = SCHEMA_VERSION
    source_id: str = "source"
    index: Annotated[int, Field(ge=0, le=_MAX_COUNT)]
    timestamp_s: NonNegative
    width: Annotated[int, Field(ge=1, le=_MAX_SIDE)]
    height: Annotated[int, Field(ge=1, le=_MAX_SIDE)]
    intrinsics: Intrinsics | None = None
    vocabulary: Annotated[tuple[Word, ...], Field(max_length=_MAX_WORDS)] | None = None
    objects: dict[int, ObjectTwin] = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _from_older(cls, value: Any) -> Any:
        """Take a record of version 1 or 2 as what it is in version 3."""
        if isinstance(value, dict) and _is_older(value.get("schema_version")):
            return {**value, "schema_version": SCHEMA_VERSION}
        return value

    @model_validator(mode="after")
    def _keys_are_ids(self) -> FrameTwin:
        for key, obj in self.objects.items():
            if key != obj.id:
                raise ValueError(f"expected objects keyed by id, got key {key} for id {obj.id}")
        return self


def _is_older(version: Any) -> bool:
    return isinstance(version, int) and not isinstance(version, bool) and version in (1, 2)
