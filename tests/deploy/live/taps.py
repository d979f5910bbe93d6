"""Sources that give what a test puts in, and hubs on two coloured squares."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgetwin.deploy.live.hub import LiveHub
from edgetwin.deploy.live.records import FrameCounts, StreamSpec
from edgetwin.deploy.models import Observer
from edgetwin.deploy.stream.feed import Feed, FeedOptions
from edgetwin.twin.frame import Frame
from edgetwin.twin.schema import FrameTwin

from ..scenes import PLAN_RED, SquareFinder, picture, square_models

RED = (PLAN_RED, "<answer>$1</answer>")

Image = NDArray[np.uint8]


class Tap:
    """A feed of pictures that a test puts in; None ends it."""

    exact = False
    damaged = 0
    fps = 30.0

    def __init__(self) -> None:
        self.pictures: queue.Queue[Image | None] = queue.Queue()

    def frames(self) -> Iterator[tuple[float | None, Image]]:
        while (image := self.pictures.get()) is not None:
            yield None, image

    def close(self) -> None:
        self.pictures.put(None)

    def put(self, *images: Image) -> None:
        for image in images:
            self.pictures.put(image)


class Metronome:
    """A feed of ``rate`` pictures a second for ever, or a number of them."""

    exact = False
    damaged = 0

    def __init__(self, rate: float, image: Image, count: int | None = None) -> None:
        self.fps, self._image, self._count = rate, image, count
        self._closed = threading.Event()

    def frames(self) -> Iterator[tuple[float | None, Image]]:
        due = time.monotonic()
        given = 0
        while self._count is None or given < self._count:
            due += 1 / self.fps
            if self._closed.wait(max(0.0, due - time.monotonic())):
                return
            yield None, self._image.copy()
            given += 1

    def close(self) -> None:
        self._closed.set()


class Taps:
    """Makes taps by name for the scheme ``tap:NAME``."""

    def __init__(self) -> None:
        self._made: dict[str, Feed] = {}

    def __getitem__(self, name: str) -> Any:
        return self._made[name]

    def opener(self, name: str, options: FeedOptions) -> Callable[[], Feed]:
        rate = name.partition("@")[2]
        feed = self._made.setdefault(name, Metronome(float(rate), picture()) if rate else Tap())
        return lambda: feed


class Slow(SquareFinder):
    """Perceives squares, each frame in so many seconds, or fails where it is told to."""

    def __init__(self, seconds: float = 0.0) -> None:
        super().__init__()
        self.seconds = seconds
        self.fails: set[int] = set()
        self.sizes: set[tuple[int, ...]] = set()

    def observe(self, frame: Frame) -> FrameTwin:
        if self.seconds:
            time.sleep(self.seconds)
        self.sizes.add(frame.image_hw3.shape)
        if frame.index in self.fails:
            raise ValueError(f"frame {frame.index}")
        return super().observe(frame)


def hub_of(
    folder: Path,
    replies: Sequence[str] = (),
    *,
    observe: Callable[[Any], Observer] | None = None,
    **more: Any,
) -> tuple[LiveHub, Taps]:
    """A hub whose sources are taps, and the taps."""
    taps = Taps()
    hub = LiveHub(
        square_models(list(replies)),
        folder=folder,
        openers={"tap": taps.opener},
        observe=observe or (lambda words: Slow()),
        **more,
    )
    return hub, taps


def spec(name: str, **more: Any) -> StreamSpec:
    return StreamSpec(id=name.partition("@")[0], source=f"tap:{name}", record=False, **more)


def balanced(counts: FrameCounts) -> bool:
    return counts.read == counts.processed + sum(counts.dropped.values()) + counts.in_flight


def until(true: Callable[[], object], seconds: float = 10.0) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end, "it did not come true in time"
        time.sleep(0.005)
