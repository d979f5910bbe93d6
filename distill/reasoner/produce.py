"""Training data for the reasoner, made ahead of the training loop by a process of its own.

Chunk i holds the questions of worlds ``100 i … 100 i + 99``: three quarters cell, one quarter
wild; half of the twins carries perception's noise; one in six is a still picture and one in
four a part of its clip; of one in seven only some nouns were looked for, and one in ten has its
oldest moments summed up. For three worlds in five the busier of two is taken, since before, after
and during need several events. ``python -m edgetwin.distill.reasoner.produce runs/data/reasoner/train``
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from pathlib import Path

from ...reasoner.prompts import looked_for
from ...twin.errors import InputError
from ...twin.text import MAX_MOMENTS, Layout, describe
from ...twin.window import TwinWindow
from ..sim.catalogue import CELL, WILD, Tier
from ..sim.questions.chains import plan_json
from ..sim.questions.generate import questions, scene_of
from ..sim.questions.mixed import Asked, Mixer
from ..sim.questions.noise import noisy_window
from ..sim.questions.programs import MEASURES
from ..sim.questions.restricted import restricted
from ..sim.truth import true_window
from ..sim.worlds import World
from .probes import VAL_SEED, Probe, probes
from .records import Example, Question, chunk_path, chunks, write
from .score import HeldOut

__all__ = [
    "CHUNK",
    "LAYOUT",
    "TURNS",
    "example",
    "nouns_of",
    "plain_validation",
    "produce",
    "start",
    "training_window",
    "validation",
    "wait",
]

CHUNK = 100  # twins in a chunk: about fifteen seconds of work
PER_TWIN = 24
_SPARE_SEEDS = 500_000
_BUSY_SHARE = 0.6
_WILD_SHARE, _NOISY_SHARE, _STILL_SHARE, _PART_SHARE = 0.25, 1 / 2, 1 / 6, 1 / 4
LEVELS = (1, 1, 2, 2, 3, 3, 4, 4)
LAYOUT: Layout = "compact"  # of the twin's text
TURNS = 1  # earlier questions in a prompt
_RESTRICTED_SHARE, _SUMMED_SHARE = 0.15, 0.1


def training_window(seed: int) -> TwinWindow:
    """The twin of a training world, as described above; deterministic in the seed."""
    rng = random.Random(f"reasoner {seed}")
    tier: Tier = "wild" if rng.random() < _WILD_SHARE else "cell"
    window = true_window(World(seed, tier), render=False)
    if rng.random() < _BUSY_SHARE:
        other = true_window(World(seed + _SPARE_SEEDS, tier), render=False)
        window = max(window, other, key=lambda w: len(scene_of(w).busy))
    draw = rng.random()
    if draw < _STILL_SHARE:
        window = TwinWindow([rng.choice(window.frames)])
    elif draw < _STILL_SHARE + _PART_SHARE:
        first = rng.randrange(len(window) // 2)
        window = TwinWindow(window.frames[first : first + rng.randint(6, len(window) - first)])
    if rng.random() < _NOISY_SHARE:
        window = noisy_window(window, rng, nouns=CELL if tier == "cell" else WILD)
    return window


def example(seed: int, count: int = PER_TWIN) -> Example | None:
    """A training world's questions; None if its window holds too little to ask about."""
    window = training_window(seed)
    if len(window.ids()) < 2:
        return None
    rng = random.Random(f"questions {seed}")
    part = restricted(window, rng, nouns_of(window)) if rng.random() < _RESTRICTED_SHARE else None
    asked = Mixer(part or window, rng).several(count, LEVELS)
    items = tuple(as_record(one) for one in asked)
    return Example(seed, twin_text(part.shown if part else window, rng), items) if items else None


def twin_text(window: TwinWindow, rng: random.Random) -> str:
    """The twin as the prompt has it, at times with its oldest moments summed up."""
    moments = rng.randint(0, 3) if rng.random() < _SUMMED_SHARE else MAX_MOMENTS
    return describe(window, LAYOUT, max_moments=moments) + looked_for(window.vocabulary)


def nouns_of(window: TwinWindow) -> tuple[str, ...]:
    """All nouns of the tier that the window's labels are from."""
    labels = {window.latest(i).semantic_label for i in window.ids()}
    return CELL if labels <= set(CELL) else WILD


def as_record(asked: Asked) -> Question:
    """A generated question as training text."""
    return Question(
        asked.text,
        asked.rationale,
        plan_json(asked.plan),
        asked.results,
        asked.answer_ref,
        asked.level,
        asked.mode,
        asked.description,
        asked.turns,
    )


def produce(folder: Path, last_chunk: int) -> None:
    """Write the chunks that are not there yet, up to ``last_chunk``."""
    for number in range(last_chunk):
        path = chunk_path(folder, number)
        if not path.exists():
            seeds = range(number * CHUNK, (number + 1) * CHUNK)
            write(path, [made for seed in seeds if (made := example(seed)) is not None])


def start(folder: Path, last_chunk: int = 60) -> subprocess.Popen[bytes] | None:
    """Run :func:`produce` in the background; None if every chunk is there."""
    if len(chunks(folder)) >= last_chunk:
        return None
    command = [sys.executable, "-m", __name__, str(folder), str(last_chunk)]
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "produce.log").open("ab") as log:
        return subprocess.Popen(command, stdout=log, stderr=log)


def wait(folder: Path, count: int, seconds: float = 300.0) -> None:
    """Wait until ``count`` chunks are there.

    Raises:
        InputError: if they do not come in time.
    """
    deadline = time.monotonic() + seconds
    while len(chunks(folder)) < count:
        if time.monotonic() > deadline:
            raise InputError(
                f"expected {count} chunks in {folder} within {seconds:g} s, "
                f"got {len(chunks(folder))}; see produce.log there"
            )
        time.sleep(0.5)


def validation(worlds: int = 40, per_world: int = 8, tier: Tier = "cell") -> list[HeldOut]:
    """Held-out questions on true twins of validation worlds.

    Groups: those of :func:`plain_validation` (all concise), and those of :mod:`.probes`.
    """
    found = plain_validation(worlds, per_world, tier)
    return [*found, *(_held_out(probe) for probe in probes(worlds, tier, parts=4))]


def plain_validation(worlds: int = 40, per_world: int = 8, tier: Tier = "cell") -> list[HeldOut]:
    """Questions that stand alone: ``seen`` wording and composition, ``wording`` unseen,
    ``composition`` unseen."""
    found = []
    for seed in range(VAL_SEED, VAL_SEED + worlds):
        window = true_window(World(seed, tier), render=False)
        for asked in questions(window, random.Random(f"val {seed}"), per_world, split="val"):
            group = "composition" if asked.composition == "unseen" else "seen"
            group = "wording" if asked.wording == "unseen" else group
            found.append(HeldOut(window, asked.text, asked.ids, asked.level, group))
    return found


def _held_out(probe: Probe) -> HeldOut:
    asked, part = probe.asked, probe.part
    measured = asked.program.op in MEASURES and asked.answer_ref != "none"
    return HeldOut(
        probe.window,
        asked.text,
        asked.ids if asked.answer_ref != "none" else (),
        asked.level,
        probe.group,
        asked.mode,
        asked.turns,
        None if part is None else part.whole,
        asked.value if measured else None,
    )


if __name__ == "__main__":
    os.nice(15)  # the training loop is waited for, this is not
    produce(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 60)
