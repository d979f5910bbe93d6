"""Simulated worlds as a live source: ``sim:cell?seed=7``, one world after the other, endless.

Everything follows from the address, so who evaluates a stream gets the truth of any frame by
its timestamp: ``parse_reel("cell?seed=7", fps=10).truth_at(frame.timestamp_s)``.

Not covered: other sizes than 256x256; nothing connects one world with the next.
"""

from __future__ import annotations

import re
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from urllib.parse import parse_qsl

import numpy as np
from numpy.typing import NDArray

from ...deploy.stream.feed import Feed, FeedOptions, Opener
from ...twin.errors import SourceError
from ...twin.schema import FrameTwin
from .catalogue import Tier
from .scene import Scene
from .things import Event
from .truth import SIZE, true_frames
from .worlds import World

__all__ = ["Reel", "SimulatedFeed", "openers", "parse_reel"]

_IDS = 100  # object k of world n has the true id n * 100 + k; a world has fewer objects
_KEPT = 4  # worlds whose truth is remembered: about 1 MB each
_SECONDS = (2.0, 60.0)  # shorter ones have no room for an event
_EVENTS = 6
_NUMBER = re.compile(r"\d{1,9}(\.\d{1,3})?")
_KNOWN = "sim:cell or sim:wild with ?seed=N, seconds=S (2 to 60) and events=N (0 to 6) at most"


@dataclass
class Reel:
    """An endless row of worlds: seed, seed + 1, … of ``seconds`` each.

    Attributes:
        tier: decides categories and looks.
        seed: of the first world.
        fps: frames per second; a world has ``round(fps * seconds)`` of them.
        seconds: length of a world.
        events: tried for in each world.
    """

    tier: Tier
    seed: int
    fps: float
    seconds: float = 8.0
    events: int = 3
    _truths: OrderedDict[int, list[FrameTwin]] = field(default_factory=OrderedDict, repr=False)
    _worlds: OrderedDict[int, World] = field(default_factory=OrderedDict, repr=False)

    @property
    def frames_per_world(self) -> int:
        """Frames of one world."""
        return max(1, round(self.fps * self.seconds))

    def world(self, number: int) -> World:
        """The ``number``-th world from 0."""
        if number not in self._worlds:
            self._worlds[number] = World(
                self.seed + number, self.tier, self.seconds, events=self.events
            )
            while len(self._worlds) > _KEPT:
                self._worlds.popitem(last=False)
        return self._worlds[number]

    def place(self, index: int) -> tuple[int, float]:
        """The number of the world that frame ``index`` shows, and the seconds within it."""
        number, within = divmod(index, self.frames_per_world)
        return number, within / self.fps

    def happenings(self, number: int) -> list[tuple[float, Event]]:
        """The events of a world, each with the stream's second at which its world began."""
        return [(self._began_s(number), event) for event in self.world(number).events]

    def truth(self, index: int) -> FrameTwin:
        """The true twin of frame ``index``; ids go on from world to world.

        Renders its world, in the thread that asks: one thread at a time.

        Raises:
            MissingExtraError: without MuJoCo.
        """
        number, _ = self.place(index)
        if number not in self._truths:
            frames = true_frames(self.world(number), self.fps, self.seconds)
            self._truths[number] = [self._moved(frame, number) for frame in frames]
            while len(self._truths) > _KEPT:
                self._truths.popitem(last=False)
        return self._truths[number][index % self.frames_per_world]

    def truth_at(self, timestamp_s: float) -> FrameTwin:
        """The true twin of the frame that a stream of this reel has at ``timestamp_s``."""
        return self.truth(round(timestamp_s * self.fps))

    def _began_s(self, number: int) -> float:
        return number * self.frames_per_world / self.fps

    def _moved(self, frame: FrameTwin, number: int) -> FrameTwin:
        """A frame of a world in the reel's own time and ids."""
        began = self._began_s(number)
        objects = {
            number * _IDS + id: thing.model_copy(
                update={
                    "id": number * _IDS + id,
                    "first_seen": thing.first_seen + began,
                    "last_seen": thing.last_seen + began,
                }
            )
            for id, thing in frame.objects.items()
        }
        index = number * self.frames_per_world + frame.index
        return frame.model_copy(
            update={
                "source_id": f"sim:{self.tier}:{self.seed}",
                "index": index,
                "timestamp_s": index / self.fps,
                "objects": objects,
            }
        )


class SimulatedFeed:
    """Renders a reel; in real time, frames that are late are left out like a camera's.

    Args:
        reel: what is shown.
        live: in real time; else as quickly as they are taken.
    """

    exact = True
    damaged = 0

    def __init__(self, reel: Reel, live: bool) -> None:
        self.fps = reel.fps
        self._reel, self._live = reel, live
        self._closed = threading.Event()

    def frames(self) -> Iterator[tuple[float | None, NDArray[np.uint8]]]:
        """Yield pictures of 256x256, see :class:`~edgetwin.deploy.stream.feed.Feed`."""
        reel, index = self._reel, 0
        began: float | None = None
        while not self._closed.is_set():
            set_index = reel.world(reel.place(index)[0]).set_index
            # A scene of its own: a renderer belongs to one thread.
            with closing(Scene(reel.tier, set_index, SIZE, SIZE)) as scene:
                while True:
                    number, within_s = reel.place(index)
                    world = reel.world(number)
                    if world.set_index != set_index:
                        break
                    image = scene.render(world, within_s).rgb_hw3
                    began = time.monotonic() - index / reel.fps if began is None else began
                    if self._live and not self._due(began + index / reel.fps):
                        return
                    if self._closed.is_set():
                        return
                    yield index / reel.fps, image
                    late = int((time.monotonic() - began) * reel.fps) if self._live else 0
                    index = max(index + 1, late)

    def close(self) -> None:
        """End :meth:`frames`."""
        self._closed.set()

    def _due(self, when: float) -> bool:
        return not self._closed.wait(max(0.0, when - time.monotonic()))


def parse_reel(text: str, fps: float = 10.0) -> Reel:
    """Read ``cell?seed=7&seconds=8&events=3`` (what stands behind ``sim:``).

    Raises:
        SourceError: if something unknown is asked.
    """
    tier, _, query = text.partition("?")
    asked = dict(parse_qsl(query, keep_blank_values=True))
    wrong = set(asked) - {"seed", "seconds", "events"} or tier not in ("cell", "wild")
    if wrong or not all(_NUMBER.fullmatch(value) for value in asked.values()):
        raise SourceError(f"expected {_KNOWN}, got sim:{text}")
    seconds, events = float(asked.get("seconds", 8.0)), float(asked.get("events", 3))
    seed = float(asked.get("seed", 0))
    if not _SECONDS[0] <= seconds <= _SECONDS[1] or events > _EVENTS or seed % 1 or events % 1:
        raise SourceError(f"expected {_KNOWN}, got sim:{text}")
    return Reel("wild" if tier == "wild" else "cell", int(seed), fps, seconds, int(events))


def openers() -> Mapping[str, Opener]:
    """What :func:`~edgetwin.deploy.stream.spec.parse_address` needs to know ``sim:``."""
    return {"sim": _open}


def _open(text: str, options: FeedOptions) -> Callable[[], Feed]:
    reel = parse_reel(text, options.fps)
    return lambda: SimulatedFeed(reel, options.live)
