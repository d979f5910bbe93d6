"""How much a hub and its streams may take and keep."""

from __future__ import annotations

from dataclasses import dataclass, field

from ...twin.window import DEFAULT_MAX_FRAMES

__all__ = ["HubLimits", "StreamLimits"]


@dataclass(frozen=True, slots=True)
class StreamLimits:
    """What one stream may keep.

    Attributes:
        live_queue: frames of a live source that wait: two, so that a burst is not lost.
        file_queue: frames of a file that wait.
        twins: of the window that questions are asked about.
        frames, frame_bytes: of the ring of pictures.
    """

    live_queue: int = 2
    file_queue: int = 2
    twins: int = DEFAULT_MAX_FRAMES
    frames: int = 300
    frame_bytes: int = 64 * 2**20


@dataclass(frozen=True, slots=True)
class HubLimits:
    """Bounds of a hub.

    Attributes:
        streams: that may be there at once; each has a thread or two and its rings.
        sessions, session_idle_s: conversations, and how long one may be idle.
        questions: that may wait; ``questions_each``: of one caller.
        question_s: how long a question may take, waiting included, unless it says so itself;
            ``question_most_s``: the most it may say.
        warm: sessions whose language cache is kept.
        stream: what each stream may keep.
    """

    streams: int = 16
    sessions: int = 32
    session_idle_s: float = 900.0
    questions: int = 16
    questions_each: int = 6
    question_s: float = 30.0
    question_most_s: float = 120.0
    warm: int = 3
    stream: StreamLimits = field(default_factory=StreamLimits)
