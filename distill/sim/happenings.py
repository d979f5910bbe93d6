"""What happens in a world: draws events that can be seen and that hit nothing."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from .camera import Camera
from .things import Event, EventKind, Move, Thing, clash, footprint_at

__all__ = ["add_events", "box_at", "overlap"]

Box = tuple[float, float, float, float]
Drawn = tuple[Thing, Event] | None
MIN_SHIFT_PX = 42.0


def box_at(thing: Thing, view: Camera, t: float, size: int = 256) -> Box:
    """Box (x0, y0, x1, y1) in pixels around the projected shape, not clipped to the picture."""
    position, turn = thing.pose(t)
    points = np.concatenate(thing.shape.hulls) @ turn.T + position
    pixels = view.project(points, t, size, size)
    x0, y0 = pixels[:, 0].min(), pixels[:, 1].min()
    return float(x0), float(y0), float(pixels[:, 0].max()), float(pixels[:, 1].max())


def overlap(a: Box, b: Box) -> float:
    """Shared area as a part of the smaller box."""
    wide = min(a[2], b[2]) - max(a[0], b[0])
    high = min(a[3], b[3]) - max(a[1], b[1])
    if wide <= 0 or high <= 0:
        return 0.0
    smaller = min((a[2] - a[0]) * (a[3] - a[1]), (b[2] - b[0]) * (b[3] - b[1]))
    return wide * high / max(smaller, 1e-9)


def add_events(
    rng: np.random.Generator,
    things: list[Thing],
    kinds: list[EventKind],
    view: Camera,
    seconds: float,
    obstacles: Sequence[Thing] = (),
) -> tuple[list[Thing], list[Event]]:
    """The things with moves, and the events, in order of time.

    An event that finds no free way is left out, so fewer events than asked for may come.
    """
    stage = _Stage(rng, list(things), view, seconds, obstacles)
    for kind in sorted(kinds, key=lambda k: k != "occlude"):
        stage.add(kind)
    return stage.things, sorted(stage.events, key=lambda e: (e.start_s, e.id))


def _aligned(thing: Thing, yaw: float) -> Thing:
    """The thing turned to ``yaw`` where it is."""
    turn, foot, _ = Thing.lie(thing.shape, yaw, thing.lying)
    return replace(thing, turn=turn, foot=(foot[0], foot[1], foot[2], foot[3], foot[4]))


def _reach(foot: tuple[float, ...], angle: float) -> float:
    """How far a footprint extends from its centre in a direction."""
    lean = angle - foot[4]
    return foot[2] * abs(math.cos(lean)) + foot[3] * abs(math.sin(lean))


class _Stage:
    def __init__(
        self,
        rng: np.random.Generator,
        things: list[Thing],
        view: Camera,
        seconds: float,
        obstacles: Sequence[Thing],
    ) -> None:
        self.rng, self.things, self.view = rng, things, view
        self.seconds, self.obstacles = seconds, obstacles
        self.events: list[Event] = []
        self._times = [seconds * k / 28 for k in range(29)]

    def add(self, kind: EventKind) -> None:
        drawers: dict[EventKind, Callable[[Thing], Drawn]] = {
            "slide": self._slide,
            "lift": self._lift,
            "drop": self._drop,
            "roll": self._roll,
            "occlude": self._occlude,
            "enter": self._enter,
            "leave": self._leave,
        }
        free = self._free(kind)
        order = [free[int(i)] for i in self.rng.permutation(len(free))]
        for thing in order if kind == "occlude" else order[:4]:
            for _ in range(8 if kind == "occlude" else 5):
                drawn = drawers[kind](thing)
                if drawn is not None and not self._hits(drawn[0]):
                    self.things[thing.id - 1] = drawn[0]
                    self.events.append(drawn[1])
                    return

    def _free(self, kind: EventKind) -> list[Thing]:
        bearing = {t.parent for t in self.things}
        free = [t for t in self.things if not t.moves and t.id not in bearing]
        if kind != "lift":
            free = [t for t in free if t.parent is None]
        if kind == "roll":
            free = [t for t in free if t.shape.roll_r and (t.category != "bottle" or t.lying)]
        if kind == "occlude":
            free = [t for t in free if t.half_z < 0.06]
        return free

    def _hits(self, mover: Thing) -> bool:
        others = [t for t in self.things if t.id not in (mover.id, mover.parent)]
        others += self.obstacles
        for t in self._times:
            foot = footprint_at(mover, t)
            for other in others:
                if clash(foot, footprint_at(other, t)):
                    return True
        return False

    def _span(self, low: float = 0.7, high: float = 1.4) -> tuple[float, float]:
        length = float(self.rng.uniform(low, high))
        start = float(self.rng.uniform(0.4, max(self.seconds - 0.5 - length, 0.45)))
        return start, start + length

    def _pixel(self, thing: Thing, t: float = 0.0) -> tuple[float, float]:
        spot = self.view.project(np.array([thing.centre_at(t)]), t, 256, 256)[0]
        return float(spot[0]), float(spot[1])

    def _inside(self, thing: Thing, t: float) -> bool:
        box = box_at(thing, self.view, t)
        return min(box) >= 1 and max(box) <= 255

    def _crowded(self, mover: Thing, limit: float) -> bool:
        """Whether the place where it stops overlaps another object too much in the picture."""
        box = box_at(mover, self.view, self.seconds)
        boxes = (box_at(t, self.view, self.seconds) for t in self.things if t.id != mover.id)
        return any(overlap(box, other) > limit for other in boxes)

    def _toward(self, thing: Thing, angle: float, reach_px: float) -> tuple[float, float, float]:
        """The point on the table that lies ``reach_px`` away in the picture."""
        x, y = self._pixel(thing)
        z = thing.centre[2]
        x, y = x + reach_px * math.cos(angle), y + reach_px * math.sin(angle)
        wx, wy = self.view.on_plane(x, y, z)
        return wx, wy, z

    def _angle(self) -> float:
        """A direction in the picture, mostly close to left, right, up or down."""
        quarter = int(self.rng.integers(4)) * math.pi / 2
        return quarter + float(self.rng.uniform(-0.3, 0.3))

    def _go(self, thing: Thing, kind: EventKind, stop: tuple[float, float, float]) -> Drawn:
        start_s, end_s = self._span()
        move = Move(start_s, end_s, thing.centre, stop)
        moved = replace(thing, moves=(move,))
        if not self._inside(moved, self.seconds):
            return None
        return moved, Event(kind, thing.id, start_s, end_s)

    def _slide(self, thing: Thing) -> Drawn:
        reach = float(self.rng.uniform(MIN_SHIFT_PX + 4, 120))
        drawn = self._go(thing, "slide", self._toward(thing, self._angle(), reach))
        if drawn is None or self._crowded(drawn[0], 0.3):
            return None
        return drawn

    def _lift(self, thing: Thing) -> Drawn:
        x, y, z = thing.centre
        height = float(self.rng.uniform(0.10, 0.15))
        start_s, end_s = self._span(0.5, 0.9)
        moves = [Move(start_s, end_s, thing.centre, (x, y, z + height))]
        if self.rng.random() < 0.3 and end_s + 0.8 < self.seconds:
            moves.append(Move(end_s + 0.3, end_s + 0.8, (x, y, z + height), thing.centre))
        moved = replace(thing, moves=tuple(moves))
        if not self._inside(moved, end_s):
            return None
        return moved, Event("lift", thing.id, start_s, moves[-1].end_s)

    def _drop(self, thing: Thing) -> Drawn:
        x, y, z = thing.centre
        height = float(self.rng.uniform(0.10, 0.15))
        start_s = float(self.rng.uniform(0.5, self.seconds - 0.8))
        fall = math.sqrt(2 * height / 9.81)
        move = Move(start_s, start_s + fall, (x, y, z + height), thing.centre, "fall")
        moved = replace(thing, moves=(move,))
        if not self._inside(moved, 0.0):
            return None
        return moved, Event("drop", thing.id, start_s, move.end_s)

    def _roll(self, thing: Thing) -> Drawn:
        reach = float(self.rng.uniform(MIN_SHIFT_PX + 8, 140))
        stop = self._toward(thing, self._angle(), reach)
        dx, dy = stop[0] - thing.centre[0], stop[1] - thing.centre[1]
        far = math.hypot(dx, dy)
        if thing.category != "ball":  # it rolls across its axis only
            yaw = thing.foot[4]
            sign = 1.0 if self.rng.random() < 0.5 else -1.0
            ux, uy = sign * math.cos(yaw), sign * math.sin(yaw)
            stop = (thing.centre[0] + far * ux, thing.centre[1] + far * uy, thing.centre[2])
        else:
            ux, uy = dx / far, dy / far
        drawn = self._go(thing, "roll", stop)
        if drawn is None or self._crowded(drawn[0], 0.3):
            return None
        moved, event = drawn
        x, y = self._pixel(thing)
        end_x, end_y = self._pixel(moved, self.seconds)
        if math.hypot(end_x - x, end_y - y) < MIN_SHIFT_PX:
            return None
        spin = far / thing.shape.roll_r
        move = replace(moved.moves[0], axis=(-uy, ux), spin=spin)
        return replace(moved, moves=(move,)), event

    def _occlude(self, thing: Thing) -> Drawn:
        """It slides behind a taller thing, seen from the camera, and may come out again."""
        hiders = [
            t
            for t in self.things
            if t.id != thing.id
            and not t.moves
            and t.half_z > thing.half_z * 1.3
            and t.half_z > 0.04
        ]
        if not hiders:
            return None
        hider = hiders[int(self.rng.integers(len(hiders)))]
        foot = footprint_at(hider, 0.0)
        eye, _ = self.view.pose(0.0)
        angle = math.atan2(foot[1] - eye[1], foot[0] - eye[0])
        if thing.category != "ball":  # its long side goes into the picture, so that it fits
            long_x = thing.foot[2] > thing.foot[3]
            thing = _aligned(thing, angle if long_x else angle - math.pi / 2)
        gap = _reach(foot, angle) + _reach(footprint_at(thing, 0.0), angle)
        gap += 0.008 + float(self.rng.uniform(0, 0.015))
        stop = (
            foot[0] + gap * math.cos(angle),
            foot[1] + gap * math.sin(angle),
            thing.centre[2],
        )
        x, y = self._pixel(thing)
        drawn = self._go(thing, "occlude", stop)
        if drawn is None:
            return None
        moved, event = drawn
        end_x, end_y = self._pixel(moved, self.seconds)
        seen = box_at(moved, self.view, self.seconds)
        cover = box_at(hider, self.view, self.seconds)
        wide = max(0.0, min(seen[2], cover[2]) - max(seen[0], cover[0]))
        high = max(0.0, min(seen[3], cover[3]) - max(seen[1], cover[1]))
        hidden = wide * high / max((seen[2] - seen[0]) * (seen[3] - seen[1]), 1e-9)
        if hidden < 0.55 or math.hypot(end_x - x, end_y - y) < MIN_SHIFT_PX:
            return None
        return moved, replace(event, other=hider.id)

    def _edge(self, thing: Thing) -> tuple[float, float, float] | None:
        """A place just outside the left or right edge of the picture, at the same height."""
        x, y = self._pixel(thing)
        side = -1 if (x < 128) == (self.rng.random() < 0.8) else 1
        out = -75.0 if side < 0 else 331.0
        y = y + float(self.rng.uniform(-25, 25))
        wx, wy = self.view.on_plane(out, y, thing.centre[2])
        shifted = replace(thing, centre=(wx, wy, thing.centre[2]))
        box = box_at(shifted, self.view, 0.0)
        return shifted.centre if box[2] < -2 or box[0] > 258 else None

    def _enter(self, thing: Thing) -> Drawn:
        edge = self._edge(thing)
        if edge is None:
            return None
        start_s, end_s = self._span(0.8, 1.5)
        moved = replace(thing, moves=(Move(start_s, end_s, edge, thing.centre),))
        return moved, Event("enter", thing.id, start_s, end_s)

    def _leave(self, thing: Thing) -> Drawn:
        edge = self._edge(thing)
        if edge is None:
            return None
        start_s, end_s = self._span(0.8, 1.5)
        moved = replace(thing, moves=(Move(start_s, end_s, thing.centre, edge),))
        return moved, Event("leave", thing.id, start_s, end_s)
