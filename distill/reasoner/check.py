"""Scores a reasoner's folder before it is shipped, with the code that a device runs.

::

    python -m edgetwin.distill.reasoner.check out/candidate
    python -m edgetwin.distill.reasoner.check out/candidate --against reasoner/weights/embedded

Every question of TwinBench goes through the real rollout (grammar, tools, budgets) on the true
twin of its world and on a noisy copy of it, then the kinds of questions that TwinBench lacks
(:mod:`.probes`: modes, follow-ups, numbers and times, restricted twins; validation worlds only);
``edgetwin eval twinbench`` does the same for whole
model sets, ``edgetwin eval precision`` compares int4 and float32.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

from ...reasoner.models.opening import open_model
from ...reasoner.rollout import Reasoner
from ...twin.window import TwinWindow
from ..evaluate.reasoner import Judged, judge, noisy_questions, reasoner_figures
from ..evaluate.report import Table, show
from ..evaluate.worlds import rendered_world
from ..sim.catalogue import Tier
from ..sim.questions import Question
from ..twinbench import BenchSplit, load
from .probes import Found, ask, probe_table, probes

__all__ = ["asked", "comparison", "score"]

Pair = tuple[Question, TwinWindow]


def asked(
    split: BenchSplit, tier: Tier, worlds: int | None, cache: Path
) -> tuple[list[Pair], list[Pair]]:
    """The questions of the first ``worlds`` worlds on true and on noisy twins."""
    by_world = [(s, list(i)) for s, i in groupby(load(split, tier), key=lambda item: item.seed)]
    true: list[Pair] = []
    noisy: list[Pair] = []
    for seed, items in by_world[:worlds]:
        window = rendered_world(seed, tier, cache).window
        questions = [item.question for item in items]
        true += [(question, window) for question in questions]
        noisy += noisy_questions(questions, window, seed, tier)
    return true, noisy


def score(folder: Path, pairs: Sequence[Pair]) -> list[Judged]:
    """A folder's answers, judged."""
    return judge(Reasoner(open_model(str(folder))), pairs)


def comparison(judged: dict[str, Sequence[Judged]], title: str) -> Table:
    """Share of exact ids per group of questions, one column per name."""
    figures = {name: reasoner_figures(found)["groups"] for name, found in judged.items()}
    groups = dict.fromkeys(group for found in figures.values() for group in found)
    first = next(iter(figures.values()))
    rows = tuple(
        (
            group,
            first.get(group, {}).get("count"),
            *(found.get(group, {}).get("exact") for found in figures.values()),
        )
        for group in groups
    )
    return Table(title, ("questions", "count", *figures), rows)


def main() -> None:
    """Command line of the check."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--against", type=Path, help="another folder, asked the same")
    parser.add_argument("--split", choices=("val", "test"), default="val")
    parser.add_argument("--tier", choices=("cell", "wild"), default="cell")
    parser.add_argument("--worlds", type=int, help="only the first ones")
    parser.add_argument("--probes", type=int, default=40, help="validation worlds for the rest")
    parser.add_argument("--cache", type=Path, default=Path("runs/twinbench"))
    args = parser.parse_args()
    true, noisy = asked(args.split, args.tier, args.worlds, args.cache)
    judged: dict[str, Sequence[Judged]] = {}
    found: dict[str, Sequence[Found]] = {}
    for folder in filter(None, (args.folder, args.against)):
        judged[f"{folder.name}, true twins"] = score(folder, true)
        judged[f"{folder.name}, noisy twins"] = score(folder, noisy)
        reasoner = Reasoner(open_model(str(folder)))
        asked_of = probes(args.probes, args.tier)
        found[folder.name] = [ask(reasoner, probe) for probe in asked_of]
    show(
        [
            comparison(judged, f"Exact ids, TwinBench {args.split}, {args.tier} tier"),
            probe_table(found, "Exact answers to held-out questions of the other kinds"),
        ]
    )


if __name__ == "__main__":
    main()
