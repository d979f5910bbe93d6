"""A stream without end: whether memory, latency and identities hold out over many frames.

Things come in, cross, cover each other and leave all the time (:mod:`.soak_scenes`). Resident
memory after 1,000 frames is held against the end, the median latency of frames 500 to 1,500
against the last 1,000; both may differ by 5 %. A second, short measurement gives milliseconds
per frame against the number of objects that stay in view.

Wall-clock latency means something on a quiet machine only; processor time is told beside it.
Not covered: decoding video, drawing, several streams in one process.
"""

from __future__ import annotations

import gc
import statistics
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...deploy.machine import rss_mb
from ...perception.assignment import assign
from ...perception.boxes import box_iou
from ...perception.bundle import load_bundle
from ...perception.perceiver import Perceiver, PerceiverConfig
from ...twin import mask as rle
from ...twin.errors import InputError
from ...twin.frame import Frame
from ...twin.schema import FrameTwin, ObjectTwin
from ...twin.store import TwinStore
from ...twin.window import TwinWindow
from .report import Table
from .soak_scenes import Parade, Sighting, Sprites, load_sprites

__all__ = ["LIMIT", "LOADS", "Identities", "Load", "SoakReport", "scaling", "soak"]

LIMIT = 0.05  # by how much memory and latency may grow
LOADS = (1, 4, 8, 16)
STORED_FRAMES = 2000  # kept in the store, so that its file stays bounded too
_FORGET = 64  # true ids below the newest by so many have left for good
Progress = Callable[[str, int, int | None], None]


@dataclass
class Identities:
    """Holds perceived ids against true ones, frame by frame, in bounded memory.

    Attributes:
        true: true objects in view, summed over frames.
        matched: those that a perceived mask of IoU 0.5 or more showed.
        extra: perceived masks that showed none.
        switches: how often a true object was shown under another id than before.
        objects: true objects that were ever shown.
        changed: those of them that had more than one id.
    """

    true: int = 0
    matched: int = 0
    extra: int = 0
    switches: int = 0
    objects: int = 0
    changed: int = 0
    _ids: dict[int, int] = field(default_factory=dict, repr=False)
    _changed: set[int] = field(default_factory=set, repr=False)

    def add(self, seen: list[Sighting], twin: FrameTwin) -> None:
        """Take the next frame."""
        shown = [o for o in twin.objects.values() if o.state == "visible"]
        iou = _mask_iou(seen, shown)
        pairs = assign(np.where(iou >= 0.5, -iou, np.inf))
        self.true += len(seen)
        self.matched += len(pairs)
        self.extra += len(shown) - len(pairs)
        for row, column in pairs:
            number, object_id = seen[row].id, shown[column].id
            before = self._ids.get(number)
            self.objects += before is None
            if before not in (None, object_id):
                self.switches += 1
                self.changed += number not in self._changed
                self._changed.add(number)
            self._ids[number] = object_id
        newest = max((s.id for s in seen), default=0)
        for old in [n for n in self._ids if n < newest - _FORGET]:
            del self._ids[old]
            self._changed.discard(old)

    def summary(self) -> dict[str, float]:
        """Return counts and ratios as plain values."""
        return {
            "true_objects_shown": self.objects,
            "kept_one_id": round(1 - self.changed / max(1, self.objects), 4),
            "switches": self.switches,
            "recall": round(self.matched / max(1, self.true), 4),
            "extra_per_true": round(self.extra / max(1, self.true), 4),
        }


def _mask_iou(seen: list[Sighting], shown: list[ObjectTwin]) -> NDArray[np.float64]:
    """Return (seen, shown) overlaps; 0 where not even the boxes touch."""
    true = np.array([s.box_xyxy for s in seen], np.float32).reshape(-1, 4)
    given = np.array([o.box_xyxy for o in shown], np.float32).reshape(-1, 4)
    iou = np.zeros((len(seen), len(shown)))
    touching = box_iou(true, given) > 0.1
    for column in np.flatnonzero(touching.any(axis=0)).tolist():
        code = shown[column].mask
        if code is None:
            continue
        mask_hw = rle.decode(code)
        for row in np.flatnonzero(touching[:, column]).tolist():
            both = np.count_nonzero(mask_hw & seen[row].mask_hw)
            either = np.count_nonzero(mask_hw | seen[row].mask_hw)
            iou[row, column] = both / either
    return iou


