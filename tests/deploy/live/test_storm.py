"""Everything at once: streams come, go, change size and fail while many ask."""

from __future__ import annotations

import itertools
import random
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from edgetwin.deploy.live.bounds import HubLimits
from edgetwin.deploy.live.errors import BusyError, UnknownError
from edgetwin.deploy.live.hub import LiveHub
from edgetwin.deploy.live.moments import Moment
from edgetwin.deploy.live.records import StreamSpec

from ..scenes import PLAN_RED, picture
from .taps import Slow, balanced, hub_of, until

SECONDS = 4.0


class Weather:
    """A feed that changes its size, stops for a while and ends with an error, by chance."""

    exact, damaged, fps = False, 0, 100.0

    def __init__(self, seed: str) -> None:
        self._chance, self._closed = random.Random(seed), threading.Event()

    def frames(self) -> Any:
        width = 128
        while not self._closed.wait(0.005):
            if self._chance.random() < 0.03:
                width = self._chance.choice((128, 160, 192))
            if self._chance.random() < 0.02:
                self._closed.wait(0.1)
            yield None, picture(0, width=width)

    def close(self) -> None:
        self._closed.set()


class Storm:
    """Threads that use one hub, and whatever surprised them."""

    def __init__(self, hub: LiveHub) -> None:
        self.hub, self.over = hub, threading.Event()
        self.surprises: list[BaseException] = []
        self.happened: Counter[str] = Counter()
        self._threads: list[threading.Thread] = []

    def go(self, work: Callable[[random.Random], None], seed: int) -> None:
        def run() -> None:
            chance = random.Random(seed)
            while not self.over.is_set():
                try:
                    work(chance)
                    self.happened[work.__name__] += 1
                except (UnknownError, BusyError) as error:
                    self.happened[type(error).__name__] += 1
                except BaseException as error:
                    self.surprises.append(error)
                    return
                time.sleep(0.001)

        self._threads.append(threading.Thread(target=run))
        self._threads[-1].start()

    def end(self) -> None:
        self.over.set()
        for thread in self._threads:
            thread.join(30)
            assert not thread.is_alive()

    # ---- what happens

    def ask(self, chance: random.Random) -> None:
        record = self.hub.ask(chance.choice("abc"), "what is red?", caller=str(chance.random()))
        assert record["status"] in ("ok", "none"), record
        assert record["status"] == "none" or record["masks"].keys() == {"1"}

    def talk(self, chance: random.Random) -> None:
        session = self.hub.open_session("a")
        for _ in range(3):
            self.hub.ask("a", "what is red?", session=session, heard=lambda kind, data: None)
        if chance.random() < 0.5:
            self.hub.close_session(session)

    def come_and_go(self, chance: random.Random) -> None:
        stream = self.hub.add(StreamSpec(id="c", source=f"weather:{chance.random()}"))
        stream.wait(0, 1)
        window = stream.window()
        assert len({(frame.width, frame.height) for frame in window.frames}) <= 1
        assert self.hub.remove("c")
        assert balanced(stream.counts())
        assert stream.counts().in_flight == 0

    def watch(self, chance: random.Random) -> None:
        for stream in self.hub.streams():
            status = stream.status()
            assert balanced(status.frames)
            assert status.source.state in ("opening", "running", "stalled", "stopped")
        assert self.hub.ready()[0]

    def hear(self, chance: random.Random) -> None:
        def heard(moment: Moment) -> None:
            if chance.random() < 0.2:
                raise RuntimeError

        unlisten = self.hub.stream("b").listen(heard)
        time.sleep(0.02)
        unlisten()


def test_a_storm_is_survived_and_every_frame_accounted_for(tmp_path: Path) -> None:
    before = set(threading.enumerate())
    numbers = itertools.count()

    def observer(words: object) -> Slow:
        made = Slow(0.001)
        made.fails = {5, 6, 77} if next(numbers) % 2 else set()
        return made

    hub, _ = hub_of(
        tmp_path,
        [PLAN_RED, "<answer>$1</answer>"] * 5000,
        observe=observer,
        limits=HubLimits(sessions=6, questions=6, session_idle_s=0.5),
    )
    hub.openers["weather"] = lambda rest, options: lambda: Weather(rest)
    streams = [
        hub.add(StreamSpec(id=name, source=f"weather:{name}", record=name == "a")) for name in "ab"
    ]
    storm = Storm(hub)
    works = (storm.ask, storm.ask, storm.ask, storm.talk, storm.talk)
    for seed, work in enumerate((*works, storm.come_and_go, storm.watch, storm.hear)):
        storm.go(work, seed)
    time.sleep(SECONDS)
    storm.end()
    assert hub.close(5)
    assert storm.surprises == []
    assert min(storm.happened[k] for k in ("ask", "talk", "come_and_go", "watch", "hear")) > 3
    for stream in streams:
        counts = stream.counts()
        assert balanced(counts)
        assert counts.in_flight == 0
        assert counts.processed > 20
    until(lambda: set(threading.enumerate()) <= before)
