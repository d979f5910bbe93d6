"""The digital twin: its records, window, store, tools and the text that the model reads.

Masks (``twin.mask``), geometry, motion and the error tree (``twin.errors``) are imported as
modules.
"""

from __future__ import annotations

from .frame import Frame
from .interop import to_supervision
from .jsonl import FrameReader, FrameWriter, frame_from_json, read_frames, write_frames
from .schema import (
    SCHEMA_VERSION,
    DepthStats,
    FrameTwin,
    Intrinsics,
    ObjectTwin,
    Rle,
    State,
)
from .store import TwinStore
from .text import describe
from .tools import (
    DEFAULT_REGISTRY,
    StepResult,
    Tool,
    ToolRegistry,
    render_results,
    run_plan,
    validate_plan,
)
from .window import TwinWindow
from .words import words_of

__all__ = [
    "DEFAULT_REGISTRY",
    "SCHEMA_VERSION",
    "DepthStats",
    "Frame",
    "FrameReader",
    "FrameTwin",
    "FrameWriter",
    "Intrinsics",
    "ObjectTwin",
    "Rle",
    "State",
    "StepResult",
    "Tool",
    "ToolRegistry",
    "TwinStore",
    "TwinWindow",
    "describe",
    "frame_from_json",
    "read_frames",
    "render_results",
    "run_plan",
    "to_supervision",
    "validate_plan",
    "words_of",
    "write_frames",
]
