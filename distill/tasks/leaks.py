"""What must not be trained on: worlds, wordings and step combinations of the benchmark's validation
and test, and pictures and videos that data sets evaluate on.

A task leaks if

1. its world is none of training: TwinBench's validation and test worlds, every other seed from
   1,000,000 on, and 500,000 to 999,999, since training may take the spare world 500,000 further on;
2. its question, or an earlier one in its prompt, has the words of a question of TwinBench (case,
   punctuation and articles aside), whatever the world;
3. it is a generated one and holds a phrasing kept for validation or test (:mod:`.wordings`);
4. the program of its reference is a step combination kept for validation or test;
5. it is of a split that its data set evaluates on, or its picture or video is in one. COCO
   pictures count as one collection: RefCOCO, RefCOCO+, RefCOCOg and LLM-Seg40K share them. (Of a
   data set read through a mapping file only ``held`` tells.)

The frozen test questions are read here for equality alone. Of 3,205 generated training questions
13 are refused (phrasings that two training phrasings happen to form together); of newly worded
questions with a held-out phrasing 80 % are recognised by rule 3 alone.

Not covered: the same video in data sets of other names, pictures that were cut or renamed,
paraphrases in other words, colour and category pairs (rule 1 covers those of its worlds).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from ...twin.errors import InputError
from .. import twinbench
from ..datasets import reasonseg, refcoco, revos
from ..datasets.choose import DATASETS, dataset_of, read_dataset
from ..datasets.refcoco import RefName
from ..sim.questions.families import held_out_skeleton
from ..sim.questions.programs import level_of, skeleton_of
from .compositions import program_of
from .task import Task, Tasks
from .wordings import held_out_phrasing, plain_words

__all__ = [
    "FIRST_SPARE",
    "GENERATED",
    "LeakReport",
    "Subset",
    "held_pictures",
    "leak_of",
    "picture_of",
    "without_leaks",
]

FIRST_SPARE = 500_000
"""World seeds from here on are not for tasks."""
GENERATED = "worlds"
"""The source of tasks that the generator made."""

_WORLD = re.compile(r"(?:^|/)worlds/(\d+)(?:/|$)")
_BENCH = re.compile(r"^(?:val|test)-(?:cell|wild)-\d+-\d+$|^validation/")
_COCO = re.compile(r"^(?:COCO_(?:train|val)\d{4}_)?0*(\d{1,12})\.jpg$")
_VIDEOS = ("revos", "mevis")
_NO_PICTURES: frozenset[str] = frozenset()


@dataclass(slots=True)
class LeakReport:
    """How many tasks were kept, and why the others were not; the first few of them by key."""

    kept: int = 0
    refused: Counter[str] = field(default_factory=Counter)
    examples: dict[str, str] = field(default_factory=dict)


class Subset(Tasks):
    """Some of a sequence's tasks, still read one at a time."""

    def __init__(self, tasks: Sequence[Task], places: Sequence[int]) -> None:
        self._tasks, self._places = tasks, places

    def __len__(self) -> int:
        return len(self._places)

    def at(self, place: int) -> Task:
        """See :class:`~.task.Tasks`."""
        return self._tasks[self._places[place]]


def without_leaks(
    tasks: Sequence[Task], held: frozenset[str] = _NO_PICTURES
) -> tuple[Subset, LeakReport]:
    """The tasks that may be trained on, and a report; every task is read once.

    ``held`` are pictures and videos of evaluations (:func:`held_pictures`).
    """
    report = LeakReport()
    places = []
    for place, task in enumerate(tasks):
        why = leak_of(task, held)
        if why is None:
            places.append(place)
            continue
        reason = why.partition(":")[0]
        report.refused[reason] += 1
        if len(report.examples) < 20:
            report.examples[task.key] = why
    report.kept = len(places)
    return Subset(tasks, places), report


def leak_of(task: Task, held: frozenset[str] = _NO_PICTURES) -> str | None:
    """Why a task must not be trained on (``rule: what``), or None.

    A task whose key names no world is judged by its words, its program and its pictures.
    """
    return (
        _world(task.key)
        or _asked(task)
        or (_phrased(task) if task.source == GENERATED else None)
        or _composed(task)
        or _pictured(task, held)
    )


