"""TwinBench: a frozen list of questions on frozen simulated worlds.

Per split and tier a list of world seeds with 8 questions each, balanced over category × level,
half of them with a phrasing that training never uses. The lists are committed as JSON lines
beside the simulator and pinned by SHA-256, so that a change of the question generator does not
move the benchmark. True answers are computed on the exact (rendered) twin of each world. Of the
1,680 texts drawn, 30 were put into better English by hand before the lists were frozen.

Validation and test worlds have seeds that training never uses, and with them category pairs,
textures and object variants (see :mod:`.sim.worlds`), paraphrase families and step combinations
(see :mod:`.sim.questions.families`) that training never sees.

Regenerate (only for a new version of the benchmark; prints the hashes for ``HASHES``)::

    python -m edgetwin.distill.twinbench
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import random
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from ..twin.errors import InputError
from ..twin.window import TwinWindow
from .sim.catalogue import CELL, WILD, Tier
from .sim.questions.generate import CATEGORIES, Maker, Question
from .sim.questions.programs import Category

__all__ = [
    "FPS",
    "HASHES",
    "QUESTIONS_PER_WORLD",
    "SECONDS",
    "SEEDS",
    "BenchSplit",
    "Item",
    "generate",
    "load",
    "window_of",
]

BenchSplit = Literal["val", "test"]

FPS = 8.0
SECONDS = 4.0
QUESTIONS_PER_WORLD = 8
LEVELS = (1, 2, 3, 4)
NOVEL_SHARE = 0.35
"""Of the questions of levels 3 and 4, how many try for a step combination kept out of training."""

SEEDS: dict[tuple[BenchSplit, Tier], range] = {
    ("val", "cell"): range(1_000_000, 1_000_040),
    ("val", "wild"): range(1_100_000, 1_100_020),
    ("test", "cell"): range(2_000_000, 2_000_100),
    ("test", "wild"): range(2_100_000, 2_100_050),
}

HASHES: dict[tuple[BenchSplit, Tier], str] = {
    ("val", "cell"): "c877e0d372ca295c81f5c435b3d14ba299cb8cd772ca6095b7ad014fd551c24d",
    ("val", "wild"): "8935ebbfac2a51decb06c2434787774e0b9953dee7aceac433ed06557c6ebb20",
    ("test", "cell"): "d6401ab3bd401c95c19f2b0186348af2be895fd331b0a5b3868260b7fb644842",
    ("test", "wild"): "0567cbb026e7ea7715bb946ad127c0e3e3622b182ff925a95bdf85609be8c2f3",
}


@dataclass(frozen=True, slots=True)
class Item:
    """One question of the benchmark; the world is rebuilt from ``seed`` and ``tier``."""

    id: str
    split: BenchSplit
    tier: Tier
    seed: int
    question: Question


def window_of(seed: int, tier: Tier, render: bool = True) -> TwinWindow:
    """The true twin of a benchmark world: 4 s at 8 frames/s, 256×256.

    Raises:
        MissingExtraError: with ``render`` and without MuJoCo.
    """
    from .sim.truth import true_window
    from .sim.worlds import World

    return true_window(World(seed, tier), fps=FPS, seconds=SECONDS, render=render)


def load(split: BenchSplit, tier: Tier = "cell") -> list[Item]:
    """The frozen items of a split, in order.

    Raises:
        InputError: for an unknown split or tier, or a list that is missing or was altered.
    """
    path = _path(split, tier)
    if (split, tier) not in SEEDS or not path.exists():
        raise InputError(
            f"expected split 'val' or 'test' and tier 'cell' or 'wild', got {split!r}, {tier!r}"
        )
    data = path.read_bytes()
    found = hashlib.sha256(data).hexdigest()
    if found != HASHES.get((split, tier)):
        raise InputError(
            f"expected {path.name} with SHA-256 {HASHES.get((split, tier))}, got {found}; "
            "restore the file, or regenerate the benchmark as a new version"
        )
    return [_item(json.loads(line)) for line in data.decode().splitlines()]


def generate(split: BenchSplit, tier: Tier, seeds: range | None = None) -> list[Item]:
    """Draw the items anew (deterministic in the seeds and the generator's version)."""
    cells: list[tuple[Category, int]] = [(c, level) for c in CATEGORIES for level in LEVELS]
    asked: Counter[tuple[Category, int]] = Counter()
    wordings: Counter[str] = Counter()
    items: list[Item] = []
    for seed in SEEDS[split, tier] if seeds is None else seeds:
        rng = random.Random(f"twinbench {split} {tier} {seed}")
        vocabulary = CELL if tier == "cell" else WILD
        maker = Maker(window_of(seed, tier), rng, split, vocabulary)
        made = 0
        order = sorted(cells, key=lambda cell: (asked[cell], rng.random()))
        for category, level in order * 2:
            if made == QUESTIONS_PER_WORLD:
                break
            unseen = wordings["unseen"] <= wordings["seen"]
            novel = level >= 3 and rng.random() < NOVEL_SHARE
            question = maker.make(category, level, unseen, novel)
            if question is None:
                continue
            items.append(Item(f"{split}-{tier}-{seed}-{made}", split, tier, seed, question))
            asked[category, level] += 1
            wordings[question.wording] += 1
            made += 1
    return items


def _path(split: str, tier: str) -> Path:
    return Path(__file__).parent / "sim" / f"twinbench_{split}_{tier}.json"


def _item(record: dict[str, Any]) -> Item:
    question = record["question"]
    question["families"] = tuple(question["families"])
    question["ids"] = tuple(question["ids"])
    return Item(**{**record, "question": Question(**question)})


def _lines(items: list[Item]) -> bytes:
    lines = (json.dumps(dataclasses.asdict(i), separators=(",", ":")) for i in items)
    return ("\n".join(lines) + "\n").encode()


def _freeze() -> None:
    """Write all lists and print the table of hashes."""
    for split, tier in SEEDS:
        data = _lines(generate(split, tier))
        _path(split, tier).write_bytes(data)
        print(f'    ("{split}", "{tier}"): "{hashlib.sha256(data).hexdigest()}",')
        print(f"{split} {tier}: {len(data.splitlines())} items", file=sys.stderr)


if __name__ == "__main__":
    _freeze()
