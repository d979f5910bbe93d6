"""The catalogue: names, colours that do not meet, pairs kept out of training."""

from __future__ import annotations

import itertools
from collections import Counter

import pytest

from edgetwin.distill.sim.catalogue import (
    CATEGORIES,
    CELL,
    COLOUR_NAMES,
    COLOURS,
    HELD_OUT_PAIRS,
    SUPPORTS,
    WILD,
    Tier,
    categories_of,
)
from edgetwin.distill.sim.worlds import World


def test_the_cell_has_sixteen_categories_and_the_wild_tier_eight_more() -> None:
    assert len(CELL) == 16
    assert len(WILD) == 24
    assert set(CELL) < set(WILD)
    assert categories_of("cell") == CELL
    assert categories_of("wild") == WILD


def test_no_rgb_value_has_two_colour_names() -> None:
    for a, b in itertools.combinations(COLOURS.values(), 2):
        apart = [
            x[1] < y[0] or y[1] < x[0]
            for x, y in zip((a.red, a.green, a.blue), (b.red, b.green, b.blue), strict=True)
        ]
        assert any(apart), (a.name, b.name)


def test_held_out_pairs_are_twelve_of_the_cell() -> None:
    assert len(HELD_OUT_PAIRS) == 12
    assert all(colour in COLOUR_NAMES and noun in CELL for colour, noun in HELD_OUT_PAIRS)
    assert max(Counter(noun for _, noun in HELD_OUT_PAIRS).values()) == 1


def test_supports_name_categories() -> None:
    for support, children in SUPPORTS.items():
        assert support in CATEGORIES
        assert all(child in CATEGORIES and word in ("inside", "on") for child, word in children)


@pytest.mark.parametrize("tier", ["cell", "wild"])
def test_training_worlds_hold_no_held_out_pair_and_test_worlds_do(tier: Tier) -> None:
    def pairs(first: int) -> set[tuple[str, str]]:
        worlds = [World.image(first + k, tier) for k in range(50)]
        return {(t.color, t.category) for w in worlds for t in w.objects}

    assert not pairs(0) & HELD_OUT_PAIRS
    assert not pairs(999_950) & HELD_OUT_PAIRS
    assert pairs(2_000_000) & HELD_OUT_PAIRS
