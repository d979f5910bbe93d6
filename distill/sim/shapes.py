"""Shapes of the catalogue's categories: builders of parts, scaled and ready for the scene.

A builder returns parts in free units, standing on z = 0; :func:`shape` scales the whole so
that its longest extent lies in the category's ``size_m``. Variants are drawn from fixed
seeds: (set, variant) always gives the same shape. Sets of held-out splits are disjoint.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from .catalogue import CATEGORIES, DISTRACTOR
from .meshes import Mesh, arc, box, cylinder, ellipsoid, extrude, lathe, merge, tube

__all__ = ["BUILDERS", "VARIANTS", "Part", "Role", "Shape", "shape", "shape_set"]

Array = NDArray[np.float64]
Role = Literal["body", "dark", "light", "metal"]
VARIANTS = 8
"""Shape variants per category in a set: bounds what one compiled scene holds."""


@dataclass(frozen=True, slots=True)
class Part:
    """A mesh in one paint: the object's colour (``body``) or a neutral one."""

    role: Role
    mesh: Mesh


@dataclass(frozen=True, slots=True)
class Shape:
    """A category's variant in metres, standing on z = 0 around the z axis.

    ``low`` and ``high`` are the corners of its box; ``hulls`` a few outermost points of each
    part, (k, 3); ``seat_z`` and ``seat_r`` the height and radius of the place where another
    object may rest; ``roll_r`` the radius it rolls on (0: it does not).
    """

    category: str
    parts: tuple[Part, ...]
    low: tuple[float, float, float]
    high: tuple[float, float, float]
    hulls: tuple[Array, ...]
    seat_z: float
    seat_r: float
    roll_r: float


Builder = Callable[[np.random.Generator], tuple[list[Part], float, float]]


def _u(rng: np.random.Generator, low: float, high: float) -> float:
    return float(rng.uniform(low, high))


def _mug(rng: np.random.Generator) -> tuple[list[Part], float, float]:
    r, h = _u(rng, 0.36, 0.42), _u(rng, 0.85, 1.0)
    flare = _u(rng, 0.95, 1.08)
    cup = lathe(
        [(0, 0), (r, 0), (r * flare, h), (r * flare - 0.05, h), (r - 0.05, 0.08), (0, 0.08)], 26
    )
    loop = arc(_u(rng, 0.24, 0.28), -105, 105, 12, _u(rng, 1.0, 1.2))
    path = np.column_stack([loop[:, 0] + r * 0.97, 0 * loop[:, 0], loop[:, 1] + h * 0.52])
    return [Part("body", cup), Part("body", tube(path, 0.06, 8))], 0.08, r - 0.08


def _bowl(rng: np.random.Generator) -> tuple[list[Part], float, float]:
    h, foot = _u(rng, 0.36, 0.44), _u(rng, 0.18, 0.24)
    turn = np.radians(np.linspace(12, 88, 8))
    outer = [(0.5 * math.sin(a) ** 0.8, 0.05 + h * (1 - math.cos(a))) for a in turn]
    inner = [(r - 0.04, z + 0.01) for r, z in reversed(outer)]
    profile = [(0, 0), (foot, 0), (foot, 0.05), *outer, *inner, (0, inner[-1][1])]
    return [Part("body", lathe(profile, 28))], inner[-1][1] + 0.02, 0.30


def _bottle(rng: np.random.Generator) -> tuple[list[Part], float, float]:
    r, shoulder = _u(rng, 0.145, 0.17), _u(rng, 0.52, 0.62)
    neck = _u(rng, 0.05, 0.06)
    body = lathe(
        [
            *[(0, 0), (r * 0.95, 0), (r, 0.03), (r, shoulder), (r * 0.8, shoulder + 0.08)],
            *[(neck, shoulder + 0.17), (neck, 0.9), (0, 0.9)],
        ]
    )
    cap = cylinder(neck * 1.3, 0.1).moved(z=0.9)
    return [Part("body", body), Part("dark", cap)], 0, 0


def _pan(rng: np.random.Generator) -> tuple[list[Part], float, float]:
    r, h = _u(rng, 0.27, 0.30), _u(rng, 0.09, 0.12)
    dish = lathe([(0, 0), (r * 0.85, 0), (r, h), (r - 0.025, h), (r * 0.83, 0.025), (0, 0.025)], 30)
    reach = 1.0 - 2 * r
    bar = box(reach * 0.75, 0.075, 0.045).moved(x=r + reach * 0.36, z=h * 0.65)
    grip = box(reach * 0.4, 0.1, 0.06).moved(x=1 - r - reach * 0.2, z=h * 0.6)
    return [Part("body", dish), Part("body", bar), Part("dark", grip)], 0.03, r * 0.78