@dataclass(frozen=True)
class Load:
    """Milliseconds per frame with so many objects in view, medians over the frames."""

    objects: int
    followed: float
    wall_ms: float
    cpu_ms: float


@dataclass
class SoakReport:
    """What a soak measured.

    Attributes:
        frames: how many were perceived.
        settled: the frame after which memory counts as settled.
        rss_settled_mb: resident memory after that frame.
        rss_end_mb: resident memory after the last one.
        wall_ms: median latency early and late. cpu_ms: processor time of the same frames.
        entered: things that came in. identities: see :class:`Identities`.
        counts: the tracker's and the policy's, drops included.
        loads: milliseconds against objects.
        settings: how it was run.
    """

    frames: int
    settled: int
    rss_settled_mb: float
    rss_end_mb: float
    wall_ms: tuple[float, float]
    cpu_ms: tuple[float, float]
    entered: int
    identities: dict[str, float]
    counts: dict[str, Any]
    loads: list[Load] = field(default_factory=list)
    settings: dict[str, Any] = field(default_factory=dict)

    @property
    def growth(self) -> dict[str, float]:
        """Shares by which memory and latency grew; below 0 they shrank."""
        return {
            "memory": self.rss_end_mb / self.rss_settled_mb - 1,
            "latency": self.wall_ms[1] / self.wall_ms[0] - 1,
            "cpu": self.cpu_ms[1] / self.cpu_ms[0] - 1,
        }

    def failures(self) -> list[str]:
        """Return one line for each limit that was broken."""
        grown = self.growth
        lines = []
        if grown["memory"] > LIMIT:
            lines.append(
                f"memory grew by {grown['memory']:.1%} after frame {self.settled}, "
                f"allowed: {LIMIT:.0%}"
            )
        # On a busy machine the clock says little: processor time has to agree.
        if min(grown["latency"], grown["cpu"]) > LIMIT:
            lines.append(f"latency grew by {grown['latency']:.1%}, allowed: {LIMIT:.0%}")
        return lines

    @property
    def document(self) -> dict[str, Any]:
        """Return everything as plain values."""
        return {**asdict(self), "growth": {k: round(v, 4) for k, v in self.growth.items()}}

    def tables(self) -> list[Table]:
        """Return the figures as tables."""
        early, late, grown = f"{self.settled}", "end", self.growth
        rows = (
            ("resident memory, MB", self.rss_settled_mb, self.rss_end_mb, grown["memory"]),
            ("median ms per frame", *self.wall_ms, grown["latency"]),
            ("median processor ms per frame", *self.cpu_ms, grown["cpu"]),
        )
        kept = self.identities
        notes = (
            f"{self.entered} things came in; {kept['true_objects_shown']} were shown, "
            f"{kept['kept_one_id']:.1%} of them under one id; {kept['switches']} switches; "
            f"recall {kept['recall']:.3f}",
            ", ".join(f"{name} {value}" for name, value in self.counts.items()),
        )
        tables = [
            Table(f"Soak, {self.frames} frames", ("figure", early, late, "growth"), rows, notes)
        ]
        if self.loads:
            first = self.loads[0]
            loads = tuple(
                (x.objects, x.followed, x.wall_ms, x.cpu_ms, x.cpu_ms / first.cpu_ms)
                for x in self.loads
            )
            columns = ("objects", "followed", "ms per frame", "processor ms", "times the first")
            tables.append(Table("Milliseconds against objects in view", columns, loads))
        return tables


