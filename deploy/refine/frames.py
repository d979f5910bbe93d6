"""Where refinement gets its pictures: a file decoded again, or the last frames of a stream.

A twin holds no pixels, so whoever wants to look again needs the frame of an index. A file or
folder can always be read again (:class:`SourceFrames`, which enters a video near the frame and
keeps what it decoded, up to a bound); of a live stream only what a ring still holds can be had
(:class:`RecentFrames`).

Not covered: videos whose clock goes back within the window are decoded from their start.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from ...twin.errors import InputError, ToolError
from ...twin.frame import Frame
from ...twin.window import TwinWindow
from ..stream.source import Source

__all__ = ["FrameProvider", "RecentFrames", "SourceFrames"]

_MAX_BYTES = 128 * 2**20  # 20 frames of full HD, 640 of 256x256: what a small board can spare
_SAME_S = 1e-4  # timestamps this close are one frame's: below the shortest frame there is


class FrameProvider(Protocol):
    """Gives frames of the window by their index."""

    def held(self, indexes: Sequence[int]) -> list[int]:
        """Return those of the indexes whose frames can be had, in order."""
        ...

    def frame_at(self, index: int) -> Frame:
        """Return one frame.

        Raises:
            ToolError: if it can no longer be had.
        """
        ...

    def frames_at(self, indexes: Sequence[int]) -> Iterator[Frame]:
        """Yield frames of rising indexes as they come; those that are gone are left out."""
        ...


class _Kept:
    """Frames by index, the least recently used ones dropped beyond a number of bytes."""

    def __init__(self, max_bytes: int) -> None:
        if max_bytes < 1:
            raise InputError(f"expected a positive number of bytes, got {max_bytes}")
        self._max_bytes = max_bytes
        self._frames: OrderedDict[int, Frame] = OrderedDict()
        self.nbytes = 0

    def put(self, frame: Frame) -> None:
        before = self._frames.pop(frame.index, None)
        self.nbytes += frame.image_hw3.nbytes - (before.image_hw3.nbytes if before else 0)
        self._frames[frame.index] = frame
        while self.nbytes > self._max_bytes and len(self._frames) > 1:
            self.nbytes -= self._frames.popitem(last=False)[1].image_hw3.nbytes

    def get(self, index: int) -> Frame | None:
        frame = self._frames.get(index)
        if frame is not None:
            self._frames.move_to_end(index)
        return frame

    def __contains__(self, index: int) -> bool:
        return index in self._frames

    def __len__(self) -> int:
        return len(self._frames)


class RecentFrames:
    """The newest frames of a live stream, at most ``max_frames`` and ``max_bytes`` of them.

    One thread may :meth:`push` while another one asks.

    Raises:
        InputError: if a bound is not positive.
    """

    def __init__(self, max_frames: int = 64, max_bytes: int = _MAX_BYTES) -> None:
        if max_frames < 1 or max_bytes < 1:
            raise InputError(
                f"expected positive max_frames and max_bytes, got {max_frames} and {max_bytes}"
            )
        self._max_frames, self._max_bytes = max_frames, max_bytes
        self._frames: OrderedDict[int, Frame] = OrderedDict()  # oldest first
        self._nbytes = 0
        self._lock = threading.Lock()

    def push(self, frame: Frame) -> None:
        """Take the newest frame and drop the oldest ones beyond the bounds."""
        with self._lock:
            before = self._frames.pop(frame.index, None)
            self._nbytes += frame.image_hw3.nbytes - (before.image_hw3.nbytes if before else 0)
            self._frames[frame.index] = frame
            while len(self._frames) > self._max_frames or (
                self._nbytes > self._max_bytes and len(self._frames) > 1
            ):
                self._nbytes -= self._frames.popitem(last=False)[1].image_hw3.nbytes

    def held(self, indexes: Sequence[int]) -> list[int]:
        """Return those of the indexes that the ring holds, in order."""
        with self._lock:
            return [index for index in indexes if index in self._frames]

    def frame_at(self, index: int) -> Frame:
        """Return one frame.

        Raises:
            ToolError: if it is no longer held.
        """
        with self._lock:
            frame = self._frames.get(index)
            held = list(self._frames)
        if frame is None:
            span = f"{held[0]} to {held[-1]}" if held else "none yet"
            raise ToolError(
                f"expected one of the stream's recent frames ({span}), got {index}, which is no "
                "longer held: ask about what is seen now, or keep more frames"
            )
        return frame

    def frames_at(self, indexes: Sequence[int]) -> Iterator[Frame]:
        """Yield frames of rising indexes; those that are gone are left out."""
        for index in indexes:
            with self._lock:
                frame = self._frames.get(index)
            if frame is not None:
                yield frame


class SourceFrames:
    """Frames of a file or folder, decoded again; what was decoded is kept up to ``max_bytes``.

    ``window`` says at which moment a frame lies, so that the file can be entered near it. Frames
    that cannot be found by their moment are counted out from the start of the file.

    Raises:
        InputError: if ``max_bytes`` is not positive.
    """

    def __init__(self, source: Source, window: TwinWindow, max_bytes: int = _MAX_BYTES) -> None:
        self._source = source
        self._window = window
        self._kept = _Kept(max_bytes)
        self.decoded = 0  # pictures that were decoded for this, those passed over included

    def held(self, indexes: Sequence[int]) -> list[int]:
        """Return those of the indexes that the window holds, in order: a file can be read again."""
        known = {frame.index for frame in self._window.frames}
        return [index for index in indexes if index in known]

    def frame_at(self, index: int) -> Frame:
        """Return one frame.

        Raises:
            ToolError: if neither the window nor the file has it.
            SourceError: if the file cannot be read.
        """
        for frame in self.frames_at([index]):
            return frame
        raise ToolError(
            f"expected the index of a frame of {self._source.path.name} in the window, got {index}"
        )

    def frames_at(self, indexes: Sequence[int]) -> Iterator[Frame]:
        """Yield frames of rising indexes as they are decoded; those that are gone are left out.

        Raises:
            SourceError: if the file cannot be read.
        """
        times = {frame.index: frame.timestamp_s for frame in self._window.frames}
        wanted = [index for index in sorted(set(indexes)) if index in times]
        while wanted:
            kept = self._kept.get(wanted[0])
            if kept is not None:
                yield kept
                wanted.pop(0)
                continue
            begun = len(wanted)
            for frame in self._entered(wanted, times):
                wanted.remove(frame.index)
                yield frame
            if len(wanted) == begun:  # not where it should be: count from the start
                yield from self._counted(wanted, times)
                return

    def _entered(self, wanted: list[int], times: dict[int, float]) -> Iterator[Frame]:
        """Yield the first wanted frame and what follows it without a gap of kept ones."""
        by_time = iter([(times[index], index) for index in wanted])
        due = next(by_time, None)
        with closing(self._source.since(times[wanted[0]])) as pictures:
            for seconds, image in pictures:
                self.decoded += 1
                if due is None or due[1] in self._kept or seconds > due[0] + _SAME_S:
                    return
                if abs(seconds - due[0]) <= _SAME_S:
                    due_s, index = due
                    due = next(by_time, None)
                    yield self._keep(index, due_s, image)

    def _counted(self, wanted: Iterable[int], times: dict[int, float]) -> Iterator[Frame]:
        missing = set(wanted)
        last = max(missing)
        source = self._source
        said = source.status, source.reason, source.dropped.copy()  # of the pass that counts
        try:
            for frame in source:
                self.decoded += 1
                if frame.index in missing:
                    yield self._keep(frame.index, times[frame.index], frame.image_hw3)
                if frame.index >= last:
                    return
        finally:
            source.status, source.reason, source.dropped = said

    def _keep(self, index: int, timestamp_s: float, image_hw3: NDArray[np.uint8]) -> Frame:
        frame = Frame(index, timestamp_s, image_hw3, self._source.source_id)
        self._kept.put(frame)
        return frame