def _plate(rng: np.random.Generator) -> tuple[list[Part], float, float]:
    well = _u(rng, 0.27, 0.33)
    disc = lathe([(0, 0), (well, 0), (0.5, 0.07), (0.5, 0.09), (well, 0.035), (0, 0.035)], 34)
    ring = tube(arc(well + 0.005, 0, 349, 32) + np.array([0, 0, 0.035]), 0.012, 6, closed=True)
    return [Part("body", disc), Part("metal", ring)], 0.04, well


def _book(rng: np.random.Generator) -> tuple[list[Part], float, float]:
    wide, thick = _u(rng, 0.66, 0.78), _u(rng, 0.13, 0.21)
    cover = 0.022
    pages = box(wide - 0.05, 0.93, thick - 2 * cover).moved(z=cover)
    covers = merge(box(wide, 1, cover), box(wide, 1, cover).moved(z=thick - cover))
    spine = box(0.04, 1, thick).moved(x=-wide / 2)
    label = box(wide * 0.5, 0.1, 0.006).moved(y=0.22, z=thick)
    return (
        [Part("body", merge(covers, spine)), Part("light", pages), Part("light", label)],
        thick,
        wide * 0.5,
    )


def _hammer(rng: np.random.Generator) -> tuple[list[Part], float, float]:
    r, head_r, span = 0.04, _u(rng, 0.075, 0.09), _u(rng, 0.42, 0.5)
    handle = tube(np.array([[-0.5, 0, head_r], [0, 0, head_r], [0.42, 0, head_r]]), r)
    grip = tube(np.array([[-0.5, 0, head_r], [-0.3, 0, head_r], [-0.18, 0, head_r]]), r * 1.35)
    face = cylinder(head_r, span * 0.55).turned("x", -90).moved(x=0.42, y=-0.02, z=head_r)
    peen = extrude([(0, 0), (0.12, 0.03), (0.12, 0.09), (0, 0.12)], 0, 0.12)
    peen = box(0.13, span * 0.5, 0.12) if rng.random() < 0.5 else peen.scaled(1, span * 3.4, 1)
    low = float(peen.vertices_n3[:, 1].min())
    middle = float(peen.vertices_n3[:, 0].mean())
    claw = peen.moved(x=0.42 - middle, y=-span * 0.5 - low, z=head_r - 0.06)
    return [Part("body", merge(handle, face, claw)), Part("dark", grip)], 0, 0


def _lamp(rng: np.random.Generator) -> tuple[list[Part], float, float]:
    base, low, top = _u(rng, 0.2, 0.25), _u(rng, 0.27, 0.32), _u(rng, 0.12, 0.17)
    foot = lathe([(0, 0), (base, 0), (base, 0.04), (0.06, 0.09), (0, 0.09)])
    stem = cylinder(0.028, 0.55, 10).moved(z=0.08)
    start = _u(rng, 0.54, 0.6)
    shade = lathe([(0, start + 0.05), (low - 0.02, start), (low, start), (top, 1), (0, 1)], 26)
    return [Part("body", foot), Part("metal", stem), Part("body", shade)], 0, 0


def _banana(rng: np.random.Generator) -> tuple[list[Part], float, float]:
    bend, thick = _u(rng, 110, 140), _u(rng, 0.085, 0.1)
    path = arc(0.5, 90 - bend / 2, 90 + bend / 2, 15) + np.array([0, -0.35, thick])
    radii = thick * np.sin(np.linspace(0.32, math.pi - 0.32, 15)) ** 0.6
    peel = tube(path, list(radii), 8)
    ends = merge(
        tube(np.stack([path[0], path[0] + (path[0] - path[1]) * 0.9]), 0.035, 6),
        tube(np.stack([path[-1], path[-1] + (path[-1] - path[-2]) * 0.5]), 0.03, 6),
    )
    return [Part("body", peel), Part("dark", ends)], 0, 0


def _rounded(x: float, y: float, r: float) -> list[tuple[float, float]]:
    """A rectangle with round corners, counter-clockwise."""
    corners = [(1, 1, 0), (-1, 1, 90), (-1, -1, 180), (1, -1, 270)]
    points = []
    for sx, sy, start in corners:
        for a in np.radians(np.linspace(start, start + 90, 5)):
            points.append(
                (
                    sx * (x / 2 - r) + r * float(np.cos(a)),
                    sy * (y / 2 - r) + r * float(np.sin(a)),
                )
            )
    return points


