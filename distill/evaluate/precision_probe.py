"""One graph, or one whole set of networks, in a process of its own: milliseconds and memory.

::

    python -m edgetwin.distill.evaluate.precision_probe graph FILE INPUTS.npz --threads 1
    python -m edgetwin.distill.evaluate.precision_probe set FOLDER FRAMES.npy --threads 1

Prints one line of JSON: the median milliseconds of a run (or frame), by the clock and by the
processor's time of all threads, the most memory that the process held, and what it held before.
"""

from __future__ import annotations

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from ...deploy.machine import peak_rss_mb
from ...perception.bundle import load_bundle
from ...perception.engines import open_engine
from ...perception.perceiver import Perceiver
from ...twin.frame import Frame

__all__ = ["main", "peak_mb"]

Times = list[tuple[float, float]]
_WARM = 3


def peak_mb() -> float:
    """Return the most memory (MiB) since this program began.

    The system's other figure, ``ru_maxrss``, begins with what the process that started it held.
    """
    try:
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return round(int(line.split()[1]) / 1024, 1)
    except OSError:
        pass
    return peak_rss_mb()


def _graph(file: Path, inputs: Path, threads: int, rounds: int) -> Times:
    with np.load(inputs) as stored:
        feed = {name: stored[name] for name in stored.files}
    engine = open_engine(file, device="cpu", threads=threads)

    def run(_: int) -> None:
        engine.run(feed)

    return _timed(run, rounds)


def _set(folder: Path, frames: Path, threads: int, rounds: int) -> Times:
    images = np.load(frames, mmap_mode="r")
    perceiver = Perceiver(load_bundle(folder, device="cpu", threads=threads))

    def run(k: int) -> None:
        image = np.ascontiguousarray(images[k % len(images)])
        perceiver.observe(Frame(k, k / 8, image, "probe"))

    return _timed(run, min(rounds, len(images) - _WARM))


def _timed(run: Callable[[int], None], rounds: int) -> Times:
    spent: Times = []
    for k in range(_WARM + rounds):
        started, busy = time.perf_counter(), time.process_time()
        run(k)
        spent.append((time.perf_counter() - started, time.process_time() - busy))
    return spent[_WARM:]


def main() -> None:
    """Command line of the probe."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("graph", "set"))
    parser.add_argument("model", type=Path)
    parser.add_argument("inputs", type=Path)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=30)
    args = parser.parse_args()
    before = peak_mb()
    measure = _graph if args.what == "graph" else _set
    spent = measure(args.model, args.inputs, args.threads, args.rounds)
    ms, cpu_ms = (1000 * statistics.median(column) for column in zip(*spent, strict=True))
    memory = {"peak_mb": peak_mb(), "before_mb": before}
    print(json.dumps({"ms": ms, "cpu_ms": cpu_ms, **memory}))


if __name__ == "__main__":
    main()
