"""TwinBench's validation worlds as clips with their questions, for verifying a bundle."""

from __future__ import annotations

from pathlib import Path

from ...deploy.export.clip import Clip
from ...twin.errors import InputError
from ...twin.frame import Frame
from ..twinbench import SEEDS, load
from .worlds import FPS, rendered_world

__all__ = ["validation_clips"]


def validation_clips(count: int, cache: Path = Path("runs/twinbench")) -> list[Clip]:
    """The first ``count`` validation worlds of the cell, rendered, with their 8 questions each.

    Raises:
        InputError: if there are not so many.
    """
    seeds = SEEDS["val", "cell"]
    if not 1 <= count <= len(seeds):
        raise InputError(f"expected 1 to {len(seeds)} validation worlds, got {count}")
    asked = load("val", "cell")
    found = []
    for seed in seeds[:count]:
        world = rendered_world(seed, "cell", cache)
        frames = [Frame(i, i / FPS, rgb, str(seed)) for i, rgb in enumerate(world.rgb_thw3)]
        questions = tuple(item.question.text for item in asked if item.seed == seed)
        found.append(Clip(f"cell {seed}", frames, questions))
    return found