def _phone(rng: np.random.Generator) -> tuple[list[Part], float, float]:
    wide, thick = _u(rng, 0.46, 0.52), 0.08
    slab = extrude(_rounded(wide, 0.9, 0.09), 0, thick)
    screen = box(wide * 0.72, 0.3, 0.012).moved(y=0.22, z=thick)
    keys = [
        box(wide * 0.17, 0.06, 0.02).moved(x=wide * 0.26 * i, y=-0.04 - 0.105 * j, z=thick)
        for i in (-1, 0, 1)
        for j in range(4)
    ]
    post = tube(np.array([[wide * 0.36, 0.4, 0.045], [wide * 0.36, 0.58, 0.045]]), 0.04, 8)
    dark: Role = "dark"
    return [Part("body", merge(slab, post)), Part(dark, screen), Part("light", merge(*keys))], 0, 0


def _ball(rng: np.random.Generator) -> tuple[list[Part], float, float]:
    sphere = ellipsoid(0.5, 0.5, 0.5, 24)
    angles = np.linspace(-0.11, 0.11, 3)
    rim = [(0.506 * math.cos(a), 0.506 * math.sin(a)) for a in angles]
    band = lathe([(0.49, rim[0][1]), *rim, (0.49, rim[-1][1])], 28).turned("x", _u(rng, 20, 70))
    return [Part("body", sphere.moved(z=0.5)), Part("light", band.moved(z=0.5))], 0, 0


def _box(rng: np.random.Generator) -> tuple[list[Part], float, float]:
    y, z = _u(rng, 0.75, 1.0), _u(rng, 0.62, 0.85)
    tape = merge(
        box(0.15, y + 0.008, 0.006).moved(z=z),
        box(0.15, 0.006, z * 0.35).moved(y=-y / 2 - 0.003, z=z * 0.65),
        box(0.15, 0.006, z * 0.35).moved(y=y / 2 + 0.003, z=z * 0.65),
    )
    return [Part("body", box(1, y, z)), Part("light", tape)], z, min(1, y) * 0.5


def _spoon(rng: np.random.Generator) -> tuple[list[Part], float, float]:
    length, wide = _u(rng, 0.15, 0.18), _u(rng, 0.105, 0.125)
    turn = np.linspace(0, math.pi / 2, 7)
    outer = [(math.sin(a), 1 - math.cos(a)) for a in turn]
    inner = [(r * 0.85, z + 0.12) for r, z in reversed(outer)]
    scoop = lathe([*outer, *inner], 22).scaled(length, wide, 0.09).moved(x=0.5 - length)
    heights = [0.07, 0.10, 0.09, 0.05, 0.04]
    xs = [0.5 - 1.9 * length, 0.0, -0.15, -0.35, -0.5]
    handle = tube(np.column_stack([xs, np.zeros(5), heights]), [0.028, 0.026, 0.028, 0.038, 0.042])
    return [Part("body", scoop), Part("body", handle)], 0, 0


def _scissors(rng: np.random.Generator) -> tuple[list[Part], float, float]:
    spread, ring = _u(rng, 17, 25), _u(rng, 0.125, 0.14)
    parts = []
    for sign, z in ((1, 0.0), (-1, 0.035)):
        blade = extrude(
            [(0.0, -0.04), (0.35, -0.04), (0.58, 0.0), (0.35, 0.035), (0.0, 0.04)], 0, 0.035
        )
        shank = extrude([(-0.26, -0.03), (0.05, -0.04), (0.05, 0.04), (-0.26, 0.03)], 0, 0.035)
        loop = tube(arc(ring, 0, 337, 16, 0.85), 0.04, 7, closed=True).moved(-0.36, 0, 0.04)
        half = merge(blade, shank, loop.moved(y=0.035 * sign)).turned("z", sign * spread)
        parts.append(Part("body", half.moved(z=z)))
    screw = cylinder(0.035, 0.03, 10).moved(z=0.07)
    return [*parts, Part("metal", screw)], 0, 0


