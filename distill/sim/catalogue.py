"""Names of the simulated world: categories, colours and the pairs kept out of training.

``CELL`` is the vocabulary of the embedded model set; ``WILD`` adds the harder tier's
categories. Everything here is plain data without numpy or MuJoCo, so every room may import it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

__all__ = [
    "CATEGORIES",
    "CELL",
    "COLOURS",
    "COLOUR_NAMES",
    "DISTRACTOR",
    "HELD_OUT_PAIRS",
    "SUPPORTS",
    "WILD",
    "Category",
    "Colour",
    "Tier",
    "categories_of",
]

Tier = Literal["cell", "wild"]
Range = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Category:
    """One kind of object.

    ``size_m`` is the range of its longest horizontal or vertical extent in metres. ``rolls``
    marks what rolls when pushed (about its axis when lying), ``tall`` what can hide others.
    """

    name: str
    tiers: tuple[Tier, ...]
    size_m: Range
    rolls: bool = False
    tall: bool = False


@dataclass(frozen=True, slots=True)
class Colour:
    """A colour word and the box of linear RGB values (0–1) that it names."""

    name: str
    red: Range
    green: Range
    blue: Range


_BOTH: tuple[Tier, ...] = ("cell", "wild")
_WILD: tuple[Tier, ...] = ("wild",)

CATEGORIES: dict[str, Category] = {
    c.name: c
    for c in (
        Category("mug", _BOTH, (0.105, 0.135)),
        Category("bowl", _BOTH, (0.13, 0.17)),
        Category("bottle", _BOTH, (0.17, 0.21), rolls=True, tall=True),
        Category("pan", _BOTH, (0.20, 0.24)),
        Category("plate", _BOTH, (0.16, 0.20)),
        Category("book", _BOTH, (0.14, 0.19)),
        Category("hammer", _BOTH, (0.17, 0.21)),
        Category("lamp", _BOTH, (0.17, 0.21), tall=True),
        Category("banana", _BOTH, (0.14, 0.18)),
        Category("phone", _BOTH, (0.12, 0.15)),
        Category("ball", _BOTH, (0.075, 0.11), rolls=True),
        Category("box", _BOTH, (0.10, 0.14), tall=True),
        Category("spoon", _BOTH, (0.15, 0.19)),
        Category("scissors", _BOTH, (0.15, 0.19)),
        Category("teapot", _BOTH, (0.15, 0.19), tall=True),
        Category("glass", _BOTH, (0.12, 0.15), tall=True),
        Category("toy car", _WILD, (0.12, 0.16)),
        Category("vase", _WILD, (0.15, 0.20), tall=True),
        Category("knife", _WILD, (0.17, 0.21)),
        Category("wrench", _WILD, (0.15, 0.19)),
        Category("flashlight", _WILD, (0.14, 0.18), rolls=True),
        Category("brush", _WILD, (0.15, 0.19)),
        Category("hat", _WILD, (0.16, 0.20)),
        Category("headphones", _WILD, (0.14, 0.18)),
    )
}

DISTRACTOR = Category("distractor", _WILD, (0.06, 0.12))
"""Plain blocks, cones and rings that belong to no category and are never in the truth."""

CELL: tuple[str, ...] = tuple(c.name for c in CATEGORIES.values() if "cell" in c.tiers)
WILD: tuple[str, ...] = tuple(CATEGORIES)

COLOURS: dict[str, Colour] = {
    c.name: c
    for c in (
        Colour("red", (0.75, 0.90), (0.05, 0.13), (0.05, 0.13)),
        Colour("orange", (0.92, 1.00), (0.42, 0.52), (0.02, 0.10)),
        Colour("yellow", (0.92, 1.00), (0.80, 0.90), (0.05, 0.20)),
        Colour("green", (0.08, 0.22), (0.55, 0.70), (0.12, 0.25)),
        Colour("blue", (0.08, 0.18), (0.22, 0.38), (0.75, 0.92)),
        Colour("purple", (0.46, 0.58), (0.10, 0.22), (0.60, 0.75)),
        Colour("white", (0.90, 0.98), (0.90, 0.98), (0.90, 0.98)),
        Colour("black", (0.05, 0.11), (0.05, 0.11), (0.05, 0.11)),
    )
}
COLOUR_NAMES: tuple[str, ...] = tuple(COLOURS)

HELD_OUT_PAIRS: frozenset[tuple[str, str]] = frozenset(
    {
        ("red", "mug"),
        ("blue", "bowl"),
        ("green", "bottle"),
        ("black", "pan"),
        ("white", "plate"),
        ("purple", "book"),
        ("orange", "hammer"),
        ("yellow", "lamp"),
        ("green", "banana"),
        ("orange", "ball"),
        ("purple", "scissors"),
        ("blue", "teapot"),
    }
)
"""(colour, noun) pairs that no world with a training seed contains."""

SUPPORTS: dict[str, tuple[tuple[str, str], ...]] = {
    "bowl": (("ball", "inside"), ("banana", "inside"), ("spoon", "inside")),
    "pan": (("ball", "inside"), ("banana", "inside")),
    "plate": (("mug", "on"), ("banana", "on"), ("ball", "on"), ("glass", "on")),
    "book": (("mug", "on"), ("phone", "on"), ("ball", "on"), ("glass", "on"), ("box", "on")),
    "box": (("phone", "on"), ("ball", "on")),
}
"""Support category -> what may rest in or on it, with the relation's word."""


def categories_of(tier: Tier) -> tuple[str, ...]:
    """Category names of a tier, in catalogue order."""
    return CELL if tier == "cell" else WILD
