"""Speed at the published sizes: this project's loop against one pass of everything per frame.

Both sides run the same random weights in the published configurations (SAM 2.1-tiny or EdgeTAM,
OWLv2-base-patch16, Depth-Anything-V2-Small). *Straightforward* is what examples do: on every
frame the detector with its texts, the image segmenter prompted with the boxes, and depth, by
transformers, eager; and, for masks that keep their identity, the same with transformers' own
SAM 2 video session in place of the image segmenter. *Ours* is the :class:`~edgetwin.perception.Perceiver`: a look and a depth
measurement every ``every`` frames, masks that follow in between, text embeddings cached, on
ONNX Runtime (CPU) or torch (GPU).

Random weights see nothing, so scripted boxes stand in for what networks find, on both sides;
every network still runs on real inputs for its cost. Both sides get our pre-processing (the
library's own resizes OWLv2's picture with SciPy, which would only add to its time). Rounds of
both take turns in one process; medians of rounds are reported.

Not covered: half precision, TensorRT, several streams, accuracy.
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Any

from ...deploy.bench_plain import Straightforward, plain_of
from ...deploy.bench_script import FILM_HW, Film, ScriptedParts
from ...perception.bundle import Bundle, load_bundle
from ...perception.perceiver import Perceiver, PerceiverConfig
from ...perception.tracker import TrackerConfig
from ...twin.errors import InputError, ModelError
from .report import Table

__all__ = ["SEGMENTERS", "VARIANTS", "compare", "write_checkpoints"]

SEGMENTERS = ("sam2.1-tiny", "edgetam")

# name -> what it is called in the table, how masks follow, whether every frame is looked at
VARIANTS: dict[str, tuple[str, str, bool]] = {
    "memory": ("ours, memory of all objects", "memory", False),
    "hybrid": ("ours, memory between looks", "hybrid", False),
    "boxes": ("ours, boxes between looks", "boxes", False),
    "looks": ("ours, a look at every frame", "hybrid", True),
}


def compare(
    *,
    device: str = "cpu",
    reduced: bool = True,
    segmenter: str = "sam2.1-tiny",
    objects: int = 3,
    every: int = 8,
    memories: int = 4,
    rounds: int = 3,
    variants: tuple[str, ...] = tuple(VARIANTS),
    threads: int | None = None,
    seed: int = 0,
    session: bool = True,
    cache: Path | None = None,
) -> list[Table]:
    """Time both sides in one run and return two tables: frames per second, where time goes.

    ``reduced`` halves every network's picture (SAM 2 at 512, OWLv2 at 480, depth at 252) for
    the CPU; ``memories`` is how many frames memory attention reads; ``session`` also times the
    video session; ``cache`` keeps the exported graphs for the next run (by default they are
    written anew, which takes minutes).

    Raises:
        InputError: if an argument is out of range.
        ModelError: if the device cannot be had, or EdgeTAM's backbone (timm) is missing.
    """
    if not 1 <= objects <= 8 or every < 2 or rounds < 1 or not set(variants) <= set(VARIANTS):
        raise InputError(
            "expected 1 to 8 objects, every >= 2, rounds >= 1 and variants among "
            f"{', '.join(VARIANTS)}, got {objects}, {every}, {rounds} and {variants}"
        )
    with _folder(cache) as folder:
        name = f"{segmenter}-{'reduced' if reduced else 'full'}"
        sources = write_checkpoints(folder / name, reduced=reduced, segmenter=segmenter, seed=seed)
        live: Any = load_bundle(sources, device=device, threads=threads)
        bundle = live if device != "cpu" else _exported(live, folder / f"{name}-onnx", threads)
        film = Film(objects, seed)
        models = plain_of(live)
        plain = {"plain": Straightforward(models, film)}
        if session:
            plain["session"] = Straightforward(models, film, session=True)
        parts = ScriptedParts(bundle, film)
        ours = {v: _Ours(parts, v, every, memories) for v in variants}
        return _measure(plain, ours, film, rounds, every, _setting(bundle, reduced, segmenter))


def write_checkpoints(
    folder: Path, *, reduced: bool = True, segmenter: str = "sam2.1-tiny", seed: int = 0
) -> dict[str, str]:
    """Save random weights in the published configurations as hub checkpoints; role -> folder.

    Folders that are there already are kept.

    Raises:
        InputError: if the segmenter is unknown.
    """
    if segmenter not in SEGMENTERS:
        raise InputError(f"expected a segmenter among {', '.join(SEGMENTERS)}, got {segmenter!r}")
    from .real_size_models import PREPROCESSORS, build

    half = 2 if reduced else 1
    sides = {"segmenter": 1024 // half, "detector": 960 // half, "depth": 518 // half // 14 * 14}
    sources = {}
    for role, side in sides.items():
        target = folder / role
        sources[role] = str(target)
        if (target / "preprocessor_config.json").is_file():
            continue
        build(role, segmenter, side, seed, target)
        values = PREPROCESSORS[role] | {"size": {"height": side, "width": side}}
        (target / "preprocessor_config.json").write_text(json.dumps(values))
    return sources


_Clock = tuple[float, float]  # milliseconds per frame: of the wall's clock, of the processor


@contextmanager
def _folder(cache: Path | None) -> Iterator[Path]:
    if cache is not None:
        cache.mkdir(parents=True, exist_ok=True)
        yield cache
        return
    with tempfile.TemporaryDirectory(prefix="edgetwin-speed-") as name:
        yield Path(name)


def _exported(live: Any, folder: Path, threads: int | None) -> Bundle:
    if not (folder / "manifest.json").is_file():
        from ...perception.graphs.hub_bundle import export_bundle

        export_bundle(live, folder, frame_hw=FILM_HW)
    return load_bundle(folder, device="cpu", threads=threads)


def _setting(bundle: Bundle, reduced: bool, segmenter: str) -> str:
    sides = [
        f"{label} {bundle.network(role).config['image_size']}"
        for role, label in (("segmenter", segmenter), ("detector", "OWLv2-base"), ("depth", "DA-V2-S"))
    ]  # fmt: skip
    engine = "torch" if hasattr(bundle, "networks") else "ONNX Runtime"
    size = "reduced pictures" if reduced else "published sizes"
    return f"{size}: {', '.join(sides)} px; ours on {engine}, {bundle.device}"


class _Ours:
    """A perceiver of one variant over the endless film."""

    def __init__(self, parts: ScriptedParts, variant: str, every: int, memories: int) -> None:
        self.label, follow, self.always = VARIANTS[variant]
        config = PerceiverConfig(
            look_every=1 if self.always else every,
            depth_every=1 if self.always else every,
            max_interval=every,
            follow=follow,  # type: ignore[arg-type]
            memories=memories,
            tracker=TrackerConfig(settle_s=0.0),  # a stream that has been running for a while
        )
        self._film, self._next = parts.film, 0
        self.perceiver = Perceiver(
            parts.bundle,
            parts.film.words,
            config=config,
            detector=parts.detector,
            segmenter=parts.segmenter,
            depth=parts.depth,
        )

    def spent_ms(self) -> dict[str, float]:
        """Return milliseconds per stage since the start."""
        return {s: t.mean_ms * t.runs for s, t in self.perceiver.timings.items()}

    def frame(self) -> None:
        """Observe the next frame; the scripted objects must all be there."""
        twin = self.perceiver.observe(self._film.frame(self._next))
        self._next += 1
        if len(twin.objects) != self._film.objects:
            raise ModelError(
                f"expected {self._film.objects} scripted objects in frame {self._next - 1}, got "
                f"{len(twin.objects)}: the comparison would not be of equal work"
            )


def _measure(
    plain: dict[str, Straightforward],
    ours: dict[str, _Ours],
    film: Film,
    rounds: int,
    every: int,
    setting: str,
) -> list[Table]:
    """Run rounds of all in turn; the first round of each is not counted."""
    few = max(2, every // 4)  # frames of a straightforward round: all of them cost the same
    sides: dict[str, tuple[Straightforward | _Ours, int]] = {k: (p, few) for k, p in plain.items()}
    sides |= {k: (o, few if o.always else every) for k, o in ours.items()}
    for name, (side, frames) in sides.items():  # memories fill up, engines open
        _run(side, frames if name == "plain" else every)
    before = {name: side.spent_ms() for name, (side, _) in sides.items()}
    times: dict[str, list[_Clock]] = {name: [] for name in sides}
    for _ in range(rounds):
        for name, (side, frames) in sides.items():
            times[name].append(_clock(side, frames))
    shares = {
        name: {
            stage: (spent - before[name].get(stage, 0.0)) / (rounds * frames)
            for stage, spent in side.spent_ms().items()
        }
        for name, (side, frames) in sides.items()
    }
    labels = {name: side.label for name, (side, _) in sides.items()}
    return [_speeds(labels, times, film, every, rounds, setting), _stages(shares)]


def _run(side: Straightforward | _Ours, frames: int) -> None:
    for _ in range(frames):
        side.frame()


def _clock(side: Straightforward | _Ours, frames: int) -> _Clock:
    """Return milliseconds per frame by the wall's clock, and of the processor."""
    wall, cpu = time.perf_counter(), time.process_time()
    _run(side, frames)
    spent = time.perf_counter() - wall, time.process_time() - cpu
    return 1000 * spent[0] / frames, 1000 * spent[1] / frames