def _teapot(rng: np.random.Generator) -> tuple[list[Part], float, float]:
    fat, tall = _u(rng, 0.28, 0.32), _u(rng, 0.44, 0.52)
    angles = np.linspace(-1.1, 1.15, 9)
    belly = [(fat * math.cos(a) ** 0.8, tall * (0.5 + 0.55 * math.sin(a))) for a in angles]
    body = lathe([(0, 0), (0.16, 0), *belly, (0, belly[-1][1] + 0.06)], 26)
    knob = ellipsoid(0.055, 0.055, 0.05, 12).moved(z=belly[-1][1] + 0.09)
    points = [[fat * 0.8, 0, tall * 0.3], [fat * 1.25, 0, tall * 0.45]]
    points += [[fat * 1.5, 0, tall * 0.8], [fat * 1.85, 0, tall * 0.98]]
    spout = tube(np.array(points), [0.085, 0.07, 0.05, 0.04], 9)
    loop = arc(0.19, 80, 280, 12, 1.0)
    path = np.column_stack([loop[:, 0] - fat * 0.92, 0 * loop[:, 0], loop[:, 1] + tall * 0.52])
    handle = tube(path, 0.042, 8)
    return [Part("body", body), Part("body", spout), Part("body", handle), Part("dark", knob)], 0, 0


def _glass(rng: np.random.Generator) -> tuple[list[Part], float, float]:
    foot, stem, wide = _u(rng, 0.22, 0.26), _u(rng, 0.36, 0.44), _u(rng, 0.25, 0.29)
    base = lathe([(0, 0), (foot, 0), (foot, 0.025), (0.035, 0.06), (0.03, stem), (0, stem)])
    cup = [(0.05, stem - 0.01), (wide * 0.75, stem + 0.1), (wide, stem + 0.28), (wide * 0.85, 1.0)]
    hollow = [(r - 0.03, z + 0.02) for r, z in reversed(cup[1:])]
    bowl = lathe([(0, stem - 0.01), *cup, *hollow, (0, stem + 0.06)], 24)
    return [Part("body", base), Part("body", bowl)], 0, 0


BUILDERS: dict[str, Builder] = {
    "mug": _mug,
    "bowl": _bowl,
    "bottle": _bottle,
    "pan": _pan,
    "plate": _plate,
    "book": _book,
    "hammer": _hammer,
    "lamp": _lamp,
    "banana": _banana,
    "phone": _phone,
    "ball": _ball,
    "box": _box,
    "spoon": _spoon,
    "scissors": _scissors,
    "teapot": _teapot,
    "glass": _glass,
}


def shape_set(seed: int) -> int:
    """Which set of shapes the world of ``seed`` draws from; splits never share one."""
    return (seed // 1_000_000) * 100 + (seed // 500) % 8


def _outermost(vertices_n3: Array) -> Array:
    """The vertices that are extreme in some of 62 directions, (k, 3)."""
    i = np.arange(62) + 0.5
    z = 1 - 2 * i / 62
    turn = i * math.pi * (1 + math.sqrt(5))
    flat = np.sqrt(1 - z * z)
    directions = np.stack([flat * np.cos(turn), flat * np.sin(turn), z], 1)
    axes = np.concatenate([directions, np.eye(3), -np.eye(3)])
    points: Array = vertices_n3[np.unique(np.argmax(vertices_n3 @ axes.T, axis=0))]
    return points


@lru_cache(maxsize=1024)
def shape(category: str, set_index: int, variant: int) -> Shape:
    """The shape of a category's variant, in metres; the same arguments give the same shape."""
    from .shapes_wild import WILD_BUILDERS

    kind = CATEGORIES.get(category, DISTRACTOR)
    names = [*sorted(CATEGORIES), DISTRACTOR.name]
    rng = np.random.default_rng([set_index, variant, names.index(category)])
    parts, seat_z, seat_r = {**BUILDERS, **WILD_BUILDERS}[category](rng)
    every = np.concatenate([p.mesh.vertices_n3 for p in parts])
    low, high = every.min(axis=0), every.max(axis=0)
    factor = float(rng.uniform(*kind.size_m)) / float((high - low).max())
    middle = 0.0 if seat_r else 1.0  # what carries others stays centred on its seat
    shift = -np.array([(low[0] + high[0]) / 2 * middle, (low[1] + high[1]) / 2 * middle, low[2]])
    placed = tuple(Part(p.role, p.mesh.moved(*shift).scaled(factor)) for p in parts)
    low, high = (low + shift) * factor, (high + shift) * factor
    width = min(high[0] - low[0], high[1] - low[1])
    return Shape(
        category=category,
        parts=placed,
        low=(float(low[0]), float(low[1]), float(low[2])),
        high=(float(high[0]), float(high[1]), float(high[2])),
        hulls=tuple(_outermost(p.mesh.vertices_n3) for p in placed if p.role != "light"),
        seat_z=seat_z * factor,
        seat_r=seat_r * factor,
        roll_r=float(width / 2) if kind.rolls else 0.0,
    )
