"""A bounded, ordered run of frames: the snapshot of the twin that tools and text read."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping, Sequence

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

    def amend(
        self, objects: Mapping[int, Iterable[ObjectTwin]], words: Iterable[str] = ()
    ) -> list[FrameTwin]:
        """Add or replace objects in frames that the window holds; all of it or nothing.

        Args:
            objects: records by the index of their frame; a record replaces the one of the same
                id in that frame, the others stay. Where two frames share an index, the newer
                one is meant.
            words: what was looked for besides in these frames; they join the ``vocabulary`` of
                those frames that have one.

        Returns:
            The frames as they are now, oldest first.

        Raises:
            InputError: for the index of a frame that is not here, two records of one id for a
                frame, a mask of another size than its frame, or a box that lies outside.
        """
        places = {frame.index: place for place, frame in enumerate(self._frames)}
        new: dict[int, FrameTwin] = {}
        changed: set[int] = set()
        for index, records in objects.items():
            if index not in places:
                raise InputError(
                    f"expected the index of a frame of the window ({_span(self._frames)}), got "
                    f"{index}; it may have been dropped: look at newer frames"
                )
            frame = self._frames[places[index]]
            added = _checked(frame, records)
            changed |= added.keys()
            new[places[index]] = frame.model_copy(
                update={
                    "objects": {**frame.objects, **added},
                    "vocabulary": _joined(frame.vocabulary, words),
                }
            )
        for place, frame in new.items():
            self._frames[place] = frame
        for key in changed:
            self._index(key)
        return [new[place] for place in sorted(new)]

    def _index(self, key: int) -> None:
        """Bring the indexes of one id in line with the frames."""
        held = [(f.timestamp_s, f.objects[key]) for f in self._frames if key in f.objects]
        visible = [(t, obj) for t, obj in held if obj.state == "visible"]
        self._records[key] = deque(obj for _, obj in held)
        if visible:
            self._tracks[key] = deque(visible)
        else:
            self._tracks.pop(key, None)

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
    def vocabulary(self) -> tuple[str, ...] | None:
        """What was looked for in the newest frame; None: all that the detector knows."""
        return self._frames[-1].vocabulary if self._frames else None

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


def _span(frames: Sequence[FrameTwin]) -> str:
    return f"{frames[0].index} to {frames[-1].index}" if frames else "it is empty"


def _joined(vocabulary: tuple[str, ...] | None, words: Iterable[str]) -> tuple[str, ...] | None:
    return None if vocabulary is None else tuple(dict.fromkeys((*vocabulary, *words)))


def _checked(frame: FrameTwin, records: Iterable[ObjectTwin]) -> dict[int, ObjectTwin]:
    """The records by id, if they can be of that frame."""
    added: dict[int, ObjectTwin] = {}
    for obj in records:
        if obj.id in added:
            raise InputError(
                f"expected one record per id for frame {frame.index}, got {obj.id} twice"
            )
        if obj.mask is not None and obj.mask.size != (frame.height, frame.width):
            raise InputError(
                f"expected a mask of frame {frame.index}, {frame.height}x{frame.width}, for id "
                f"{obj.id}, got one of {obj.mask.size[0]}x{obj.mask.size[1]}"
            )
        x0, y0, x1, y1 = obj.box_xyxy
        if x1 < 0 or y1 < 0 or x0 > frame.width or y0 > frame.height:
            raise InputError(
                f"expected a box that meets frame {frame.index}, {frame.width}x{frame.height}, for "
                f"id {obj.id}, got {obj.box_xyxy}"
            )
        added[obj.id] = obj
    return added
