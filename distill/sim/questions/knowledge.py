"""What is commonly known about the catalogue's categories: one hand-written table.

Each category lists short property keys (``uses``, ``materials``, ``parts``, ``places``,
``dangers``, ``shapes``, ``actions``) and the words people use for it. The set of
categories for which a property holds is *derived* from that one table, so that a
phrasing of "something to drink from" can never disagree with another one. Properties are
kept only where nobody would argue about the set (a bowl *can* be drunk from, but asked for
something to drink from few people hand over a bowl: it is left out, and no phrasing says
"can hold a liquid", which would let it in again).

Not covered: degrees ("rather sharp"), properties that depend on the instance (a full mug).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

__all__ = ["FACTS", "PROPERTIES", "Fact", "categories_with", "plural", "synonyms"]


@dataclass(frozen=True, slots=True)
class Fact:
    """What is known of one category; every field but the last two holds property keys."""

    uses: tuple[str, ...] = ()
    materials: tuple[str, ...] = ()
    parts: tuple[str, ...] = ()
    places: tuple[str, ...] = ()
    dangers: tuple[str, ...] = ()
    shapes: tuple[str, ...] = ()
    actions: tuple[str, ...] = ()
    synonyms: tuple[str, ...] = ()
    plural: str = ""

    def properties(self) -> tuple[str, ...]:
        """All property keys of this category."""
        return (
            *self.uses,
            *self.materials,
            *self.parts,
            *self.places,
            *self.dangers,
            *self.shapes,
            *self.actions,
        )


FACTS: dict[str, Fact] = {
    "mug": Fact(
        uses=("drink", "hot_drink"),
        materials=("ceramic",),
        parts=("side_handle",),
        synonyms=("cup", "coffee cup", "coffee mug"),
    ),
    "bowl": Fact(
        uses=("serve", "soup"),
        materials=("ceramic",),
        synonyms=("soup bowl", "cereal bowl", "salad bowl"),
    ),
    "bottle": Fact(
        uses=("drink", "pour"),
        synonyms=("water bottle", "drinks bottle", "flask"),
    ),
    "pan": Fact(
        uses=("cook",),
        materials=("metal",),
        synonyms=("frying pan", "skillet", "saucepan"),
    ),
    "plate": Fact(
        uses=("serve",),
        materials=("ceramic",),
        synonyms=("dish", "dinner plate"),
    ),
    "book": Fact(
        uses=("read",),
        materials=("paper",),
        synonyms=("novel", "textbook", "paperback"),
    ),
    "hammer": Fact(
        uses=("nail",),
        materials=("metal",),
        places=("toolbox",),
        synonyms=("mallet", "claw hammer"),
    ),
    "lamp": Fact(
        uses=("light",),
        parts=("electric",),
        synonyms=("desk lamp", "table lamp", "reading lamp"),
    ),
    "banana": Fact(
        uses=("eat",),
        parts=("peel",),
        synonyms=("ripe banana",),
        plural="bananas",
    ),
    "phone": Fact(
        uses=("call",),
        parts=("screen", "electric"),
        synonyms=("cell phone", "smartphone", "mobile phone"),
    ),
    "ball": Fact(
        uses=("play",),
        shapes=("sphere",),
        actions=("bounce",),
        synonyms=("toy ball", "rubber ball"),
    ),
    "box": Fact(
        uses=("pack",),
        materials=("paper",),
        synonyms=("carton", "package", "crate"),
        plural="boxes",
    ),
    "spoon": Fact(
        uses=("stir",),
        materials=("metal",),
        places=("cutlery",),
        synonyms=("teaspoon", "tablespoon"),
    ),
    "scissors": Fact(
        uses=("cut",),
        materials=("metal",),
        dangers=("sharp",),
        synonyms=("pair of scissors", "shears"),
        plural="scissors",
    ),
    "teapot": Fact(
        uses=("pour", "brew"),
        materials=("ceramic",),
        parts=("side_handle",),
        synonyms=("tea pot", "kettle"),
    ),
    "glass": Fact(
        uses=("drink",),
        materials=("see_through",),
        synonyms=("drinking glass", "tumbler", "water glass"),
        plural="glasses",
    ),
    "toy car": Fact(
        uses=("play",),
        parts=("wheels",),
        synonyms=("model car", "little car", "toy vehicle"),
    ),
    "vase": Fact(
        uses=("flowers",),
        materials=("ceramic",),
        synonyms=("flower vase",),
    ),
    "knife": Fact(
        uses=("cut",),
        materials=("metal",),
        places=("cutlery",),
        dangers=("sharp",),
        synonyms=("kitchen knife", "table knife"),
        plural="knives",
    ),
    "wrench": Fact(
        uses=("bolt",),
        materials=("metal",),
        places=("toolbox",),
        synonyms=("spanner",),
        plural="wrenches",
    ),
    "flashlight": Fact(
        uses=("light",),
        parts=("electric",),
        synonyms=("torch", "hand torch"),
    ),
    "brush": Fact(
        uses=("scrub",),
        synonyms=("scrubbing brush", "hand brush"),
        plural="brushes",
    ),
    "hat": Fact(uses=("wear", "shade"), synonyms=("sun hat", "sunhat")),
    "headphones": Fact(
        uses=("wear", "listen"),
        parts=("electric",),
        synonyms=("headset", "earphones"),
        plural="headphones",
    ),
}

PROPERTIES: tuple[str, ...] = tuple(
    dict.fromkeys(key for fact in FACTS.values() for key in fact.properties())
)


@cache
def categories_with(key: str) -> tuple[str, ...]:
    """Categories (catalogue order) that have the property.

    Raises:
        KeyError: if no category has it.
    """
    found = tuple(name for name, fact in FACTS.items() if key in fact.properties())
    if not found:
        raise KeyError(f"expected a property of PROPERTIES, got {key!r}")
    return found


def synonyms(category: str) -> tuple[str, ...]:
    """The category's own noun first, then the other words for it."""
    return (category, *FACTS[category].synonyms)


def plural(category: str, word: str) -> str:
    """Plural of a category's noun or synonym; pair words ("scissors") stay as they are."""
    fact = FACTS[category]
    if word == category and fact.plural:
        return fact.plural
    head, _, tail = word.partition(" of ")
    if tail:
        return f"{plural(category, head)} of {tail}"
    for singular, many in (("glass", "glasses"), ("box", "boxes"), ("brush", "brushes")):
        if word.endswith(singular):
            return word.removesuffix(singular) + many
    for ending, many in (("knife", "knives"), ("dish", "dishes")):
        if word.endswith(ending):
            return word.removesuffix(ending) + many
    return word if word.endswith("s") else f"{word}s"