def _speeds(
    labels: dict[str, str],
    times: dict[str, list[_Clock]],
    film: Film,
    every: int,
    rounds: int,
    setting: str,
) -> Table:
    middle = {name: tuple(median(c) for c in zip(*t, strict=True)) for name, t in times.items()}
    base = middle["plain"]
    rows = tuple(
        (labels[name], round(wall), round(cpu), round(1000 / wall, 2), round(base[0] / wall, 2),
         round(base[1] / cpu, 2))
        for name, (wall, cpu) in middle.items()
    )  # fmt: skip
    return Table(
        f"Frames per second, {film.objects} objects",
        ("", "ms per frame", "CPU ms", "frames/s", "times as fast", "by CPU time"),
        rows,
        (
            setting,
            f"detector and depth every {every} frames where not said otherwise; medians of "
            f"{rounds} rounds that take turns; {FILM_HW[1]}x{FILM_HW[0]} frames; random weights",
        ),
    )


def _stages(shares: dict[str, dict[str, float]]) -> Table:
    """Return milliseconds per frame by stage, per side."""
    names = dict.fromkeys(s for share in shares.values() for s in share if s != "total")
    rows = tuple(
        (stage, *(round(share[stage], 1) if stage in share else None for share in shares.values()))
        for stage in names
    )
    note = (
        "transformers: 'segmenter' holds the image encoder, 'prepare' all pre-processing. Ours: "
        "'encoder' is the image encoder, 'segmenter' prompts and memory attention, 'memory' the "
        "memory encoder; pre-processing is part of each network's stage."
    )
    return Table("Where the time goes, ms per frame", ("stage", *shares), rows, (note,))
