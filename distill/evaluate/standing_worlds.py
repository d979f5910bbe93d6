"""Worlds and wishes for standing questions: twelve seconds in which things happen, and what a
person might want to be told, each with the plan that it means.

Cell worlds of validation seeds (training uses seeds below one million, the test split those from
two million), four scripted happenings each. The wishes' plans are written out here, not made by
any model; wordings are people's ("ping me once the mug has been shifted"), none is a phrasing of
the training's tables with "tell me when" before it.

Not covered: moving cameras, hands, worlds in which an object does the same thing twice.
"""

from __future__ import annotations

import os
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...deploy.live.compiling import Rule, Scene, stand
from ...deploy.live.watching import holding
from ...deploy.live.wordings import NEAR_SHARE, Condition, Wanted
from ...twin.schema import FrameTwin
from ...twin.window import TwinWindow
from ..sim.questions.knowledge import synonyms
from ..sim.scene import scene_for
from ..sim.truth import SIZE, true_frames
from ..sim.worlds import World

__all__ = [
    "FPS",
    "SECONDS",
    "SEEDS",
    "TUNING",
    "StandingClip",
    "Wish",
    "standing_clip",
    "wishes_of",
]

FPS = 10.0
SECONDS = 12.0
SEEDS = range(1_400_000, 1_400_040)
"""Reported."""
TUNING = range(1_450_000, 1_450_020)
"""For choosing rises, falls and wordings only."""
_HAPPENINGS = 4
_LAYOUT = 1

Plan = list[dict[str, Any]]


@dataclass(frozen=True)
class StandingClip:
    """T pictures (T, H, W, 3) uint8 with the true twin of each, and the world they are of."""

    world: World
    rgb_thw3: NDArray[np.uint8]
    frames: tuple[FrameTwin, ...]


@dataclass(frozen=True)
class Wish:
    """A standing question with what it means; ``kind`` groups the figures, ``held``: its wording is."""

    kind: str
    text: str
    rule: Rule
    held: bool = False


def standing_clip(seed: int, cache: Path, seconds: float = SECONDS) -> StandingClip:
    """Render a world, or read it from ``cache`` (2 MB a second)."""
    world = World(seed, "cell", seconds, events=_HAPPENINGS)
    folder = cache / f"standing-v{_LAYOUT}-{seconds:g}s"
    path, twin = folder / f"{seed}.npy", folder / f"{seed}.twin.jsonl"
    if path.is_file() and twin.is_file():
        lines = twin.read_text().splitlines()
        frames = tuple(FrameTwin.model_validate_json(line) for line in lines)
        return StandingClip(world, np.load(path), frames)
    frames = tuple(true_frames(world, FPS, seconds))
    scene = scene_for(world.tier, world.set_index, SIZE, SIZE)
    rgb = np.stack([scene.render(world, frame.timestamp_s).rgb_hw3 for frame in frames])
    folder.mkdir(parents=True, exist_ok=True)
    partial = folder / f".{seed}.{os.getpid()}.npy"
    np.save(partial, rgb)
    twin.write_text("".join(frame.model_dump_json() + "\n" for frame in frames))
    partial.replace(path)
    return StandingClip(world, rgb, frames)


def wishes_of(clip: StandingClip) -> list[Wish]:
    """About ten wishes: on what happens in the world, and on some things that do not."""
    world, draw = clip.world, _Wisher(clip)
    rng = draw.rng
    names = {thing.id: thing.category for thing in world.objects}
    kinds = {event.kind for event in world.events}
    found = [draw.wish("any moves", "anything moves", [{"tool": "moved"}])]
    found.append(draw.count(len(names), "enter" in kinds))
    for event in world.events:
        other = names.get(event.other) if event.other is not None else None
        found.append(draw.of_event(event.kind, names[event.id], other))
    busy = sorted({event.id for event in world.events})
    quiet = [name for key, name in names.items() if key not in busy]
    movers = [names[key] for key in busy]
    if quiet:  # most of the time nothing comes of these
        found.append(
            draw.of_event(rng.choice(("slide", "leave", "enter")), rng.choice(quiet), None)
        )
    if movers:
        pairs = [(m, o) for m in movers for o in (*quiet, *movers) if m != o]
        rng.shuffle(pairs)
        found += [*draw.side(pairs), *draw.near(pairs), *draw.edge(movers)]
        colours = {thing.category: thing.color for thing in world.objects}
        noun = rng.choice(movers)
        found.append(draw.coloured(noun, colours[noun]))
    return list({wish.text: wish for wish in found}.values())


# ---- wordings

