"""What a server answers, as records of this package; masks become numpy arrays where asked for."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from ...twin import mask as rle
from ...twin.schema import Rle
from ..live.records import Event, Standing, StreamStatus
from ..serve.records import (
    AnswerRecord,
    Info,
    MasksRecord,
    ObjectRecord,
    Objects,
    TwinRecord,
)

__all__ = [
    "Answer",
    "Event",
    "History",
    "Info",
    "Life",
    "LightObject",
    "LightTwin",
    "Masks",
    "ObjectRecord",
    "Objects",
    "Picture",
    "Row",
    "Session",
    "Standing",
    "StreamStatus",
    "TwinRecord",
]


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="allow")


class Answer(AnswerRecord):
    """An answer; see :class:`~edgetwin.deploy.serve.records.AnswerRecord`."""

    def mask_hw(self, object_id: int) -> NDArray[np.bool_]:
        """The (H, W) mask of an object that the answer names.

        Raises:
            KeyError: if the answer has no mask of that id.
            SchemaError: if it is no valid mask.
        """
        return rle.decode(Rle.model_validate(self.masks[str(object_id)]))

    def masks_hw(self) -> dict[int, NDArray[np.bool_]]:
        """The (H, W) mask of every object that has one, by id."""
        return {int(key): self.mask_hw(int(key)) for key in self.masks}


class Masks(MasksRecord):
    """Masks of the newest frame; ``size`` is (height, width)."""

    def masks_hw(self) -> dict[int, NDArray[np.bool_]]:
        """The (H, W) mask of every object in sight, by id."""
        return {key: rle.decode(mask) for key, mask in self.masks.items()}


class Row(_Record):
    """One object in one stored frame; ``at`` is Unix seconds, ``run`` one unbroken recording."""

    at: float
    timestamp_s: float
    frame_index: int
    run: int
    id: int
    label: str
    state: Literal["visible", "occluded", "left"]
    confidence: float
    box_xyxy: tuple[float, float, float, float]
    centroid: tuple[float, float]
    mean_depth: float | None = None
    centroid_m: tuple[float, float, float] | None = None


class History(_Record):
    """Stored rows, oldest first; ``truncated``: there are more than were asked for."""

    rows: list[Row]
    truncated: bool


class Life(_Record):
    """One object of a run, from its first stored frame to its newest one."""

    run: int
    id: int
    label: str
    first_at: float | None
    last_at: float | None
    first_s: float
    last_s: float


class Session(_Record):
    """A conversation."""

    session: str
    stream: str


class Picture(_Record):
    """A frame as JPEG; ``age_ms`` since it was taken from its source."""

    jpeg: bytes
    index: int
    timestamp_s: float
    age_ms: float


class LightObject(_Record):
    """An object as viewers draw it; ``outline`` is a list of pieces [[x, y], …]."""

    id: int
    label: str
    state: Literal["visible", "occluded", "left"]
    box_xyxy: tuple[float, float, float, float]
    confidence: float
    color: str | None = None
    mean_depth: float | None = None
    outline: list[Any] = Field(default_factory=list)


class LightTwin(_Record):
    """A twin as the socket sends it."""

    stream: str
    index: int
    timestamp_s: float
    age_ms: float
    objects: Annotated[list[LightObject], Field(max_length=100_000)]
