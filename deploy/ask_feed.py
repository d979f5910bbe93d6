"""Where the twin that questions are asked about comes from: a file, or a source being perceived.

A feed has one :class:`~edgetwin.twin.window.TwinWindow`, which only the asking thread touches:
:meth:`Feed.refresh` takes in what came since. A :class:`LiveFeed` perceives in a thread of its own
and writes every frame to its folder before anyone sees it, so that nothing asked about is lost.

Not covered: live cameras, several sources, pixels of earlier frames.
"""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

from ..twin.errors import EdgeTwinError, SchemaError
from ..twin.jsonl import FrameWriter
from ..twin.schema import FrameTwin
from ..twin.store import TwinStore
from ..twin.window import DEFAULT_MAX_FRAMES, TwinWindow
from .models import Perception
from .perceive import Progress, Tally, clear_results, perceived, twin_files
from .stream.sinks import MasksJsonSink, make_folder
from .stream.source import Source
from .twin_files import TwinFile

__all__ = ["Feed", "FileFeed", "LiveFeed"]

_POLL_S = 0.05


class Feed(ABC):
    """A window that may grow.

    Attributes:
        window: what questions are asked about, oldest frame first.
        frames: how many frames were taken in, those that the window dropped too (of a long file
            that was there before, only the newest are taken in).
    """

    def __init__(self, max_frames: int = DEFAULT_MAX_FRAMES) -> None:
        self.window = TwinWindow(max_frames=max_frames)
        self.frames = 0

    @abstractmethod
    def refresh(self) -> bool:
        """Take in what came since the last call; True if a new recording began a new window.

        Raises:
            EdgeTwinError: if nothing more can come, once; what is there can still be asked about.
        """

    def wait(self, frames: int | None, progress: Progress | None = None) -> None:
        """Return when so many frames were seen, or all there will be (None)."""
        self.refresh()

    def seen(self) -> dict[str, Any]:
        """Return what an answer says about how much was seen."""
        return {"frames": self.frames, "seconds": round(self.window.end_s, 3), "complete": True}

    def warnings(self) -> list[str]:
        """Return what is to be told, one line each."""
        if self.frames <= len(self.window):
            return []
        return [f"questions see the last {len(self.window)} frames; earlier ones were dropped"]

    def partial(self) -> str:
        """Return why frames are missing; empty when none are."""
        return ""

    @abstractmethod
    def record(self, answer: dict[str, Any], refined: Sequence[FrameTwin] = ()) -> None:
        """Keep an answer, and the frames that it changed, where there is a place for them.

        Raises:
            StoreError: if they cannot be written.
        """

    @abstractmethod
    def close(self) -> None:
        """End whatever runs; what was perceived stays."""

    def _take(self, twin: FrameTwin) -> bool:
        """Append a frame; True if its clock went back, which begins a new window."""
        last = self.window.last
        anew = last is not None and (
            twin.timestamp_s < last.timestamp_s or twin.source_id != last.source_id
        )
        if anew:
            self.window = TwinWindow(max_frames=self.window.max_frames)
        self.window.append(twin)
        self.frames += 1
        return anew


class FileFeed(Feed):
    """The twin of a file, with what another process still adds to it.

    Raises:
        InputError, SchemaError, StoreError: if it cannot be read.
    """

    def __init__(self, twin: TwinFile, max_frames: int = DEFAULT_MAX_FRAMES) -> None:
        super().__init__(max_frames)
        self._twin = twin
        self._run = 0
        self._failed = False
        for frame in twin.frames(max_frames + 1):  # one more, to know that there are more
            last = self.window.last
            if last is not None and frame.timestamp_s < last.timestamp_s:
                raise SchemaError(
                    f"expected frames in order of time in {twin.path}, got frame {frame.index} "
                    f"going back: edgetwin twin check {twin.path} lists every fault"
                )
            self._take(frame)

    def refresh(self) -> bool:
        """Take in what was written since."""
        anew = False
        if not self._failed:
            try:
                for frame in self._twin.more():
                    anew = self._take(frame) or anew
            except EdgeTwinError:
                self._failed = True  # told once
                raise
        return anew

    def record(self, answer: dict[str, Any], refined: Sequence[FrameTwin] = ()) -> None:
        """Keep nothing: a twin that is there is read, not written."""

    def close(self) -> None:
        """There is nothing to end."""