_TOLD: dict[str, tuple[str, ...]] = {
    "any moves": (
        "Tell me when something moves",
        "Alert me if anything gets moved",
        "ping me as soon as anything changes place",
        "give me a shout when a thing gets shifted",
        "Warn us if something is moving",
    ),
    "moves": (
        "Tell me when the {n} moves",
        "Notify me if someone moves the {n}",
        "let me know once the {n} has been shifted",
        "alert me whenever a {n} starts moving",
        "Has anybody touched the {n}? Tell me when it moves",
        "I want to know when the {n} gets pushed",
        "Say so when the {n} slides",
    ),
    "up": (
        "Tell me when someone picks up the {n}",
        "alert me if the {n} is lifted",
        "Let me know when a {n} goes up",
        "I need to hear about it if anyone raises the {n}",
        "Inform me when the {n} is picked up",
    ),
    "down": (
        "Tell me when the {n} falls",
        "warn me if someone drops the {n}",
        "Notify me if the {n} drops",
        "ring an alarm when the {n} tumbles down",
    ),
    "enters": (
        "Tell me when a {n} appears",
        "Let me know as soon as a {n} comes into view",
        "alert me when someone brings a {n}",
        "Watch for a {n} and tell me when it shows up",
        "Message me when somebody adds a {n}",
        "let us know if a {n} turns up",
    ),
    "leaves": (
        "Tell me when the {n} disappears",
        "Alert me if someone takes the {n} away",
        "notify me when the {n} leaves the picture",
        "Sound the alarm if the {n} goes missing",
        "Inform me once the {n} is gone",
    ),
    "hides": (
        "Alert me when the {n} is hidden behind the {o}",
        "tell me when the {n} goes behind the {o}",
        "Let me know if the {o} covers the {n}",
        "Warn me when the {o} blocks the view of the {n}",
        "Notify us if the {n} vanishes behind the {o}",
    ),
    "side": (
        "Tell me when the {n} is {r} the {o}",
        "alert me if someone puts the {n} {r} the {o}",
        "Let me know once the {n} ends up {r} the {o}",
        "Inform me if the {n} gets {r} the {o}",
        "Say when you find the {n} {r} the {o}",
    ),
    "near": (
        "Tell me when the {n} comes close to the {o}",
        "alert me if someone puts a {n} near the {o}",
        "Warn us when the {n} is next to the {o}",
        "Notify me if the {n} touches the {o}",
    ),
    "edge": (
        "Tell me when someone puts a {n} near the edge",
        "warn me if the {n} gets too close to the edge",
        "Notify me if a {n} is about to go over the edge",
        "Inform me when the {n} is at the edge of the table",
    ),
    "coloured": (
        "Tell me when the {c} {n} moves",
        "Notify me if something {c} moves",
        "Inform me if anyone moves the {c} {n}",
        "Warn me when something {c} gets moved",
    ),
    "count": (
        "Tell me when there are more than {k} objects",
        "Inform me when more than {k} objects are on the table",
    ),
    "fewer": (
        "alert me if there are fewer than {k} objects",
        "Warn me when there are less than {k} things",
    ),
}
"""Seen while the table of ``wordings`` was written."""
_HELD: dict[str, tuple[str, ...]] = {
    "any moves": (
        "Shout if you notice that something moves",
        "I'd like an alert each time an object is shifted",
    ),
    "moves": (
        "Buzz me if the {n} budges",
        "Please inform us once somebody relocates the {n}",
        "raise a warning when the {n} is being moved",
    ),
    "up": (
        "Alert us whenever someone grabs the {n} and lifts it",
        "Let us know when the {n} rises",
    ),
    "down": (
        "Tell us if the {n} is dropped",
        "alert me as soon as the {n} goes down",
    ),
    "enters": (
        "Give me a notice when a {n} arrives",
        "I want a message once a {n} is brought in",
    ),
    "leaves": (
        "Tell us as soon as nobody can see the {n} any more",
        "Alert me should the {n} be removed",
    ),
    "hides": (
        "Let us know once the {n} is concealed by the {o}",
        "Notify me whenever the {n} hides behind the {o}",
    ),
    "side": (
        "Tell us when the {n} stands {r} the {o}",
        "ping me if the {n} moves {r} the {o}",
    ),
    "near": (
        "Alert me should the {n} get near the {o}",
        "notify us once the {n} is right beside the {o}",
    ),
    "edge": (
        "Let us know when the {n} is near the border",
        "Alert me should the {n} come near the edge of the table",
    ),
    "coloured": (
        "Tell us if the {c} {n} is moved",
        "I'd like to know when something {c} starts to move",
    ),
    "count": ("Tell us once there are over {k} objects",),
    "fewer": ("Let us know when there are under {k} objects",),
}
"""Written before the table was last changed, and not looked at while it was: half of the wordings
of the reported worlds."""


