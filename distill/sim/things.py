"""One object of a world and its scripted motion: a pose for every time, without physics."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from .meshes import rotation
from .shapes import Shape, shape

__all__ = ["Event", "EventKind", "Move", "Thing", "clash", "footprint_at"]

Floats = NDArray[np.float64]
Vec = tuple[float, float, float]
EventKind = Literal["slide", "lift", "drop", "roll", "occlude", "enter", "leave"]


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happens to object ``id``; ``other`` is the object it hides or hides behind."""

    kind: EventKind
    id: int
    start_s: float
    end_s: float
    other: int | None = None


@dataclass(frozen=True, slots=True)
class Move:
    """The centre goes from ``start`` to ``stop`` (metres) between two times.

    ``style``: ``ease`` speeds up and slows down, ``fall`` accelerates. ``spin`` is the
    rotation in radians about ``axis`` that a rolling object makes on the way.
    """

    start_s: float
    end_s: float
    start: Vec
    stop: Vec
    style: Literal["ease", "fall"] = "ease"
    axis: tuple[float, float] = (1.0, 0.0)
    spin: float = 0.0

    def share(self, t: float) -> float:
        """How much of the way is done at time ``t``, 0–1."""
        s = min(max((t - self.start_s) / (self.end_s - self.start_s), 0.0), 1.0)
        return s * s if self.style == "fall" else s * s * (3 - 2 * s)


@dataclass(frozen=True, slots=True)
class Thing:
    """An object: what it is, how it lies (``turn``), where its centre is and how that moves.

    ``foot`` is its footprint when it lies like this: offset of the rectangle's centre from
    the object's centre along the rectangle's axes, half sizes, yaw; ``half_z`` half height.
    """

    id: int
    category: str
    color: str
    rgb: tuple[float, float, float]
    variant: int
    set_index: int
    centre: Vec
    turn: Floats
    foot: tuple[float, float, float, float, float]
    half_z: float
    lying: bool = False
    moves: tuple[Move, ...] = ()
    parent: int | None = None

    @property
    def shape(self) -> Shape:
        """Its shape in metres."""
        return shape(self.category, self.set_index, self.variant)

    def centre_at(self, t: float) -> Vec:
        """Centre in metres at time ``t``."""
        here = self.moves[0].start if self.moves else self.centre
        for move in self.moves:
            if t < move.start_s:
                break
            s = move.share(t)
            a, b = move.start, move.stop
            here = (a[0] + s * (b[0] - a[0]), a[1] + s * (b[1] - a[1]), a[2] + s * (b[2] - a[2]))
        return here

    def turn_at(self, t: float) -> Floats:
        """Rotation matrix at time ``t``."""
        turn = self.turn
        for move in self.moves:
            if move.spin and t > move.start_s:
                turn = _about(move.axis, move.spin * move.share(t)) @ turn
        return turn

    def pose(self, t: float) -> tuple[Floats, Floats]:
        """Position (3,) of the shape's origin and rotation (3, 3)."""
        turn = self.turn_at(t)
        pivot = turn[:, 2] * (self.shape.high[2] / 2)
        return np.array(self.centre_at(t)) - pivot, turn

    def moving(self, t: float) -> bool:
        """Whether it is on its way at time ``t``."""
        return any(m.start_s < t < m.end_s for m in self.moves)

    @staticmethod
    def lie(kind: Shape, yaw: float, lying: bool) -> tuple[Floats, tuple[float, ...], float]:
        """Rotation, footprint and half height of a shape that stands or lies on its side."""
        middle_z = kind.high[2] / 2
        if lying:  # the shape's z axis becomes the rectangle's y axis
            turn = rotation("z", yaw) @ rotation("x", -math.pi / 2)
            wide = max(kind.high[0], -kind.low[0])
            return turn, (0.0, 0.0, wide, middle_z, yaw), wide
        off_x, off_y = (kind.low[0] + kind.high[0]) / 2, (kind.low[1] + kind.high[1]) / 2
        half_x, half_y = (kind.high[0] - kind.low[0]) / 2, (kind.high[1] - kind.low[1]) / 2
        return rotation("z", yaw), (off_x, off_y, half_x, half_y, yaw), middle_z


def _about(axis: tuple[float, float], angle: float) -> Floats:
    """Rotation about a horizontal unit axis."""
    x, y = axis
    c, s = math.cos(angle), math.sin(angle)
    return np.array(
        [
            [c + x * x * (1 - c), x * y * (1 - c), y * s],
            [x * y * (1 - c), c + y * y * (1 - c), -x * s],
            [-y * s, x * s, c],
        ]
    )


def footprint_at(thing: Thing, t: float) -> tuple[float, float, float, float, float, float, float]:
    """Rectangle centre x, y, half sizes, yaw, and the z range it fills, at time ``t``."""
    x, y, z = thing.centre_at(t)
    off_x, off_y, half_x, half_y, yaw = thing.foot
    c, s = math.cos(yaw), math.sin(yaw)
    return (
        x + c * off_x - s * off_y,
        y + s * off_x + c * off_y,
        half_x,
        half_y,
        yaw,
        z - thing.half_z,
        z + thing.half_z,
    )


def clash(a: Sequence[float], b: Sequence[float], margin: float = 0.006) -> bool:
    """Whether two footprints (see :func:`footprint_at`) come closer than ``margin`` metres."""
    if a[5] > b[6] - 0.001 or b[5] > a[6] - 0.001:
        return False
    dx, dy = b[0] - a[0], b[1] - a[1]
    reach = math.hypot(a[2], a[3]) + math.hypot(b[2], b[3]) + margin
    if dx * dx + dy * dy > reach * reach:
        return False
    lean = b[4] - a[4]
    c, s = abs(math.cos(lean)), abs(math.sin(lean))
    for one, other in ((a, b), (b, a)):
        cos, sin = math.cos(one[4]), math.sin(one[4])
        along, across = abs(cos * dx + sin * dy), abs(cos * dy - sin * dx)
        if along > one[2] + c * other[2] + s * other[3] + margin:
            return False
        if across > one[3] + s * other[2] + c * other[3] + margin:
            return False
    return True
