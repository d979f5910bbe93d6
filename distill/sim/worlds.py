"""Worlds: a table, 4–7 objects and what happens to them in four seconds, all from a seed.

Everything is known analytically at any time; nothing is simulated step by step. The *cell*
tier is one workspace with modest ranges, the *wild* tier has 24 categories and wide ranges.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from ...twin.errors import InputError
from .camera import Camera, Light
from .catalogue import (
    COLOUR_NAMES,
    COLOURS,
    DISTRACTOR,
    HELD_OUT_PAIRS,
    SUPPORTS,
    Tier,
    categories_of,
)
from .happenings import add_events, box_at, overlap
from .shapes import VARIANTS, shape, shape_set
from .textures import CELL_TABLES, WILD_TABLES
from .things import Event, EventKind, Thing, clash, footprint_at

__all__ = ["SIZE_PX", "World"]

SIZE_PX = (29.0, 92.0)
"""Allowed longest side of an object's box in a 256-pixel picture."""
_KINDS: tuple[EventKind, ...] = ("slide", "lift", "drop", "roll", "occlude", "enter", "leave")
_WEIGHTS = (0.30, 0.13, 0.10, 0.15, 0.12, 0.10, 0.10)
_HIDERS = ("box", "teapot", "lamp", "mug")
_SMALL = ("ball", "phone", "spoon", "banana", "ball", "scissors")
_RATES = {"ball": 0.35, "bottle": 0.5, "box": 0.6, "mug": 0.75, "plate": 0.85, "spoon": 0.8}
_RATES |= {"phone": 1.2, "hammer": 1.4, "lamp": 1.1, "pan": 1.2, "glass": 1.05, "banana": 1.0}
"""What evens out how often a category is drawn, since some are also asked for by events."""

Floats = NDArray[np.float64]