class _Wisher:
    """Draws the wishes of one world."""

    def __init__(self, clip: StandingClip) -> None:
        self.rng = random.Random(f"standing {clip.world.seed}")
        self._frames = clip.frames
        self._may_hold = clip.world.seed in SEEDS
        self._held = False

    def wish(
        self, slot: str, kind: str, plan: Plan, condition: Condition | None = None, **fill: Any
    ) -> Wish:
        """A wish with one of the slot's wordings; now and then another word for the thing."""
        self._held = self._may_hold and self.rng.random() < 0.5
        text = self.rng.choice((_HELD if self._held else _TOLD)[slot])
        noun = fill.get("n")
        if noun is not None and self.rng.random() < 0.2 and synonyms(noun):
            fill["n"] = self.rng.choice(synonyms(noun))
        rule = stand(Wanted("", condition), {"plan": plan}, Scene())
        return Wish(kind, text.format(**fill), rule, self._held)

    def of_event(self, kind: str, noun: str, other: str | None) -> Wish:
        """A wish that a happening fulfils."""
        find = _find(noun)
        if kind == "occlude" and other is not None:
            plan = [find, _find(other), {"tool": "occluded_by", "ids": "$1", "by": "$2"}]
            return self.wish("hides", "is hidden", plan, n=noun, o=other)
        slot, name, step = {
            "lift": ("up", "moves up or down", {"tool": "moved", "direction": "up"}),
            "drop": ("down", "moves up or down", {"tool": "moved", "direction": "down"}),
            "enter": ("enters", "appears", {"tool": "appeared"}),
            "leave": ("leaves", "disappears", {"tool": "disappeared"}),
        }.get(kind, ("moves", "moves", {"tool": "moved"}))
        return self.wish(slot, name, [find, {**step, "ids": "$1"}], n=noun)

    def side(self, pairs: Sequence[tuple[str, str]]) -> list[Wish]:
        """Where something is put, beside what."""
        sides = [("left_of", "left of"), ("right_of", "right of"), ("in_front_of", "in front of")]
        self.rng.shuffle(sides)
        wishes = []
        for mover, other in pairs:
            for tool, words in sides:
                step = {"tool": tool, "ids": "$1", "of": "$2"}
                plan: Plan = [_find(mover), _find(other), step]
                wishes.append(self.wish("side", "relation", plan, n=mover, o=other, r=words))
        return self._coming(wishes)

    def near(self, pairs: Sequence[tuple[str, str]]) -> list[Wish]:
        """Near what something is put."""
        near = Condition("<", NEAR_SHARE, "diagonal")
        step = {"tool": "distance", "a": "$1", "b": "$2", "space": "pixel"}
        return self._coming(
            [
                self.wish("near", "near", [_find(m), _find(o), step], near, n=m, o=o)
                for m, o in pairs
            ]
        )

    def edge(self, movers: Sequence[str]) -> list[Wish]:
        """Something comes near the picture's edge."""
        at = Condition(edge="any")
        return self._coming([self.wish("edge", "at the edge", [_find(m)], at, n=m) for m in movers])

    def _coming(self, wishes: Sequence[Wish]) -> list[Wish]:
        """One that is fulfilled in the end and was not at first, if there is one; else any."""
        coming = [w for w in wishes if self._holds(w, -1) and not self._holds(w, round(FPS))]
        return (coming or list(wishes))[:1]

    def _holds(self, wish: Wish, place: int) -> bool:
        window = TwinWindow([self._frames[place]])
        return bool(holding(wish.rule, window).keys)

    def coloured(self, noun: str, colour: str) -> Wish:
        """Something of a colour moves: the thing of that name, or anything."""
        step: dict[str, Any] = {"tool": "attribute", "name": "color", "value": colour}
        wish = self.wish("coloured", "colour moves", [{"tool": "moved"}], n=noun, c=colour)
        plan: Plan = [step, {"tool": "moved", "ids": "$1"}]
        if "something" not in wish.text:
            plan = [_find(noun), {**step, "ids": "$1"}, {"tool": "moved", "ids": "$2"}]
        return replace(wish, rule=stand(Wanted(""), {"plan": plan}, Scene()))

    def count(self, objects: int, more: bool) -> Wish:
        """More objects than before one comes, or fewer than there are."""
        plan: Plan = [_find("object"), {"tool": "count", "ids": "$1"}]
        limit = objects - 1 if more else objects
        condition = Condition(">" if more else "<", float(limit))
        slot = "count" if more else "fewer"
        return self.wish(slot, "count", plan, condition, k=limit)


def _find(noun: str) -> dict[str, Any]:
    return {"tool": "find", "words": [noun]}
