"""One opened source: what gives pictures until it ends, fails or is closed.

A feed is made without blocking and used once: the thread that iterates :meth:`Feed.frames` also
opens and frees what is behind it, and :meth:`Feed.close` may be called by any thread at any time.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from .source import Source, open_source

__all__ = ["Feed", "FeedOptions", "FileFeed", "Opener", "Pacer"]

Image = NDArray[np.uint8]
_LATE_S = 1.0  # further behind than this, the pace is taken up anew instead of hurrying after it


class Feed(Protocol):
    """Pictures of one opened source.

    Attributes:
        fps: nominal frames per second; may become true only with the first picture.
        exact: its seconds begin at 0 and rise; else they are a device's, which may jump.
        damaged: pieces that were read and could not be decoded, so far.
    """

    fps: float
    exact: bool
    damaged: int

    def frames(self) -> Iterator[tuple[float | None, Image]]:
        """Yield (seconds on its own clock or None, (H, W, 3) RGB) until it ends or is closed.

        Raises:
            SourceError: if it cannot be opened or read.
        """
        ...

    def close(self) -> None:
        """Let :meth:`frames` end soon; legal at any time, from any thread, more than once."""
        ...


@dataclass(frozen=True)
class FeedOptions:
    """How a source is to be read: its rate where it has none, in its own time or as wanted."""

    fps: float = 10.0
    live: bool = True
    loop: bool = False


Opener = Callable[[str, FeedOptions], Callable[[], Feed]]
"""Checks what follows the scheme (SourceError) and returns what makes a feed of it."""


class Pacer:
    """Lets pictures through at their own time."""

    def __init__(self) -> None:
        self.closed = threading.Event()
        self._zero: float | None = None

    def wait(self, timestamp_s: float) -> bool:
        """Wait until the picture is due; False when it was closed meanwhile."""
        now = time.monotonic()
        if self._zero is None or now - self._zero - timestamp_s > _LATE_S:
            self._zero = now - timestamp_s
        return not self.closed.wait(max(0.0, self._zero + timestamp_s - now))


class FileFeed:
    """A video, a picture or a folder of pictures; ``loop`` begins it anew, time goes on."""

    exact = True

    def __init__(self, path: Path, options: FeedOptions) -> None:
        self.fps = options.fps
        self.damaged = 0
        self._path, self._options = path, options
        self._pacer = Pacer()

    def frames(self) -> Iterator[tuple[float | None, Image]]:
        """Yield the file's frames, see :class:`Feed`."""
        source = open_source(self._path, self._options.fps)
        self.fps = self._options.fps if source.kind == "image" else source.fps
        began, earlier = 0.0, 0
        while not self._pacer.closed.is_set():
            last = 0.0
            with closing(_pass(source)) as pictures:
                for seconds, image in pictures:
                    last = seconds
                    self.damaged = earlier + source.dropped.total()
                    if self._options.live and not self._pacer.wait(began + seconds):
                        return
                    if self._pacer.closed.is_set():
                        return
                    yield began + seconds, image
            earlier = self.damaged = earlier + source.dropped.total()
            if not self._options.loop:
                return
            began += last + 1.0 / self.fps

    def close(self) -> None:
        """End :meth:`frames`."""
        self._pacer.closed.set()


def _pass(source: Source) -> Generator[tuple[float, Image], None, None]:
    for frame in source:
        yield frame.timestamp_s, frame.image_hw3