def soak(
    models: str | Path = "embedded",
    frames: int = 20_000,
    objects: int = 4,
    seed: int = 0,
    *,
    config: PerceiverConfig | None = None,
    threads: int | None = None,
    pipelined: bool = False,
    window: bool = True,
    store: Path | None = None,
    loads: tuple[int, ...] = LOADS,
    cache: Path | None = None,
    sprites: int = 100,
    progress: Progress | None = None,
) -> SoakReport:
    """Send frames through one perceiver and measure what must not grow.

    Args:
        models: a set's name or a bundle's folder.
        frames: at least 20; with fewer than 2,000 memory counts as settled half-way.
        objects: how many things are on the table or on their way.
        seed: of the scene.
        config: how the perceiver works.
        threads: of every network; None: as many as there are cores.
        pipelined: by ``Perceiver.stream`` instead of frame by frame.
        window: keep the twins of the last 600 frames, as a question needs them.
        store: a file to store the newest 2,000 twins in.
        loads: numbers of objects for the second table; none skips it.
        cache: where rendered cut-outs are kept.
        sprites: how many cut-outs there are.
        progress: called with ("soak", done, total).

    Raises:
        InputError: for fewer than 20 frames.
        ModelError: if the models cannot be had.
        MissingExtraError: without MuJoCo.
    """
    if frames < 20:
        raise InputError(f"expected at least 20 frames, got {frames}")
    shown = load_sprites(cache, sprites)
    bundle = load_bundle(models, threads=threads)
    perceiver = Perceiver(bundle, config=config)
    parade = Parade(shown, objects, seed, frames=frames)
    identities = Identities()
    settled = 1000 if frames >= 2000 else frames // 2
    wall, cpu = np.zeros(frames), np.zeros(frames)  # made before memory is measured
    rss = [0.0, 0.0]
    with ExitStack() as stack:
        kept = TwinWindow() if window else None
        file = None
        if store is not None:
            file = stack.enter_context(TwinStore(store, keep_frames=STORED_FRAMES))
        for index, (seen, twin) in enumerate(_perceived(perceiver, parade, wall, cpu, pipelined)):
            identities.add(seen, twin)
            if kept is not None:
                kept.append(twin)
            if file is not None:
                file.append(twin)
            if index + 1 in (settled, frames):
                gc.collect()
                rss[index + 1 == frames] = rss_mb()
            if progress is not None:
                progress("soak", index + 1, frames)
    half = min(1000, settled)
    early = slice(settled - half // 2, settled + half // 2)
    report = SoakReport(
        frames=frames,
        settled=settled,
        rss_settled_mb=rss[0],
        rss_end_mb=rss[1],
        wall_ms=(_median(wall[early]), _median(wall[-half:])),
        cpu_ms=(_median(cpu[early]), _median(cpu[-half:])),
        entered=parade.entered,
        identities=identities.summary(),
        counts={**asdict(perceiver.counts), **asdict(perceiver.tracker.counts)},
        settings={
            "models": str(models),
            "objects": objects,
            "seed": seed,
            "threads": threads,
            "pipelined": pipelined,
            "window": window,
            "store": store is not None,
        },
    )
    for count in loads:
        report.loads.append(scaling(Perceiver(bundle, config=config), shown, count, seed))
    return report


def scaling(
    perceiver: Perceiver, sprites: Sprites, objects: int, seed: int = 0, frames: int = 80
) -> Load:
    """Measure frames with so many objects that stay in view; the first quarter only warms up.

    ``perceiver`` is a fresh one.
    """
    parade = Parade(sprites, objects, seed, staying=True, frames=frames)
    wall, cpu = np.zeros(frames), np.zeros(frames)
    followed = [
        sum(o.state == "visible" for o in twin.objects.values())
        for _, twin in _perceived(perceiver, parade, wall, cpu, False)
    ]
    warm = frames // 4
    mean = round(statistics.mean(followed[warm:]), 2)
    return Load(objects, mean, _median(wall[warm:]), _median(cpu[warm:]))


def _perceived(
    perceiver: Perceiver,
    parade: Parade,
    wall: NDArray[np.float64],
    cpu: NDArray[np.float64],
    pipelined: bool,
) -> Iterator[tuple[list[Sighting], FrameTwin]]:
    """Yield truth and twin per frame, and note what each frame took."""
    waiting: deque[list[Sighting]] = deque()  # as many as the pipeline holds

    def feed() -> Iterator[Frame]:
        for frame, seen in parade:
            waiting.append(seen)
            yield frame

    if not pipelined:
        for place, frame in enumerate(feed()):  # composed outside the clock
            clock, used = time.perf_counter(), time.process_time()
            twin = perceiver.observe(frame)
            wall[place] = 1000 * (time.perf_counter() - clock)
            cpu[place] = 1000 * (time.process_time() - used)
            yield waiting.popleft(), twin
        return
    clock, used = time.perf_counter(), time.process_time()
    for place, twin in enumerate(perceiver.stream(feed())):  # from twin to twin
        now, spent = time.perf_counter(), time.process_time()
        wall[place], cpu[place] = 1000 * (now - clock), 1000 * (spent - used)
        clock, used = now, spent
        yield waiting.popleft(), twin


def _median(values: NDArray[np.float64]) -> float:
    return round(float(np.median(values)), 3)
