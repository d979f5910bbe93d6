"""The pass over a source that ``run`` and ``track`` share: frames in, twins out, files written.

Decoding and the networks overlap where the perceiver can stream. The pass keeps no frame longer
than the perceiver does, so memory stays flat; whatever stops it, what was written before stays.

Not covered: live cameras, which drop frames rather than wait.
"""

from __future__ import annotations

import shutil
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

from ..twin.frame import Frame
from ..twin.jsonl import FrameWriter
from ..twin.schema import FrameTwin
from ..twin.store import TwinStore
from .models import Observer, Streamer
from .stream.sinks import MasksJsonSink, writing
from .stream.source import Source

__all__ = ["Progress", "Tally", "clear_results", "ms_since", "perceived", "twin_files"]

Progress = Callable[[str, int, int | None], None]
_RESULTS = (
    "overlay.mp4", "masks.json", "twin.jsonl", "refined.jsonl", "answer.json", "tracks.json",
)  # fmt: skip


@dataclass
class Tally:
    """Where the frames of a pass went: read = processed + in flight, exactly.

    Attributes:
        read: frames that the source gave.
        processed: frames whose twin came out.
        seconds: time of the newest twin.
        width, height: of its frame, pixels.
        decode_ms: spent decoding; beside perception where that is pipelined.
        perceive_ms: spent waiting for twins, decoding not counted.
    """

    read: int = 0
    processed: int = 0
    seconds: float = 0.0
    width: int = 0
    height: int = 0
    decode_ms: float = 0.0
    perceive_ms: float = 0.0


def perceived(
    source: Source, perceiver: Observer, tally: Tally, max_frames: int | None = None
) -> Generator[tuple[Frame, FrameTwin], None, None]:
    """Yield every frame of a source with its twin, keeping ``tally`` up to date.

    A perceiver with ``stream()`` is given all frames at once and may work ahead.

    Raises:
        SourceError: if the source cannot be read.
        ModelError: if a network fails.
    """
    waiting: deque[Frame] = deque()  # as many as the perceiver works on at once

    def feed() -> Iterator[Frame]:
        with closing(_frames(source)) as frames:
            while max_frames is None or tally.read < max_frames:
                started = time.perf_counter()
                frame = next(frames, None)
                tally.decode_ms += ms_since(started)
                if frame is None:
                    return
                tally.read += 1
                waiting.append(frame)
                yield frame

    ahead = isinstance(perceiver, Streamer)
    with closing(_twins(perceiver, feed())) as twins:
        while True:
            started, decoded = time.perf_counter(), tally.decode_ms
            twin = next(twins, None)
            inside = 0.0 if ahead else tally.decode_ms - decoded
            tally.perceive_ms += ms_since(started) - inside
            if twin is None:
                return
            tally.processed, tally.seconds = tally.processed + 1, twin.timestamp_s
            tally.width, tally.height = twin.width, twin.height
            yield waiting.popleft(), twin


def _frames(source: Source) -> Generator[Frame, None, None]:
    yield from source


def _twins(perceiver: Observer, frames: Iterator[Frame]) -> Generator[FrameTwin, None, None]:
    if isinstance(perceiver, Streamer):
        yield from perceiver.stream(frames)
    else:
        yield from map(perceiver.observe, frames)


@contextmanager
def twin_files(folder: Path, store: TwinStore) -> Iterator[Callable[[FrameTwin], None]]:
    """Give a function that appends a frame to the store, ``twin.jsonl`` and ``masks.json``.

    Raises:
        OutputError, StoreError: if something cannot be written; what was written is kept.
    """
    jsonl = FrameWriter(folder / "twin.jsonl")
    with jsonl, closing(MasksJsonSink(folder / "masks.json")) as masks:

        def write(twin: FrameTwin) -> None:
            with _whole():
                store.append(twin)
                jsonl.write(twin)
                masks.write(twin)

        yield write
        store.flush()


@contextmanager
def _whole() -> Iterator[None]:
    """Put Ctrl-C off until the block is done, so that a frame is in every file or in none."""
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread is interrupted
        return
    asked: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, _frame: asked.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before or signal.default_int_handler)
    if asked:
        signal.raise_signal(signal.SIGINT)


def clear_results(out: Path) -> None:
    """Remove the results of an earlier run or track, and nothing else, from a folder."""
    with writing(out):
        for name in _RESULTS:
            (out / name).unlink(missing_ok=True)
        for suffix in ("", "-wal", "-shm"):
            (out / f"twin.sqlite{suffix}").unlink(missing_ok=True)
        masks = out / "masks"
        for folder in (masks, *masks.glob("q[0-9]*")):
            for picture in folder.glob("[0-9]*.png"):
                picture.unlink()
        for folder in masks.glob("q[0-9]*"):
            shutil.rmtree(folder, ignore_errors=True)


def ms_since(started: float) -> float:
    """Return the milliseconds since a value of :func:`time.perf_counter`."""
    return (time.perf_counter() - started) * 1000