def held_pictures(name: str, root: str | Path) -> frozenset[str]:
    """Pictures or videos of every evaluation split of a data set that is there, as
    :func:`picture_of` names them.

    For the three RefCOCOs those of all three below the same folder. A split whose files are
    missing is left out, since it cannot leak what nobody has.

    Raises:
        InputError: for an unknown data set.
    """
    held_out = dataset_of(name).held_out
    if name in refcoco.SPLITS:
        found = [p for other in refcoco.SPLITS for p in _held_references(other, root)]
        return frozenset(found)
    held: set[str] = set()
    for split in held_out:
        try:
            held.update(_names(name, root, split))
        except InputError:
            continue
    return frozenset(held)


def picture_of(dataset: str, group: str) -> str:
    """One name for a picture or video, whichever data set names it.

    ``COCO_train2014_000000000009.jpg`` and ``coco/000000000009.jpg`` are both ``coco/9``.
    """
    file = group.rpartition("/")[2]
    coco = _COCO.match(file)
    if coco is not None and (dataset in refcoco.SPLITS or group.startswith("coco/")):
        return f"coco/{coco[1]}"
    return f"{dataset}/{group}"


# ---- the rules


def _world(key: str) -> str | None:
    if _BENCH.match(key):
        return f"world: {key} is a question of validation or test"
    found = _WORLD.search(key)
    seed = int(found[1]) if found else 0
    if seed < FIRST_SPARE:
        return None
    for (split, tier), seeds in twinbench.SEEDS.items():
        if seed in seeds or seed + FIRST_SPARE in seeds:
            return f"world: seed {seed} leads to TwinBench's {split} ({tier})"
    return f"world: seed {seed} is not below {FIRST_SPARE}; those are kept for validation and test"


def _asked(task: Task) -> str | None:
    frozen = _frozen_texts()
    for text in (task.question, *(asked for asked, _ in task.turns)):
        split = frozen.get(plain_words(text))
        if split is not None:
            return f"question: it has the words of one of TwinBench's {split}"
    return None


@cache
def _frozen_texts() -> dict[str, str]:
    """The words of every frozen question -> its split; for equality alone."""
    return {
        plain_words(item.question.text): split
        for split, tier in twinbench.SEEDS
        for item in twinbench.load(split, tier)
    }


def _phrased(task: Task) -> str | None:
    for text in (task.question, *(asked for asked, _ in task.turns)):
        family = held_out_phrasing(text)
        if family is not None:
            return f"wording: phrasing {family.id} is kept for {family.split}"
    return None


def _composed(task: Task) -> str | None:
    program = None if task.reference is None else program_of(task.reference)
    if program is None:
        return None
    split = held_out_skeleton(skeleton_of(program), level_of(program))
    if split == "train":
        return None
    return f"composition: {skeleton_of(program)} is kept for {split}"


def _pictured(task: Task, held: frozenset[str]) -> str | None:
    if task.source == GENERATED:
        return None
    parts = task.key.split("/")
    known = DATASETS.get(task.source)
    if known is not None and len(parts) > 1 and parts[1] in known.held_out:
        return f"split: {task.source} evaluates on {parts[1]}"
    name = picture_of(task.source, _group(task, parts))
    return f"picture: {name} is in a split that is evaluated on" if name in held else None


def _group(task: Task, parts: Sequence[str]) -> str:
    """The picture or video as the reader's ``Sample.group`` names it."""
    if task.source in _VIDEOS:
        return "/".join(parts[2:-2])
    if task.source == "llmseg40k":
        folder = Path(task.pictures or "").parts[-3:-2]
        return f"{folder[0] if folder else ''}/{Path(task.pictures or '').name}"
    return Path(task.pictures or "").name


def _names(name: str, root: str | Path, split: str) -> set[str]:
    if name in _VIDEOS:
        return {picture_of(name, video) for video in revos.videos(root, name, split)}
    if name == "reasonseg":
        return {picture_of(name, file) for file in reasonseg.pictures(root, split)}
    samples = read_dataset(name, root, split)
    return {picture_of(sample.dataset, sample.group) for sample in samples}


def _held_references(name: RefName, root: str | Path) -> set[str]:
    try:
        ids = refcoco.picture_ids(root, name)
    except InputError:
        return set()  # nobody can train on what is not there
    return {f"coco/{i}" for split, found in ids.items() if split != "train" for i in found}
