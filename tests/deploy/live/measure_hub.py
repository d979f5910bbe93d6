"""Figures of a hub: ``python -m edgetwin.tests.deploy.live.measure_hub slow|dead|rate|streams [n]``.

``slow``: perception ten times slower than a 30 frames/s camera: memory, accounts, age of the
frame that an answer is about. ``dead``: four streams, one of which says nothing or fails again
and again. ``rate``: one stream of 256x256 through the embedded set
(``rate-asked``: with questions all the while). ``streams``: memory of so many streams. ``n`` is
seconds, or streams. Each prints JSON.
"""

from __future__ import annotations

import json
import resource
import socket
import statistics
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgetwin.deploy.live.hub import LiveHub
from edgetwin.deploy.live.records import StreamSpec
from edgetwin.deploy.live.stream import LiveStream
from edgetwin.deploy.models import load_models
from edgetwin.deploy.stream.feed import Feed, FeedOptions
from edgetwin.deploy.stream.live import Retry
from edgetwin.deploy.stream.source import open_source
from edgetwin.twin.frame import Frame

from ..scenes import picture
from .taps import RED, Metronome, Slow, balanced, hub_of, until

EXAMPLE = Path(__file__).parents[3] / "examples" / "affordance.mp4"
RATE = 30.0


class Balance:
    """Looks at the accounts of streams, again and again, until it is stopped."""

    def __init__(self, *streams: LiveStream) -> None:
        self.looks = self.wrong = self.most_in_flight = 0
        self._streams, self._over = streams, threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()

    def _watch(self) -> None:
        while not self._over.wait(0.001):
            for stream in self._streams:
                counts = stream.counts()
                self.looks += 1
                self.wrong += not balanced(counts)
                self.most_in_flight = max(self.most_in_flight, counts.in_flight)

    def end(self) -> dict[str, int]:
        self._over.set()
        self._thread.join()
        return {"looks": self.looks, "wrong": self.wrong, "most_in_flight": self.most_in_flight}


