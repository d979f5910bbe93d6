"""What a source looks like from outside: its kind, its state, how it fared."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict

__all__ = ["SourceKind", "SourceState", "SourceStatus"]

SourceKind = Literal["video", "image", "folder", "camera", "rtsp", "gstreamer", "simulated"]
SourceState = Literal["opening", "running", "stalled", "backoff", "stopped"]


class SourceStatus(BaseModel):
    """One source: ``uri`` without credentials, its state and how it fared.

    ``state_since_s`` is how long it has been in that state, in seconds.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    uri: str
    kind: SourceKind
    live: bool
    state: SourceState
    state_since_s: float = 0.0
    attempts: int = 0
    reconnects: int = 0
    error: str = ""