class World:
    """A scripted world.

    Args:
        seed: decides everything. Below 1,000,000 no pair of ``HELD_OUT_PAIRS`` occurs.
        tier: ``"cell"`` or ``"wild"``.
        seconds: length of the script.
        events: how many events to try for; drawn (0–3) when None.
        crowd: how much two boxes may overlap at the start, as a share of the smaller one.

    Raises:
        InputError: for a negative seed or an unknown tier.
    """

    def __init__(
        self,
        seed: int,
        tier: Tier = "cell",
        seconds: float = 4.0,
        *,
        events: int | None = None,
        crowd: float = 0.15,
    ) -> None:
        if seed < 0 or tier not in ("cell", "wild"):
            raise InputError(
                f"expected a seed >= 0 and tier 'cell' or 'wild', got {seed} and {tier!r}"
            )
        self.seed, self.tier, self.seconds = seed, tier, seconds
        self.frozen_at: float | None = None
        self.set_index = shape_set(seed)
        self._crowd = crowd
        for attempt in range(20):
            rng = np.random.default_rng([seed, 0 if tier == "cell" else 1, attempt])
            self._draw(rng, events)
            if len(self.objects) >= 4:
                break

    @classmethod
    def image(cls, seed: int, tier: Tier = "cell") -> World:
        """A still: a more crowded world stopped at a random moment."""
        world = cls(seed, tier, crowd=0.4)
        rng = np.random.default_rng([seed, 99])
        world.frozen_at = float(rng.uniform(0.0, world.seconds))
        return world

    def pose(self, id: int, t: float) -> tuple[Floats, Floats]:
        """Position (3,) of an object's origin (its base centre) and rotation (3, 3)."""
        return self.objects[id - 1].pose(self.when(t))

    def camera(self, t: float) -> tuple[Floats, Floats]:
        """Eye (3,) and frame (3, 3) with columns right, down, forward."""
        return self.view.pose(self.when(t))

    def when(self, t: float) -> float:
        """The script's time: ``t``, or always the same moment for a still."""
        return t if self.frozen_at is None else self.frozen_at

    def _draw(self, rng: np.random.Generator, events: int | None) -> None:
        count = int(rng.choice(4, p=[0.12, 0.33, 0.33, 0.22])) if events is None else events
        kinds: list[EventKind] = [
            _KINDS[int(i)] for i in rng.choice(len(_KINDS), count, p=np.array(_WEIGHTS))
        ]
        wild = self.tier == "wild"
        low = "occlude" in kinds
        self.view = _camera(rng, wild, low)
        self.light = _light(rng, wild, self.view.azimuth)
        tables = WILD_TABLES if wild else CELL_TABLES
        self.table = tables[int(rng.integers(len(tables)))]
        self.objects: list[Thing] = []
        self.events: list[Event] = []
        self.distractors: list[Thing] = []
        for category, parent in self._cast(rng, kinds):
            self._place(rng, category, parent, "roll" in kinds)
        for _ in range(int(rng.integers(0, 4)) if wild else 0):
            self._distract(rng)
        self.objects, self.events = add_events(
            rng, self.objects, kinds, self.view, self.seconds, self.distractors
        )

    def _cast(
        self, rng: np.random.Generator, kinds: list[EventKind]
    ) -> list[tuple[str, str | None]]:
        """Categories to place, each with the category it should rest on."""
        names = list(categories_of(self.tier))
        count = int(rng.choice(4, p=[0.13, 0.25, 0.31, 0.31])) + 4
        rates = np.array([_RATES.get(name, 1.0) for name in names])
        order = [names[int(i)] for i in np.argsort(rng.exponential(size=len(names)) / rates)]
        wanted: list[tuple[str, str | None]] = []
        if rng.random() < 0.28:
            supports = sorted(SUPPORTS)
            support = supports[int(rng.integers(len(supports)))]
            child = SUPPORTS[support][int(rng.integers(len(SUPPORTS[support])))][0]
            wanted += [(support, None), (child, support)]
        if "occlude" in kinds:
            wanted.append((_HIDERS[int(rng.integers(len(_HIDERS)))], None))
            wanted.append((_SMALL[int(rng.integers(len(_SMALL)))], None))
        if "roll" in kinds:
            wanted.append(("ball" if rng.random() < 0.5 else "bottle", None))
        if rng.random() < 0.2:
            wanted += [(order[0], None)] * 2
        seen = {name for name, _ in wanted}
        wanted += [(name, None) for name in order if name not in seen]
        return wanted[:count]

    def _place(
        self, rng: np.random.Generator, category: str, parent: str | None, rolling: bool
    ) -> None:
        taken = [t.color for t in self.objects if t.category == category]
        free = [
            c
            for c in COLOUR_NAMES
            if c not in taken and not (self.seed < 1_000_000 and (c, category) in HELD_OUT_PAIRS)
        ]
        used = [t.variant for t in self.objects if t.category == category]
        variants = [v for v in range(VARIANTS) if v not in used]
        color = free[int(rng.integers(len(free)))]
        variant = variants[int(rng.integers(len(variants)))]
        ranges = COLOURS[color]
        tint = [float(rng.uniform(*r)) for r in (ranges.red, ranges.green, ranges.blue)]
        if color in ("white", "black"):  # one grey value, so that they stay neutral
            tint = [tint[0]] * 3
        kind = shape(category, self.set_index, variant)
        lying = category == "bottle" and rng.random() < (0.9 if rolling else 0.35)
        base = next((t for t in self.objects if t.category == parent), None) if parent else None
        for _ in range(40):
            yaw = float(rng.uniform(-math.pi, math.pi))
            turn, foot, half_z = Thing.lie(kind, yaw, lying)
            thing = Thing(
                id=len(self.objects) + 1,
                category=category,
                color=color,
                rgb=(tint[0], tint[1], tint[2]),
                variant=variant,
                set_index=self.set_index,
                centre=(0.0, 0.0, half_z),
                turn=turn,
                foot=(foot[0], foot[1], foot[2], foot[3], foot[4]),
                half_z=half_z,
                lying=lying,
            )
            placed = self._seat(thing, base) if base else self._spot(rng, thing)
            if placed is not None:
                self.objects.append(placed)
                return

    def _distract(self, rng: np.random.Generator) -> None:
        """Put something down that is of no category."""
        used = {t.variant for t in self.distractors}
        variant = int(rng.integers(VARIANTS))
        if variant in used:
            return
        grey, tint = float(rng.uniform(0.2, 0.8)), rng.uniform(-0.12, 0.12, 3)
        rgb = np.clip(grey + tint, 0.05, 0.95)
        kind = shape(DISTRACTOR.name, self.set_index, variant)
        turn, foot, half_z = Thing.lie(kind, float(rng.uniform(-math.pi, math.pi)), False)
        thing = Thing(
            id=0,
            category=DISTRACTOR.name,
            color="",
            rgb=(float(rgb[0]), float(rgb[1]), float(rgb[2])),
            variant=variant,
            set_index=self.set_index,
            centre=(0.0, 0.0, half_z),
            turn=turn,
            foot=(foot[0], foot[1], foot[2], foot[3], foot[4]),
            half_z=half_z,
        )
        for _ in range(10):
            placed = self._spot(rng, thing)
            if placed is not None:
                self.distractors.append(placed)
                return

    def _standing(self) -> list[Thing]:
        return [*self.objects, *self.distractors]

    def _seat(self, thing: Thing, base: Thing) -> Thing | None:
        """``thing`` resting in or on ``base``, None where it does not fit."""
        seat = base.shape
        off_x, off_y, half_x, half_y, _ = thing.foot
        reach = max(half_x, half_y) if thing.category == "ball" else math.hypot(half_x, half_y)
        level = seat.seat_z
        if reach > seat.seat_r:
            if base.category not in ("plate", "book") or reach > 0.5 * seat.high[0] * 2:
                return None
            level = seat.high[2]
        c, s = math.cos(thing.foot[4]), math.sin(thing.foot[4])
        x, y, z = base.centre
        x, y = x - c * off_x + s * off_y, y - s * off_x - c * off_y
        bottom = z - base.half_z + level + 0.001
        return replace(thing, centre=(x, y, bottom + thing.half_z), parent=base.id)

    def _spot(self, rng: np.random.Generator, thing: Thing) -> Thing | None:
        """``thing`` at a random free place in the picture, None if that try fails."""
        pixel = rng.uniform(26, 230, 2)
        x, y = self.view.on_plane(float(pixel[0]), float(pixel[1]), thing.half_z)
        thing = replace(thing, centre=(x, y, thing.half_z))
        foot = footprint_at(thing, 0.0)
        if any(clash(foot, footprint_at(other, 0.0)) for other in self._standing()):
            return None
        box = box_at(thing, self.view, 0.0)
        longest = max(box[2] - box[0], box[3] - box[1])
        if not SIZE_PX[0] <= longest <= SIZE_PX[1] or min(box) < 2 or max(box) > 254:
            return None
        for other in self._standing():
            if overlap(box, box_at(other, self.view, 0.0)) > self._crowd:
                return None
        return thing