class LiveFeed(Feed):
    """A source, perceived and written to a folder while questions are asked.

    Args:
        source: a video, a picture or a folder of pictures.
        perception: what sees.
        out: the folder for ``twin.sqlite``, ``twin.jsonl`` and ``masks.json``; earlier results
            in it are replaced.
        max_frames: what the window holds.

    Raises:
        OutputError, StoreError: if the folder cannot be written.
    """

    def __init__(
        self,
        source: Source,
        perception: Perception,
        out: Path,
        max_frames: int = DEFAULT_MAX_FRAMES,
    ) -> None:
        super().__init__(max_frames)
        self.source = source
        self.perception = perception
        self.tally = Tally()
        # What was not taken in yet; older than a window holds, it would be dropped anyway.
        self._fresh: deque[FrameTwin] = deque(maxlen=max_frames)
        self._refined = False
        self._stop = threading.Event()
        self._error: BaseException | None = None
        self._done = threading.Event()
        make_folder(out)
        clear_results(out)
        self.store = TwinStore(out / "twin.sqlite")
        self._thread = threading.Thread(
            target=self._perceive, args=(out,), name="edgetwin-perceive", daemon=True
        )
        self._thread.start()

    def _perceive(self, out: Path) -> None:
        try:
            with ExitStack() as stack:
                write = stack.enter_context(twin_files(out, self.store))
                pairs = perceived(self.source, self.perception.perceiver, self.tally)
                for _, twin in stack.enter_context(closing(pairs)):
                    write(twin)
                    self._fresh.append(twin)
                    if self._stop.is_set():
                        break
        except BaseException as error:  # told by refresh(): a thread has no one to tell
            self._error = error
        finally:
            self._done.set()

    def refresh(self) -> bool:
        """Take in what was perceived since."""
        anew = False
        finished = self._done.is_set()
        while self._fresh:
            anew = self._take(self._fresh.popleft()) or anew
        if self.window.last is not None:
            self.frames = self.window.last.index + 1  # some may never have been taken in
        if finished and self._error is not None:
            error, self._error = self._error, None
            raise error
        return anew

    def wait(self, frames: int | None, progress: Progress | None = None) -> None:
        """Wait for so many frames, or for all."""
        while not self._done.wait(_POLL_S):
            if progress is not None:
                progress("perceive", self.tally.processed, self.source.frame_count)
            if frames is not None and self.tally.processed >= frames:
                break
        if progress is not None:
            progress("perceive", self.tally.processed, self.source.frame_count)
        self.refresh()

    def seen(self) -> dict[str, Any]:
        """Return how much of the source was seen."""
        return {**super().seen(), "complete": self._done.is_set()}

    def warnings(self) -> list[str]:
        """Return the perceiver's warnings too."""
        return [*super().warnings(), *self.perception.warnings()]

    def partial(self) -> str:
        """Return what the source lost."""
        return self.source.reason if self.source.status == "partial" else ""

    def record(self, answer: dict[str, Any], refined: Sequence[FrameTwin] = ()) -> None:
        """Keep an answer and what it found in the store; the files follow at the end."""
        if refined:
            self.store.amend(refined)
            self._refined = True
        self.store.record_answer(answer)

    def close(self) -> None:
        """Stop perceiving after the frame at hand, and close the files."""
        self._stop.set()
        self._thread.join()
        with self.store:
            if self._refined:
                self._write_refined()

    def _write_refined(self) -> None:
        """Bring ``masks.json`` in line with the store, and put what changed beside the stream."""
        out = self.store.path.parent
        with (
            FrameWriter(out / "refined.jsonl") as lines,
            closing(MasksJsonSink(out / "masks.json")) as masks,
        ):
            for frame in self.store.frames():
                masks.write(frame)
                if any(obj.origin is not None for obj in frame.objects.values()):
                    lines.write(frame)
