"""Shapes of the categories that only the wild tier has."""

from __future__ import annotations

import numpy as np

from .meshes import arc, box, cylinder, ellipsoid, extrude, lathe, merge, tube
from .shapes import Builder, Part

__all__ = ["WILD_BUILDERS"]

_Built = tuple[list[Part], float, float]


def _car(rng: np.random.Generator) -> _Built:
    wide, tall = float(rng.uniform(0.42, 0.5)), float(rng.uniform(0.17, 0.22))
    lower = box(1, wide, tall).moved(z=0.1)
    cabin = box(0.5, wide * 0.86, 0.18).moved(x=-0.05, z=0.1 + tall)
    glass = box(0.52, wide * 0.74, 0.1).moved(x=-0.05, z=0.14 + tall)
    wheels = [
        cylinder(0.13, 0.09, 14).turned("x", 90).moved(x, y, 0.13)
        for x in (-0.29, 0.29)
        for y in (-wide / 2 + 0.04, wide / 2 + 0.05)
    ]
    return [Part("body", merge(lower, cabin)), Part("dark", merge(glass, *wheels))], 0, 0


def _vase(rng: np.random.Generator) -> _Built:
    fat, neck, lip = (float(rng.uniform(*r)) for r in ((0.27, 0.33), (0.09, 0.13), (0.18, 0.24)))
    outside = [(0.15, 0), (fat * 0.9, 0.22), (fat, 0.38), (fat * 0.75, 0.58), (neck, 0.76)]
    outside += [(neck, 0.84), (lip, 1.0)]
    return [Part("body", lathe([(0, 0), *outside, (lip - 0.03, 0.99), (0, 0.8)], 26))], 0, 0


def _knife(rng: np.random.Generator) -> _Built:
    wide = float(rng.uniform(0.11, 0.14))
    blade = extrude(
        [(0, -wide / 2), (0.45, -wide / 2), (0.62, wide / 2), (0, wide / 2)], 0.02, 0.04
    )
    handle = extrude([(-0.38, -0.06), (0, -0.05), (0, 0.05), (-0.38, 0.04)], 0, 0.065)
    rivets = merge(*[cylinder(0.015, 0.075, 8).moved(x=x) for x in (-0.28, -0.12)])
    return [Part("body", handle), Part("body", blade), Part("metal", rivets)], 0, 0


def _wrench(rng: np.random.Generator) -> _Built:
    jaw = float(rng.uniform(0.115, 0.14))
    bar = box(0.72, 0.085, 0.06)
    left = tube(arc(jaw, 45, 315, 16), 0.045, 8).turned("z", 180).moved(x=-0.42, z=0.045)
    right = tube(arc(jaw * 0.8, 0, 337, 16), 0.04, 8, closed=True).moved(x=0.42, z=0.04)
    return [Part("body", merge(bar, right)), Part("body", left)], 0, 0


def _flashlight(rng: np.random.Generator) -> _Built:
    r, head = float(rng.uniform(0.1, 0.12)), float(rng.uniform(0.18, 0.2))
    body = lathe([(0, 0), (r, 0), (r, 0.66), (head, 0.8), (head, 0.98), (0, 0.98)])
    lens = cylinder(head * 0.85, 0.02).moved(z=0.98)
    button = box(0.06, 0.12, 0.05).moved(z=r * 0.9).turned("x", 90).moved(z=0.5)
    lying = [p.turned("y", 90).moved(x=-0.5, z=head) for p in (body, lens, button)]
    return [Part("body", lying[0]), Part("light", lying[1]), Part("dark", lying[2])], 0, 0


def _brush(rng: np.random.Generator) -> _Built:
    wide = float(rng.uniform(0.16, 0.2))
    back = box(0.48, wide, 0.05).moved(x=0.26, z=0.13)
    bristles = box(0.44, wide * 0.85, 0.13).moved(x=0.26)
    path = np.array([[0.05, 0, 0.155], [-0.2, 0, 0.15], [-0.5, 0, 0.06]])
    return (
        [Part("body", back), Part("body", tube(path, [0.05, 0.04, 0.05])), Part("light", bristles)],
        0,
        0,
    )


def _hat(rng: np.random.Generator) -> _Built:
    crown, tall = float(rng.uniform(0.25, 0.3)), float(rng.uniform(0.28, 0.36))
    brim = lathe([(0, 0), (0.5, 0), (0.5, 0.025), (crown, 0.05), (0, 0.05)], 30)
    dome = lathe([(crown, 0.04), (crown * 0.95, tall * 0.7), (crown * 0.7, tall), (0, tall)], 26)
    band = lathe([(crown * 1.0, 0.05), (crown * 1.04, 0.05), (crown * 1.02, 0.13), (crown, 0.13)])
    return [Part("body", merge(brim, dome)), Part("dark", band)], 0, 0


def _headphones(rng: np.random.Generator) -> _Built:
    r, cup = float(rng.uniform(0.4, 0.44)), float(rng.uniform(0.15, 0.18))
    band = tube(arc(r, -15, 195, 20), 0.045, 8).moved(z=cup)
    cups, pads = [], []
    for sign in (-1, 1):
        shell = cylinder(cup, 0.1, 18).turned("y", 90 * sign)
        cups.append(shell.moved(x=sign * (r - 0.02), y=-0.12, z=cup))
        pad = ellipsoid(0.06, cup * 0.85, cup * 0.85, 14)
        pads.append(pad.moved(x=sign * (r - 0.04), y=-0.12, z=cup))
    return (
        [
            Part("body", band),
            Part("body", cups[0]),
            Part("body", cups[1]),
            Part("dark", merge(*pads)),
        ],
        0,
        0,
    )


def _distractor(rng: np.random.Generator) -> _Built:
    form = int(rng.integers(4))
    if form == 0:
        mesh = cylinder(0.4, float(rng.uniform(0.5, 1.0)), top=0.02)
    elif form == 1:
        mesh = box(float(rng.uniform(0.2, 0.4)), 1.0, float(rng.uniform(0.2, 0.4)))
    elif form == 2:
        mesh = tube(arc(0.36, 0, 349, 28), 0.12, 8, closed=True).moved(z=0.12)
    else:
        corners = arc(0.5, 0, 288, 5)[:, :2]
        mesh = extrude([(float(x), float(y)) for x, y in corners], 0, float(rng.uniform(0.3, 0.7)))
    return [Part("body", mesh)], 0, 0


WILD_BUILDERS: dict[str, Builder] = {
    "toy car": _car,
    "vase": _vase,
    "knife": _knife,
    "wrench": _wrench,
    "flashlight": _flashlight,
    "brush": _brush,
    "hat": _hat,
    "headphones": _headphones,
    "distractor": _distractor,
}
