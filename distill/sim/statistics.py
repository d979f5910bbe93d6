"""What rendered training pictures hold, in figures: balance, colours, sizes, occlusion, events.

Counts are over the records of rendered stills (:mod:`.shards`). Two things a record does not
tell are measured again from its seed: what an object would show without the others (the
renderer draws it alone) and what happens in the world's script.

Not covered: clips (their worlds are those of :class:`~.worlds.World` with the same seeds),
light and camera, which are uniform in ranges of :mod:`.worlds`.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ...twin.errors import InputError
from ..evaluate.report import Table
from .catalogue import COLOUR_NAMES, HELD_OUT_PAIRS, Tier, categories_of
from .scene import scene_for
from .shards import Shards
from .sheet import spread
from .worlds import SIZE_PX, World

__all__ = ["LIFTED_M", "SIDES_PX", "Statistics", "measure", "tables"]

SIDES_PX = (0, 16, 24, 29, 36, 48, 64, 92, 257)
"""Edges of the histogram of longest sides: 29 and 92 are what worlds are drawn for."""
_SHARES = (0.0, 0.1, 0.25, 0.5, 0.75, 0.9, 1.01)
_SMALL_PX = 36
LIFTED_M = 0.015
"""What hangs higher above the table is being lifted or dropped."""


@dataclass(slots=True)
class Statistics:
    """Raw counts.

    ``sides_px`` and ``shares`` hold, per category, longest sides of visible boxes in pixels
    and visible shares (0 = fully hidden or outside the picture) of the objects drawn again.
    """

    tier: Tier
    pictures: int = 0
    objects: Counter[str] = field(default_factory=Counter)
    colours: Counter[str] = field(default_factory=Counter)
    pairs: Counter[tuple[str, str]] = field(default_factory=Counter)
    per_picture: Counter[int] = field(default_factory=Counter)
    sides_px: dict[str, list[int]] = field(default_factory=dict)
    shares: dict[str, list[float]] = field(default_factory=dict)
    redrawn: int = 0
    scripts: int = 0
    events: Counter[str] = field(default_factory=Counter)
    worlds_with: Counter[str] = field(default_factory=Counter)
    seated: Counter[str] = field(default_factory=Counter)
    tops: Counter[str] = field(default_factory=Counter)
    lifted: int = 0
    unseen_in_training: int = 0
    training_seeds: int = 0


def measure(shards: Shards, redraw: int = 200, scripts: int = 1000) -> Statistics:
    """Count a folder of stills of one tier; ``redraw`` pictures and ``scripts`` worlds again.

    Raises:
        InputError: if there is no picture, or they are of several tiers.
        MissingExtraError: with ``redraw`` above 0 and without MuJoCo.
    """
    tiers = {record["tier"] for record in shards.objects}
    if len(tiers) != 1:
        raise InputError(f"expected rendered stills of one tier, got tiers {sorted(tiers)}")
    found = Statistics(tier=tiers.pop(), pictures=len(shards))
    found.sides_px = {name: [] for name in categories_of(found.tier)}
    found.shares = {name: [] for name in categories_of(found.tier)}
    for record in shards.objects:
        _count(found, record)
    for row in spread(len(shards), redraw) if redraw else []:
        _redraw(found, int(shards.objects[row]["seed"]), shards.objects[row]["objects"])
    for row in spread(len(shards), scripts) if scripts else []:
        _script(found, World(int(shards.objects[row]["seed"]), found.tier))
    return found


def tables(found: Statistics) -> list[Table]:
    """Write the counts as tables."""
    where = f"{found.tier} tier, {found.pictures:,} stills"
    return [
        _by_category(found, where),
        _colours(found, where),
        _sizes(found, where),
        _occlusion(found),
        _per_picture(found, where),
        _events(found),
        _pairs(found, where),
    ]


def _count(found: Statistics, record: dict[str, Any]) -> None:
    found.per_picture[len(record["objects"])] += 1
    training = record["seed"] < 1_000_000
    found.training_seeds += training
    for thing in record["objects"]:
        pair = (thing["color"], thing["category"])
        found.objects[pair[1]] += 1
        found.colours[pair[0]] += 1
        found.pairs[pair] += 1
        found.lifted += thing.get("lift_m", 0.0) > LIFTED_M
        found.unseen_in_training += training and pair in HELD_OUT_PAIRS
        x0, y0, x1, y1 = thing["box_xyxy"]
        found.sides_px[pair[1]].append(max(x1 - x0, y1 - y0))


def _redraw(found: Statistics, seed: int, objects: Sequence[dict[str, Any]]) -> None:
    """Draw every object of a still alone: its visible share is what the picture has of that."""
    world = World.image(seed, found.tier)
    scene = scene_for(world.tier, world.set_index)
    area = {thing["id"]: thing["area"] for thing in objects}
    for thing in world.objects:
        alone = scene.render(world, 0.0, only=thing.id, rgb=False).ids_hw == thing.id
        whole = int(np.count_nonzero(alone))
        if whole:  # else it has left the picture, or has not come yet
            found.shares[thing.category].append(area.get(thing.id, 0) / whole)
    found.redrawn += 1


def _script(found: Statistics, world: World) -> None:
    found.scripts += 1
    found.tops[world.table] += 1
    kinds: set[str] = {event.kind for event in world.events}
    found.worlds_with.update(kinds or {"nothing"})
    found.events.update(event.kind for event in world.events)
    for thing in world.objects:
        if thing.parent is not None:
            parent = world.objects[thing.parent - 1].category
            found.seated[f"{thing.category} with {parent}"] += 1


def _by_category(found: Statistics, where: str) -> Table:
    total = max(1, found.objects.total())
    rows: list[tuple[str | int | float | None, ...]] = []
    for name, sides in found.sides_px.items():
        low, middle, high = np.percentile(sides, (5, 50, 95)) if sides else (0.0, 0.0, 0.0)
        shares = np.array(found.shares[name])
        rows.append(
            (
                name,
                len(sides),
                len(sides) / total,
                int(low),
                int(middle),
                int(high),
                float(np.mean(np.array(sides) < _SMALL_PX)) if sides else None,
                float(shares.mean()) if len(shares) else None,
                float((shares < 0.9).mean()) if len(shares) else None,
            )
        )
    counts = [n for n in found.objects.values() if n]
    note = (
        f"{total:,} objects; most and least frequent category {max(counts)} : {min(counts)} = "
        f"{max(counts) / min(counts):.2f}. Sides are the longest of the visible box; visible is "
        f"measured on {found.redrawn} pictures drawn again."
    )
    columns = ("category", "objects", "share", "side px 5 %", "median", "95 %",
               f"under {_SMALL_PX} px", "visible", "covered > 10 %")  # fmt: skip
    return Table(f"By category, {where}", columns, tuple(rows), (note,))


def _colours(found: Statistics, where: str) -> Table:
    total = max(1, found.colours.total())
    rows = tuple((c, found.colours[c], found.colours[c] / total) for c in COLOUR_NAMES)
    return Table(f"Colours, {where}", ("colour", "objects", "share"), rows)


def _sizes(found: Statistics, where: str) -> Table:
    sides = [side for held in found.sides_px.values() for side in held]
    counts, _ = np.histogram(sides, SIDES_PX)
    rows = tuple(
        (f"{low} to {high - 1}", int(n), int(n) / max(1, len(sides)))
        for low, high, n in zip(SIDES_PX, SIDES_PX[1:], counts, strict=False)
    )
    note = (
        f"Worlds are drawn with sides of {SIZE_PX[0]:.0f} to {SIZE_PX[1]:.0f} px when they begin; "
        "what is covered, leaves the picture or moves may show less or more."
    )
    return Table(
        f"Longest side of visible boxes, {where}", ("px", "objects", "share"), rows, (note,)
    )


def _occlusion(found: Statistics) -> Table:
    shares = [share for held in found.shares.values() for share in held]
    counts, _ = np.histogram(shares, _SHARES)
    names = ("under .10", ".10 to .25", ".25 to .50", ".50 to .75", ".75 to .90", ".90 to 1")
    rows = tuple(
        (name, int(n), int(n) / max(1, len(shares))) for name, n in zip(names, counts, strict=True)
    )
    title = f"Visible share of what an object shows alone, {found.redrawn} stills drawn again"
    every = found.objects.total()
    note = f"Lifted or dropping: {found.lifted:,} of {every:,} objects in all pictures."
    return Table(title, ("visible", "objects", "share"), rows, (note,))


def _per_picture(found: Statistics, where: str) -> Table:
    rows = tuple(
        (n, found.per_picture[n], found.per_picture[n] / max(1, found.pictures))
        for n in sorted(found.per_picture)
    )
    return Table(f"Visible objects per picture, {where}", ("objects", "pictures", "share"), rows)


def _events(found: Statistics) -> Table:
    kinds = sorted(found.worlds_with, key=lambda kind: (-found.worlds_with[kind], kind))
    rows = tuple(
        (kind, found.worlds_with[kind], found.worlds_with[kind] / max(1, found.scripts),
         found.events[kind])
        for kind in kinds
    )  # fmt: skip
    seats = ", ".join(f"{name} {n}" for name, n in found.seated.most_common(5)) or "none"
    tops = ", ".join(f"{name} {n}" for name, n in found.tops.most_common())
    notes = (f"Resting in or on another: {found.seated.total()} ({seats}, …).", f"Tables: {tops}.")
    title = f"Events in {found.scripts} scripts of 4 s, {found.tier} tier"
    return Table(title, ("event", "worlds", "share", "times"), rows, notes)


def _pairs(found: Statistics, where: str) -> Table:
    every = [(c, n) for n in categories_of(found.tier) for c in COLOUR_NAMES]
    kept = [found.pairs[pair] for pair in every if pair not in HELD_OUT_PAIRS]
    rows: tuple[tuple[str | int, ...], ...] = (
        ("colour-and-noun pairs that training may show", len(kept)),
        ("of them shown", sum(n > 0 for n in kept)),
        ("objects of the rarest of them", min(kept)),
        ("objects of the commonest", max(kept)),
        ("pairs kept out of training", len(HELD_OUT_PAIRS)),
        ("pictures with a training seed", found.training_seeds),
        ("objects of a kept-out pair in them (must be 0)", found.unseen_in_training),
    )
    return Table(f"Colour and noun together, {where}", ("figure", "count"), rows)
