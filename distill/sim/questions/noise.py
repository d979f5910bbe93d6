"""Windows as an imperfect perception would report them.

Used twice: lightly, to reject questions whose answer hangs on a pixel, and fully (missed,
doubled, mislabelled objects), to train the reasoner on twins like those it will meet. The
answer of a question on a noisy window is what its plan gives *on that window*: the reasoner
answers for what the twin holds.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace

from ....twin.schema import FrameTwin, ObjectTwin
from ....twin.window import TwinWindow
from ..catalogue import COLOUR_NAMES

__all__ = ["PERCEPTION", "Noise", "noisy_window"]


@dataclass(frozen=True, slots=True)
class Noise:
    """How far off a twin is: standard deviations and probabilities per object.

    ``box_px`` shifts an object for the whole window, ``frame_px`` every frame anew; ``depth_m``
    shifts its depth, ``area`` scales it (relative). ``flicker`` drops single frames, ``late`` the
    first ones (up to a quarter), ``lost`` breaks a track in two, so that its second half comes
    under a new id; ``gaps`` is the chance that ids do not run without holes.
    """

    box_px: float = 1.5
    frame_px: float = 0.7
    depth_m: float = 0.02
    area: float = 0.08
    missed: float = 0.03
    doubled: float = 0.02
    mislabelled: float = 0.03
    flicker: float = 0.01
    late: float = 0.0
    lost: float = 0.0
    gaps: float = 0.0


PERCEPTION = Noise(
    box_px=1.6,
    frame_px=0.5,
    depth_m=0.05,
    area=0.09,
    missed=0.045,
    doubled=0.04,
    mislabelled=0.05,
    flicker=0.01,
    late=0.03,
    lost=0.015,
    gaps=0.15,
)
"""What the embedded perception gets wrong on validation worlds, with a margin (see the card)."""


def noisy_window(
    window: TwinWindow, rng: random.Random, noise: Noise = PERCEPTION, nouns: Sequence[str] = ()
) -> TwinWindow:
    """A noisy copy. ``nouns`` are the labels that a wrong label is drawn from.

    Ids are kept unless ``noise.gaps`` spreads them; a doubled object and the second half of a
    broken track get the next free ones.
    """
    changes = [
        change for i in window.ids() if (change := _Change.draw(i, rng, noise, nouns)) is not None
    ]
    doubles = [c for c in changes if rng.random() < noise.doubled]
    free = max(window.ids(), default=0) + 1
    changes += [_Change.double(c, free + index, rng, nouns) for index, c in enumerate(doubles)]
    changes = _interrupted(changes, len(window.frames), rng, noise)
    if noise.gaps and rng.random() < noise.gaps:
        changes = _spread(changes, rng)
    frames = [
        _frame(frame, [c for c in changes if c.begin <= place < c.end], rng, noise)
        for place, frame in enumerate(window.frames)
    ]
    return TwinWindow(frames, max_frames=window.max_frames)


@dataclass(frozen=True, slots=True)
class _Change:
    source: int
    id: int
    dx: float
    dy: float
    depth_m: float
    scale: float
    label: str | None
    colour: str | None
    begin: int = 0
    end: int = 1_000_000_000

    @staticmethod
    def draw(source: int, rng: random.Random, noise: Noise, nouns: Sequence[str]) -> _Change | None:
        if rng.random() < noise.missed:
            return None
        wrong = rng.random() < noise.mislabelled
        recolour = wrong and rng.random() < 0.4
        return _Change(
            source=source,
            id=source,
            dx=rng.gauss(0, noise.box_px),
            dy=rng.gauss(0, noise.box_px),
            depth_m=rng.gauss(0, noise.depth_m),
            scale=math.exp(rng.gauss(0, noise.area)),
            label=rng.choice(nouns) if wrong and nouns and not recolour else None,
            colour=rng.choice(COLOUR_NAMES) if recolour else None,
        )

    @staticmethod
    def double(first: _Change, id: int, rng: random.Random, nouns: Sequence[str]) -> _Change:
        label = rng.choice(nouns) if nouns and rng.random() < 0.5 else first.label
        return _Change(
            first.source,
            id,
            first.dx + rng.gauss(0, 2),
            first.dy + rng.gauss(0, 2),
            first.depth_m,
            first.scale * math.exp(rng.gauss(-0.1, 0.1)),
            label,
            first.colour,
        )


def _interrupted(
    changes: Sequence[_Change], frames: int, rng: random.Random, noise: Noise
) -> list[_Change]:
    """Objects found late, and tracks that break and go on under a new id."""
    free = max((c.id for c in changes), default=0) + 1
    found: list[_Change] = []
    for change in changes:
        if noise.late and frames > 4 and rng.random() < noise.late:
            change = replace(change, begin=rng.randint(1, frames // 4))
        if noise.lost and frames > 4 and rng.random() < noise.lost:
            at = rng.randint(frames // 4, 3 * frames // 4)
            found.append(replace(change, id=free, begin=at))
            change, free = replace(change, end=at), free + 1
        found.append(change)
    return found


def _spread(changes: Sequence[_Change], rng: random.Random) -> list[_Change]:
    """The same objects with holes between their ids, as after tracks that came to nothing."""
    ids: dict[int, int] = {}
    at = 0
    for id in sorted(c.id for c in changes):
        at += 1 if rng.random() < 0.7 else rng.randint(2, 5)
        ids[id] = at
    return [replace(change, id=ids[change.id]) for change in changes]


def _frame(
    frame: FrameTwin, changes: Sequence[_Change], rng: random.Random, noise: Noise
) -> FrameTwin:
    objects: dict[int, ObjectTwin] = {}
    for change in changes:
        obj = frame.objects.get(change.source)
        if obj is None or (noise.flicker and rng.random() < noise.flicker):
            continue
        objects[change.id] = _changed(
            obj,
            change,
            change.dx + rng.gauss(0, noise.frame_px),
            change.dy + rng.gauss(0, noise.frame_px),
        )
    return frame.model_copy(update={"objects": objects})


def _changed(obj: ObjectTwin, change: _Change, dx: float, dy: float) -> ObjectTwin:
    x0, y0, x1, y1 = obj.box_xyxy
    cx, cy = obj.centroid
    update: dict[str, object] = {
        "id": change.id,
        "mask": None,
        "box_xyxy": (x0 + dx, y0 + dy, x1 + dx, y1 + dy),
        "centroid": (cx + dx, cy + dy),
        "area": max(1, round(obj.area * change.scale)),
    }
    if change.label is not None:
        update["semantic_label"] = change.label
    if change.colour is not None:
        update["attributes"] = {**obj.attributes, "color": change.colour}
    if obj.depth_stats is not None:
        stats, d = obj.depth_stats, change.depth_m
        update["depth_stats"] = stats.model_copy(
            update={n: getattr(stats, n) + d for n in ("min", "max", "p5", "p50", "p95")}
        )
    if obj.mean_depth is not None:
        update["mean_depth"] = obj.mean_depth + change.depth_m
    if obj.centroid_m is not None:
        x, y, z = obj.centroid_m
        ratio = (z + change.depth_m) / z if z else 1.0
        # about 1 px per 3 mm at the cell's working distance
        update["centroid_m"] = (x * ratio + dx * 0.003, y * ratio + dy * 0.003, z * ratio)
    return obj.model_copy(update=update)
