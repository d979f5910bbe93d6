"""Endless table scenes, cheap and exact: rendered cut-outs carried over a rendered empty table.

Each cut-out is one object of a training world, rendered alone with its true mask and the
shadow it throws. A :class:`Parade` carries them about: they come in over an edge, cross and
cover each other, rest, and leave. What lies lower in the picture covers what lies higher. The
same seed gives the same frames, and every frame comes with the true ids and boxes.

Not covered: things that turn or change size, moving cameras, light that changes.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ...twin.errors import InputError
from ...twin.frame import Frame
from ..sim.scene import scene_for
from ..sim.truth import SIZE
from ..sim.worlds import World

__all__ = ["Parade", "Sighting", "Sprite", "Sprites", "load_sprites"]

_LAYOUT = 1  # raised when what is kept on disk changes
_SHADOW_PX = 20  # how far around an object its shadow is kept
_MIN_SEEN = 0.5  # of an object's pixels in view, for it to count as there to be seen
_MIN_PX = 64


@dataclass(frozen=True)
class Sprite:
    """One object cut out: ``rgb_hw3`` and ``mask_hw``, ``shade_hw`` (uint8, 255 = no shadow)."""

    label: str
    color: str
    rgb_hw3: NDArray[np.uint8]
    mask_hw: NDArray[np.bool_]
    shade_hw: NDArray[np.uint8]

    @property
    def size(self) -> int:
        """Longer side of the object in pixels."""
        rows, columns = self.mask_hw.any(axis=1), self.mask_hw.any(axis=0)
        return int(max(rows.sum(), columns.sum()))


@dataclass(frozen=True)
class Sprites:
    """Cut-outs and the empty table they are carried over."""

    table_hw3: NDArray[np.uint8]
    all: tuple[Sprite, ...]


@dataclass(frozen=True, eq=False)
class Sighting:
    """One object that can be seen in a frame: true id, words, box and mask of what is in view.

    ``mask_hw`` has the size of the frame.
    """

    id: int
    label: str
    color: str
    box_xyxy: tuple[float, float, float, float]
    mask_hw: NDArray[np.bool_]


def load_sprites(cache: Path | None = None, count: int = 100) -> Sprites:
    """Render cut-outs of training worlds, or read them from ``cache``.

    Raises:
        InputError: if fewer than one is asked for.
        MissingExtraError: without MuJoCo.
    """
    if count < 1:
        raise InputError(f"expected at least one cut-out, got {count}")
    if cache is None:
        return _rendered(count)
    words, pixels = cache / f"sprites-v{_LAYOUT}-{count}.json", f"sprites-v{_LAYOUT}-{count}.npy"
    if not words.is_file():
        made = _rendered(count)
        cache.mkdir(parents=True, exist_ok=True)
        sizes = [s.mask_hw.shape for s in made.all]
        flat = [made.table_hw3.ravel()]
        for s in made.all:
            flat += [s.rgb_hw3.ravel(), s.mask_hw.ravel().astype(np.uint8), s.shade_hw.ravel()]
        partial = cache / f".{os.getpid()}.npy"
        np.save(partial, np.concatenate(flat))
        partial.replace(cache / pixels)
        rows = [(s.label, s.color, *size) for s, size in zip(made.all, sizes, strict=True)]
        words.write_text(json.dumps(rows), encoding="utf-8")
        return made
    data = np.load(cache / pixels)
    table, at = data[: SIZE * SIZE * 3].reshape(SIZE, SIZE, 3), SIZE * SIZE * 3
    sprites = []
    for label, color, height, width in json.loads(words.read_text(encoding="utf-8")):
        n = height * width
        rgb = data[at : at + 3 * n].reshape(height, width, 3)
        mask = data[at + 3 * n : at + 4 * n].reshape(height, width) > 0
        shade = data[at + 4 * n : at + 5 * n].reshape(height, width)
        sprites.append(Sprite(label, color, rgb, mask, shade))
        at += 5 * n
    return Sprites(table, tuple(sprites))


def _rendered(count: int) -> Sprites:
    sprites: list[Sprite] = []
    table: NDArray[np.uint8] | None = None
    seed = 0
    while len(sprites) < count:  # seeds under 500 share one compiled scene
        world = World(seed, "cell", events=0)
        scene = scene_for(world.tier, world.set_index, SIZE, SIZE)
        empty = scene.render(world, 0.0, only=-1).rgb_hw3
        table = empty if table is None else table
        for thing in world.objects:
            shot = scene.render(world, 0.0, only=thing.id)
            mask = shot.ids_hw == thing.id
            if thing.parent is None and mask.sum() >= _MIN_PX:
                sprites.append(_cut(thing.category, thing.color, shot.rgb_hw3, mask, empty))
        seed += 1
    assert table is not None
    return Sprites(table, tuple(sprites[:count]))


def _cut(
    label: str,
    color: str,
    image_hw3: NDArray[np.uint8],
    mask_hw: NDArray[np.bool_],
    empty_hw3: NDArray[np.uint8],
) -> Sprite:
    rows, columns = np.flatnonzero(mask_hw.any(axis=1)), np.flatnonzero(mask_hw.any(axis=0))
    y0, y1 = max(0, rows[0] - _SHADOW_PX), min(SIZE, rows[-1] + 1 + _SHADOW_PX)
    x0, x1 = max(0, columns[0] - _SHADOW_PX), min(SIZE, columns[-1] + 1 + _SHADOW_PX)
    window = np.s_[y0:y1, x0:x1]
    lit = empty_hw3[window].astype(np.float32).mean(axis=2)
    share = image_hw3[window].astype(np.float32).mean(axis=2) / np.maximum(lit, 1.0)
    shade = np.where(share < 0.97, np.clip(share, 0.0, 1.0) * 255, 255).astype(np.uint8)
    return Sprite(label, color, image_hw3[window].copy(), mask_hw[window].copy(), shade)


@dataclass
class _Actor:
    """A cut-out on its way: straight lines between points, at times of its own."""

    id: int
    sprite: Sprite
    times_s: NDArray[np.float64]
    xs: NDArray[np.float64]
    ys: NDArray[np.float64]

    def corner(self, t: float) -> tuple[int, int]:
        """Top left corner of the cut-out, pixels."""
        x, y = np.interp(t, self.times_s, self.xs), np.interp(t, self.times_s, self.ys)
        height, width = self.sprite.mask_hw.shape
        return round(x - width / 2), round(y - height / 2)


class Parade:
    """Frames of ``objects`` things on a table at a time, without end.

    Args:
        sprites: what is carried about.
        objects: how many are on the table or on their way, on average one fewer in view.
        seed: decides everything.
        fps: frames per second of the clock.
        staying: things stay in the picture and only stir, instead of coming and going.
        frames: how many frames iterating gives.

    Attributes:
        entered: how many things came in so far.

    Raises:
        InputError: if there is nothing to show.
    """

    def __init__(
        self,
        sprites: Sprites,
        objects: int = 4,
        seed: int = 0,
        *,
        fps: float = 10.0,
        staying: bool = False,
        frames: int = 1000,
    ) -> None:
        if objects < 1 or frames < 1 or fps <= 0 or not sprites.all:
            raise InputError(
                f"expected objects, frames and fps above 0 and cut-outs, got {objects}, {frames}, "
                f"{fps} and {len(sprites.all)}"
            )
        self.entered = 0
        self._sprites, self._objects, self._fps = sprites, objects, fps
        self._staying, self._frames = staying, frames
        self._rng = np.random.default_rng(seed)
        self._small = sorted(sprites.all, key=lambda s: s.size)[: max(1, len(sprites.all) // 2)]

    def __iter__(self) -> Iterator[tuple[Frame, list[Sighting]]]:
        actors: list[_Actor] = []
        for place in range(self._objects):
            actors.append(self._at_rest(place) if self._staying else self._crossing(place * 0.8))
        for index in range(self._frames):
            t = index / self._fps
            actors = [a if t <= a.times_s[-1] else self._crossing(t) for a in actors]
            image, seen = self._compose(actors, t)
            yield Frame(index, t, image, "parade"), seen

    # ---- who comes, and where they go

    def _draw(self, pool: tuple[Sprite, ...] | list[Sprite]) -> Sprite:
        return pool[int(self._rng.integers(len(pool)))]

    def _crossing(self, start_s: float) -> _Actor:
        """In over an edge, a rest or two, out over an edge."""
        rng, sprite = self._rng, self._draw(self._sprites.all)
        self.entered += 1
        stops = [rng.uniform(60, SIZE - 60, 2) for _ in range(int(rng.integers(1, 3)))]
        points = [self._outside(sprite), *(p for stop in stops for p in (stop, stop))]
        points.append(self._outside(sprite))
        times = [start_s + float(rng.uniform(0.1, 1.5))]
        for before, after in pairwise(points):
            way = float(np.hypot(*(after - before)))
            rest = way < 1e-9
            times.append(
                times[-1] + float(rng.uniform(1, 4) if rest else way / rng.uniform(40, 90))
            )
        at = np.array(points)
        return _Actor(self.entered, sprite, np.array(times), at[:, 0], at[:, 1])

    def _outside(self, sprite: Sprite) -> NDArray[np.float64]:
        """A point just beyond one of the four edges."""
        height, width = sprite.mask_hw.shape
        along = float(self._rng.uniform(40, SIZE - 40))
        edge = int(self._rng.integers(4))
        if edge < 2:
            return np.array([-width / 2 if edge else SIZE + width / 2, along])
        return np.array([along, -height / 2 if edge == 2 else SIZE + height / 2])

    def _at_rest(self, place: int) -> _Actor:
        """One of a grid of small things that go to and fro by a few pixels."""
        rng, side = self._rng, int(np.ceil(np.sqrt(self._objects)))
        self.entered += 1
        cell = SIZE / side
        x, y = (place % side + 0.5) * cell, (place // side + 0.5) * cell
        times = np.arange(0.0, self._frames / self._fps + 2.0)
        xs = np.clip(x + rng.uniform(-5, 5, len(times)), 24, SIZE - 24)
        ys = np.clip(y + rng.uniform(-5, 5, len(times)), 24, SIZE - 24)
        return _Actor(self.entered, self._draw(self._small), times, xs, ys)

    # ---- one picture

    def _compose(self, actors: list[_Actor], t: float) -> tuple[NDArray[np.uint8], list[Sighting]]:
        canvas = self._sprites.table_hw3.copy()
        owner = np.zeros((SIZE, SIZE), np.uint16)
        here = [a for a in actors if t >= a.times_s[0]]
        here.sort(key=lambda a: a.corner(t)[1] + a.sprite.mask_hw.shape[0])
        for number, actor in enumerate(here, 1):
            _paste(canvas, owner, actor.sprite, actor.corner(t), number)
        seen = [_sighting(owner, actor, number) for number, actor in enumerate(here, 1)]
        return canvas, [s for s in seen if s is not None]


def _paste(
    canvas: NDArray[np.uint8],
    owner: NDArray[np.uint16],
    sprite: Sprite,
    corner: tuple[int, int],
    number: int,
) -> None:
    """Put a cut-out and its shadow in front of what is there, in place."""
    height, width = sprite.mask_hw.shape
    x, y = corner
    x0, y0, x1, y1 = max(x, 0), max(y, 0), min(x + width, SIZE), min(y + height, SIZE)
    if x1 <= x0 or y1 <= y0:
        return
    there, own = np.s_[y0:y1, x0:x1], np.s_[y0 - y : y1 - y, x0 - x : x1 - x]
    mask = sprite.mask_hw[own]
    behind = canvas[there].astype(np.uint16) * sprite.shade_hw[own][..., None] // 255
    canvas[there] = np.where(mask[..., None], sprite.rgb_hw3[own], behind)
    owner[there][mask] = number


def _sighting(owner: NDArray[np.uint16], actor: _Actor, number: int) -> Sighting | None:
    """What is in view of an object, None while too little is."""
    mask = owner == number
    area = int(np.count_nonzero(mask))
    if area < max(_MIN_PX, _MIN_SEEN * np.count_nonzero(actor.sprite.mask_hw)):
        return None
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    box = float(columns[0]), float(rows[0]), float(columns[-1] + 1), float(rows[-1] + 1)
    return Sighting(actor.id, actor.sprite.label, actor.sprite.color, box, mask)