def _camera(rng: np.random.Generator, wild: bool, low: bool) -> Camera:
    top = 45.0 if low else (70.0 if wild else 62.0)
    elevation = math.radians(float(rng.uniform(33.0 if wild else 38.0, top)))
    azimuth = float(rng.uniform(-1, 1)) * (math.pi if wild else 0.5)
    distance = float(rng.uniform(0.65, 0.92) if wild else rng.uniform(0.68, 0.85))
    spread = 0.03
    target = (float(rng.uniform(-spread, spread)), float(rng.uniform(-spread, spread)), 0.03)
    drift = float(rng.uniform(-0.08, 0.08)) if wild and rng.random() < 0.2 else 0.0
    return Camera(elevation, azimuth, distance, target, drift)


def _light(rng: np.random.Generator, wild: bool, azimuth: float) -> Light:
    wide = 0.9 if wild else 0.5
    x, y = (float(v) for v in rng.uniform(-wide, wide, 2))
    key = float(rng.uniform(0.28, 0.7) if wild else rng.uniform(0.38, 0.54))
    ambient = float(rng.uniform(0.1, 0.3) if wild else rng.uniform(0.20, 0.28))
    fill = (-math.sin(azimuth), math.cos(azimuth), -0.7)
    return Light((x, y, -1.0), fill, key, 0.55, ambient)