def slow(seconds: float, folder: Path, width: int = 640, height: int = 480) -> dict[str, Any]:
    """A camera of 30 frames/s before perception that takes ten of its frames' time for one."""
    image = np.ascontiguousarray(np.tile(picture(), (height // 96, width // 128, 1)))
    hub, _ = hub_of(folder, RED * 10_000, observe=lambda words: Slow(10 / RATE))
    hub.openers["beat"] = lambda rest, options: lambda: Metronome(RATE, image)
    ages: list[float] = []
    asked: list[float] = []
    memory: list[float] = []
    with hub:
        stream = hub.add(StreamSpec(id="a", source="beat:", record=False))
        balance = Balance(stream)
        assert stream.wait(0, 10)
        began = time.monotonic()
        while time.monotonic() - began < seconds:
            started = time.monotonic()
            record = hub.ask("a", "what is red?")
            asked.append((time.monotonic() - started) * 1e3)
            ages.append(record["age_ms"])
            memory.append(rss_mib())
            time.sleep(0.037)  # so that questions fall at any moment of a frame
        counts = stream.counts()
        checked = balance.end()
    half = len(memory) // 2
    return {
        "seconds": seconds,
        "frames": counts.model_dump(),
        "accounts": checked,
        "questions": len(ages),
        "age_ms": quantiles(ages),
        "question_ms": quantiles(asked),
        "rss_mib": {
            "first_half_max": max(memory[:half]),
            "second_half_max": max(memory[half:]),
        },
    }


def dead(seconds: float, folder: Path, how: str = "silent", rate: float = 20.0) -> dict[str, Any]:
    """Three streams for a time with a fourth that lives, then with a camera that is dead.

    ``silent`` takes the connection and says nothing, ``refused`` takes none.
    """
    found: dict[str, Any] = {"seconds": seconds, "rate": rate, "how": how}
    with socket.create_server(("127.0.0.1", 0)) as server:
        camera = f"rtsp://127.0.0.1:{server.getsockname()[1]}/camera"
        if how == "refused":
            server.close()
        for fourth in ("alive", how):
            source = "beat:" if fourth == "alive" else camera
            found["alive" if fourth == "alive" else "dead"] = _four(
                seconds, folder / fourth, source, rate
            )
    ratios = [d / a for d, a in zip(found["dead"]["rates"], found["alive"]["rates"], strict=True)]
    found["kept"] = [round(ratio, 4) for ratio in ratios]
    return found


def _four(seconds: float, folder: Path, fourth: str, rate: float) -> dict[str, Any]:
    hub, _ = hub_of(
        folder,
        observe=lambda words: Slow(0.004),
        retry=Retry(first_s=0.05, most_s=0.2, stall_s=0.4, open_s=0.5),
    )
    hub.openers["beat"] = lambda rest, options: lambda: Metronome(rate, picture())
    with hub:
        good = [hub.add(StreamSpec(id=f"s{k}", source="beat:")) for k in range(3)]
        other = hub.add(StreamSpec(id="fourth", source=fourth))
        until(lambda: all(s.latest() for s in good))
        balance = Balance(*good, other)
        before, began = [s.counts().processed for s in good], time.monotonic()
        time.sleep(seconds)
        took = time.monotonic() - began
        done = [s.counts().processed - b for s, b in zip(good, before, strict=True)]
        return {
            "rates": [round(count / took, 3) for count in done],
            "dropped": [sum(s.counts().dropped.values()) for s in good],
            "fourth": other.status().source.model_dump(),
            "accounts": balance.end(),
        }


class Replay:
    """Pictures in memory, round and round, at a rate; 0 as fast as they are taken."""

    exact, damaged = False, 0

    def __init__(self, images: list[NDArray[np.uint8]], rate: float) -> None:
        self.fps = rate or 1000.0
        self._images, self._rate, self._closed = images, rate, threading.Event()

    def frames(self) -> Any:
        due, index = time.monotonic(), 0
        while not self._closed.is_set():
            if self._rate:
                due = max(due + 1 / self._rate, time.monotonic() - 0.5)
                self._closed.wait(max(0.0, due - time.monotonic()))
            yield None, self._images[index % len(self._images)]
            index += 1

    def close(self) -> None:
        self._closed.set()


def rate(seconds: float, folder: Path, asking: bool = False) -> dict[str, Any]:
    """One stream of 256x256 through the embedded set: at 30 frames/s, and as fast as it can; and without one."""
    images = [frame.image_hw3 for frame in open_source(EXAMPLE)]
    models, found = load_models("embedded"), {}
    found["alone"] = _alone(images, seconds / 2)
    for name, pace in (("at_30", RATE), ("at_most", 0.0)):

        def opener(rest: str, options: FeedOptions, pace: float = pace) -> Callable[[], Feed]:
            return lambda: Replay(images, pace)

        with LiveHub(models, folder=folder / name, openers={"replay": opener}) as hub:
            stream = hub.add(StreamSpec(id="a", source="replay:", live=pace > 0))
            until(lambda: stream.counts().processed >= 10, 60)  # noqa: B023
            before, began, ages = stream.counts(), time.monotonic(), []
            cpu_s = time.process_time()
            while time.monotonic() - began < seconds:
                if asking:
                    hub.ask("a", "what is the largest object?")
                time.sleep(0.05)
                moment = stream.latest()
                assert moment is not None
                ages.append(moment.age_ms())
            counts, took = stream.counts(), time.monotonic() - began
            done, cpu_s = counts.processed - before.processed, time.process_time() - cpu_s
            found[name] = {
                "fps": round(done / took, 2),
                "cpu_ms_per_frame": round(1e3 * cpu_s / done, 1),
                "read_fps": round((counts.read - before.read) / took, 2),
                "dropped": counts.dropped,
                "age_ms": quantiles(ages),
                "rss_mib": rss_mib(),
            }
    return found


def _alone(images: list[NDArray[np.uint8]], seconds: float) -> dict[str, Any]:
    """The same pictures through a perceiver without a hub, frame by frame."""
    perceiver = load_models("embedded").perceiver
    for index in range(10):
        perceiver.observe(Frame(index, index / RATE, images[index % len(images)]))
    index, began, cpu_s = 10, time.monotonic(), time.process_time()
    while time.monotonic() - began < seconds:
        perceiver.observe(Frame(index, index / RATE, images[index % len(images)]))
        index += 1
    took, cpu_s = time.monotonic() - began, time.process_time() - cpu_s
    done = index - 10
    return {"fps": round(done / took, 2), "cpu_ms_per_frame": round(1e3 * cpu_s / done, 1)}


def streams(count: int, folder: Path) -> dict[str, Any]:
    """Memory with one stream of the embedded set and with more, each as full as it gets."""
    image = next(iter(open_source(EXAMPLE))).image_hw3
    memory: list[float] = []
    with LiveHub(load_models("embedded"), folder=folder) as hub:
        hub.openers["still"] = lambda rest, options: lambda: Replay([image], 2.0)
        for number in range(count):
            stream = hub.add(StreamSpec(id=f"s{number}", source="still:"))
            until(lambda: stream.counts().processed >= 4, 60)  # noqa: B023
            memory.append(rss_mib())
    each = (memory[-1] - memory[0]) / (count - 1)
    return {"streams": count, "rss_mib": memory, "each_mib": round(each, 2)}


def quantiles(values: list[float]) -> dict[str, float]:
    """Median, 95th percentile and the greatest."""
    ordered = sorted(values)
    return {
        "p50": round(statistics.median(ordered), 1),
        "p95": round(ordered[min(int(0.95 * len(ordered)), len(ordered) - 1)], 1),
        "max": round(ordered[-1], 1),
    }


def rss_mib() -> float:
    """Memory of this process now, MiB."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return round(pages * resource.getpagesize() / 2**20, 1)


def main() -> None:
    """See the head of this file."""
    what, seconds = sys.argv[1], float(sys.argv[2]) if len(sys.argv) > 2 else 20.0
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder)
        if what == "slow":
            print(json.dumps(slow(seconds, path), indent=1))
        elif what == "dead":
            for how in ("silent", "refused"):
                print(json.dumps(dead(seconds, path / how, how), indent=1))
        elif what == "streams":
            print(json.dumps(streams(int(seconds), path)))
        else:
            print(json.dumps(rate(seconds, path, asking=what == "rate-asked"), indent=1))


if __name__ == "__main__":
    main()
