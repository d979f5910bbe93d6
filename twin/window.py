"""A bounded, ordered run of frames: the snapshot of the twin that tools and text read."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Sequence

from .errors import InputError, SchemaError
from .schema import FrameTwin, ObjectTwin

__all__ = ["DEFAULT_MAX_FRAMES", "TwinWindow"]

DEFAULT_MAX_FRAMES = 600  # 20 s at 30 frames/s: what a question can look back on


class TwinWindow:
    """The last ``max_frames`` frames, oldest first, indexed by object id.

    Appending drops the oldest frame when the window is full, so memory does not grow with
    the stream. An object belongs to the window while any of its frames holds a record of it.

    Raises:
        InputError: if ``max_frames`` is not positive.
        SchemaError: if a frame is older than the one before it.
    """

    __slots__ = ("_frames", "_max_frames", "_records", "_tracks")

    def __init__(
        self, frames: Iterable[FrameTwin] = (), max_frames: int = DEFAULT_MAX_FRAMES
    ) -> None:
        if max_frames < 1:
            raise InputError(f"expected max_frames of at least 1, got {max_frames}")
        self._max_frames = max_frames
        self._frames: deque[FrameTwin] = deque()
        # Both indexes hold only what the frames above hold; append() evicts from them too.
        self._records: dict[int, deque[ObjectTwin]] = {}
        self._tracks: dict[int, deque[tuple[float, ObjectTwin]]] = {}
        for frame in frames:
            self.append(frame)

    def append(self, frame: FrameTwin) -> None:
        """Add the newest frame and drop the oldest one if the window is full.

        Raises:
            SchemaError: if ``frame`` is older than the newest frame here.
        """
        if self._frames and frame.timestamp_s < self._frames[-1].timestamp_s:
            raise SchemaError(
                "expected frames in order of time: a timestamp_s of at least "
                f"{self._frames[-1].timestamp_s}, got {frame.timestamp_s}; "
                "begin a new window for a new stream"
            )
        self._frames.append(frame)
        for key, obj in frame.objects.items():
            self._records.setdefault(key, deque()).append(obj)
            if obj.state == "visible":
                self._tracks.setdefault(key, deque()).append((frame.timestamp_s, obj))
        if len(self._frames) > self._max_frames:
            self._evict()

    def _evict(self) -> None:
        for key, obj in self._frames.popleft().objects.items():
            self._records[key].popleft()
            if not self._records[key]:
                del self._records[key]
            if obj.state == "visible":
                self._tracks[key].popleft()
                if not self._tracks[key]:
                    del self._tracks[key]

    def __len__(self) -> int:
        return len(self._frames)

    @property
    def frames(self) -> tuple[FrameTwin, ...]:
        """All frames, oldest first."""
        return tuple(self._frames)

    @property
    def max_frames(self) -> int:
        """The most frames the window holds."""
        return self._max_frames

    @property
    def last(self) -> FrameTwin | None:
        """The newest frame, or None while the window is empty."""
        return self._frames[-1] if self._frames else None

    @property
    def start_s(self) -> float:
        """Time of the oldest frame in seconds; 0 while the window is empty."""
        return self._frames[0].timestamp_s if self._frames else 0.0

    @property
    def end_s(self) -> float:
        """Time of the newest frame in seconds; 0 while the window is empty."""
        return self._frames[-1].timestamp_s if self._frames else 0.0

    def ids(self) -> list[int]:
        """Every id that a frame of the window holds, ascending."""
        return sorted(self._records)

    def __contains__(self, object_id: object) -> bool:
        return object_id in self._records

    def latest(self, object_id: int) -> ObjectTwin:
        """The last record in which the object is visible.

        For an object that is never visible in the window it is the last record there is,
        which carries what was last seen of it.

        Raises:
            InputError: if the window holds no such object.
        """
        track = self._tracks.get(object_id)
        if track:
            return track[-1][1]
        return self._known(object_id)[-1]

    def track(self, object_id: int) -> list[tuple[float, ObjectTwin]]:
        """(time in seconds, record) of every frame in which the object is visible.

        Raises:
            InputError: if the window holds no such object.
        """
        self._known(object_id)
        return list(self._tracks.get(object_id, ()))

    def visible_at_end(self, object_id: int) -> bool:
        """Whether the object is visible in the newest frame."""
        record = self._frames[-1].objects.get(object_id) if self._frames else None
        return record is not None and record.state == "visible"

    def _known(self, object_id: int) -> Sequence[ObjectTwin]:
        records = self._records.get(object_id)
        if records is None:
            raise InputError(f"expected an id of the window {self.ids()}, got {object_id!r}")
        return records
