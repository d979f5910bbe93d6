"""The soak: GStreamer's RTSP server, a proxy that breaks things, and a hub with the embedded set.

::

    python -m edgetwin.tests.deploy.stream.soak_rtsp --minutes 30 --faults 20 --out soak.json

Growth: memory, threads and file descriptors every 10 s while the stream is watched. Faults: each
kind so many times, held for a random while, then the time from its end to the first twin of a
frame that was taken after it. Stop: from each state, with what is left behind.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2

from edgetwin.deploy.live.hub import LiveHub
from edgetwin.deploy.live.records import StreamSpec
from edgetwin.deploy.live.stream import LiveStream, Moment
from edgetwin.deploy.models import load_models
from edgetwin.deploy.stream.live import LiveSource, Retry
from edgetwin.deploy.stream.source import open_source
from edgetwin.deploy.stream.spec import parse_address

from ...fault_proxy import FaultProxy

ROOT = Path(__file__).parents[3]
PYTHON = "/usr/bin/python3"  # Debian's, which has gi
RETRY = Retry(first_s=0.5, most_s=2.0, stall_s=2.0, open_s=2.0)
BOUND_S = RETRY.most_s * (1 + RETRY.jitter) + 2.0  # the longest retry and 2 s
SIZES = ((256, 256), (320, 240))
FPS = 10
KINDS = ("killed", "reset", "hole", "resolution", "garbage")


class GstServer:
    """The server's process; can be killed and started again on its port."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port: int = free.getsockname()[1]
        self.size = SIZES[0]
        self._process: subprocess.Popen[str] | None = None

    def start(self) -> None:
        """Start it and wait until it serves."""
        script = str(ROOT / "tests/rtsp_gst_server.py")
        args = [str(self._folder), str(self.port), str(FPS), *map(str, self.size)]
        self._process = subprocess.Popen(
            ["nice", "-n", "5", PYTHON, script, *args],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        assert self._process.stdout is not None
        said = self._process.stdout.readline()
        if not said.startswith("port"):
            raise SystemExit(f"expected GStreamer's RTSP server to start, got {said!r}")

    def kill(self) -> None:
        """End it as a crash would."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None

    def resize(self, size: tuple[int, int]) -> None:
        """Change the pictures' size in-band."""
        assert self._process is not None
        assert self._process.stdin is not None
        self.size = size
        self._process.stdin.write(f"size {size[0]} {size[1]}\n")
        self._process.stdin.flush()


def write_pictures(folder: Path) -> None:
    """Frames of the example clips as PNG."""
    clips = sorted((ROOT / "examples").glob("*.mp4"))
    frames = [frame.image_hw3 for clip in clips for frame in open_source(clip)]
    for number, image in enumerate(frames):
        cv2.imwrite(str(folder / f"{number:04d}.png"), cv2.cvtColor(image, cv2.COLOR_RGB2BGR))


def held_now() -> dict[str, float]:
    """What this process holds."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return {
        "rss_mb": pages * os.sysconf("SC_PAGE_SIZE") / 2**20,
        "threads": threading.active_count(),
        "fds": len(os.listdir("/proc/self/fd")),
    }


def watch(stream: LiveStream, minutes: float, say: Callable[[str], None]) -> dict[str, Any]:
    """Sample while the stream runs; the second half says whether anything grows."""
    samples: list[dict[str, float]] = []
    began = time.monotonic()
    while time.monotonic() - began < minutes * 60:
        time.sleep(10)
        status = stream.status()
        samples.append(
            {
                "at_s": round(time.monotonic() - began, 1),
                **held_now(),
                "age_ms": status.age_ms or -1.0,
                "processed": status.frames.processed,
                "stored_mb": status.stored_bytes / 2**20,
            }
        )
        if len(samples) % 30 == 0:
            say(f"{samples[-1]}")
    counts = stream.status().frames
    late = samples[len(samples) // 2 :]
    slope = statistics.linear_regression(
        [s["at_s"] for s in late], [s["rss_mb"] for s in late]
    ).slope
    ages = sorted(s["age_ms"] for s in samples)
    return {
        "minutes": minutes,
        "rss_mb_at": {f"{s['at_s'] / 60:.0f} min": round(s["rss_mb"], 1) for s in samples[5::30]},
        "rss_growth_mb_per_hour_second_half": round(slope * 3600, 2),
        "rss_most_mb": round(max(s["rss_mb"] for s in samples), 1),
        "threads": sorted({s["threads"] for s in late}),
        "fds": sorted({s["fds"] for s in late}),
        "age_ms_median_p95": [
            round(ages[len(ages) // 2], 1),
            round(ages[int(0.95 * len(ages))], 1),
        ],
        "frames": counts.model_dump(),
        "exact": counts.read == counts.processed + sum(counts.dropped.values()) + counts.in_flight,
        "reconnects": stream.status().source.reconnects,
        "stored_mb": round(late[-1]["stored_mb"], 1),
    }


def fault(kind: str, server: GstServer, proxy: FaultProxy, longer: float = 1.0) -> float:
    """Do it, hold it for a while (``longer`` 0: the shortest), and return when it ended."""
    if kind == "killed":
        server.kill()
        time.sleep(0.5 + random.uniform(0, 4.5) * longer)
        server.start()
    elif kind == "reset":
        proxy.reset()
        time.sleep(0.1)
    elif kind == "resolution":
        server.resize(SIZES[server.size == SIZES[0]])
    else:
        proxy.mode = "hole" if kind == "hole" else "garbage"
        # A hole as long as it takes to be seen: the connections in it are lost for good.
        least = 2.5 if kind == "hole" else 0.5
        time.sleep(least + random.uniform(0, 5) * longer)
        proxy.mode = "pass"
    return time.monotonic()


def is_fresh(moment: Moment, kind: str, ended: float, server: GstServer) -> bool:
    """Whether it was taken after the fault, in the new size where that was the fault."""
    if moment.captured_at <= ended:
        return False
    return kind != "resolution" or moment.frame.image_hw3.shape[1::-1] == server.size


def suffer(stream: LiveStream, kind: str, server: GstServer, proxy: FaultProxy) -> float | None:
    """One fault; seconds to the first fresh twin, None after 60 without one."""
    before = stream.status().source.reconnects
    ended = fault(kind, server, proxy)
    seq = 0
    while time.monotonic() - ended < 60:
        moment = stream.wait(seq, 1.0)
        if moment is None:
            continue
        seq = moment.seq
        reopened = kind in ("resolution", "garbage") or stream.status().source.reconnects > before
        if reopened and is_fresh(moment, kind, ended, server):
            return time.monotonic() - ended
    return None


def stops(server: GstServer, proxy: FaultProxy) -> dict[str, Any]:
    """Stop a source from every state; seconds and what was left."""
    retry = Retry(first_s=30, most_s=30, stall_s=3, open_s=30)
    took: dict[str, list[float]] = {}
    left: list[str] = []
    for state in ("opening", "running", "stalled", "backoff") * 5:
        proxy.mode = "hole" if state == "opening" else "pass"
        came = threading.Event()
        source = LiveSource(
            parse_address(f"rtsp://127.0.0.1:{proxy.port}/live"),
            lambda frame, at, came=came: came.set(),
            stream_id="stop",
            retry=retry,
        )
        source.start()
        if state == "opening":
            time.sleep(random.uniform(0, 1))  # from connecting to hanging in FFmpeg
        else:
            came.wait(20)
        if state == "stalled":
            proxy.mode = "hole"
        elif state == "backoff":
            proxy.reset()
        until = time.monotonic() + 20
        while source.status().state != state and time.monotonic() < until:
            time.sleep(0.02)
        if source.status().state != state:
            raise SystemExit(f"expected the state {state}, got {source.status()}")
        began = time.monotonic()
        ended = source.stop()
        took.setdefault(state, []).append(round(time.monotonic() - began, 3))
        names = [t.name for t in threading.enumerate() if t.name.startswith("source-stop")]
        left += [*names, *([] if ended else [f"{state}: stop() said no"])]
    proxy.mode = "pass"
    return {"longest_s": {state: max(values) for state, values in took.items()}, "left": left}


def summary(times: dict[str, list[float | None]]) -> dict[str, Any]:
    """Per kind and in all."""
    told: dict[str, Any] = {}
    for kind, values in {**times, "all": [v for each in times.values() for v in each]}.items():
        back = sorted(v for v in values if v is not None)
        if back:
            told[kind] = {
                "faults": len(values),
                "survived": len(back),
                "median_s": round(statistics.median(back), 2),
                "p95_s": round(back[min(len(back) - 1, int(0.95 * len(back)))], 2),
                "most_s": round(back[-1], 2),
            }
    return told


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=30)
    parser.add_argument("--faults", type=int, default=20)
    parser.add_argument("--seed", type=int, default=8)
    parser.add_argument("--out", type=Path, default=Path("soak.json"))
    chosen = parser.parse_args()
    if shutil.which(PYTHON) is None:
        raise SystemExit(f"expected {PYTHON} with gir1.2-gst-rtsp-server-1.0")
    random.seed(chosen.seed)

    def say(text: str) -> None:
        print(f"{time.strftime('%H:%M:%S')} {text}", file=sys.stderr, flush=True)

    result: dict[str, Any] = {"retry": str(RETRY), "bound_s": BOUND_S}
    times: dict[str, list[float | None]] = {kind: [] for kind in KINDS}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_pictures(folder)
        server = GstServer(folder)
        server.start()
        proxy = FaultProxy(server.port)
        with LiveHub(load_models("embedded"), folder=folder / "hub", retry=RETRY) as hub:
            source = f"rtsp://127.0.0.1:{proxy.port}/live"
            stream = hub.add(StreamSpec(id="soak", source=source, fps=FPS))
            if stream.wait(0, 30) is None:
                raise SystemExit(f"expected a first twin, got {stream.status()}")
            if chosen.minutes:
                result["growth"] = watch(stream, chosen.minutes, say)
                say(json.dumps(result["growth"]))
            before = held_now()
            for number in range(chosen.faults):
                for kind in KINDS:
                    times[kind].append(suffer(stream, kind, server, proxy))
                    time.sleep(random.uniform(2.5, 4))  # it runs again for a while
                say(f"{number + 1}: { {kind: values[-1] for kind, values in times.items()} }")
            after = held_now()
            counts = stream.status().frames
            result["faults"] = summary(times)
            result["around_faults"] = {"before": before, "after": after}
            result["frames"] = counts.model_dump()
            result["exact"] = counts.read == (
                counts.processed + sum(counts.dropped.values()) + counts.in_flight
            )
            result["stop"] = stops(server, proxy)
            began = time.monotonic()
            closed = hub.close()
            result["hub_close"] = {"clean": closed, "s": round(time.monotonic() - began, 2)}
        proxy.close()
        server.kill()
    chosen.out.write_text(json.dumps(result, indent=1) + "\n")
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main()
