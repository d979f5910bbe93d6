"""Scores a bundle as a device would run it, and compares the answers of two precisions.

::

    python -m edgetwin.distill.reasoner.check reasoner/weights/embedded --against out/fp32 --limit 160

Every question of TwinBench goes through the real rollout (grammar, tools, budgets) on the true
twin of its world. ``--quick`` uses the analytic twins, which need no rendering; a few answers
differ there from the frozen ones.
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from statistics import mean, median
from typing import Any

from ...reasoner.answer import Answer
from ...reasoner.models.ort_genai import OrtGenAiModel
from ...reasoner.rollout import Reasoner
from ...twin.window import TwinWindow
from ..twinbench import Item, load, window_of

__all__ = ["answers", "compare", "table"]


def answers(
    bundle: Path | str, items: Sequence[Item], windows: dict[tuple[int, str], TwinWindow]
) -> list[Answer]:
    """One answer per item."""
    reasoner = Reasoner(OrtGenAiModel(bundle))
    return [reasoner.answer(i.question.text, windows[i.seed, i.tier]) for i in items]


def table(items: Sequence[Item], given: Sequence[Answer]) -> dict[str, Any]:
    """Exact-id shares per level, wording and composition, tokens and milliseconds per answer."""
    rows: dict[str, list[bool]] = defaultdict(list)
    for item, answer in zip(items, given, strict=True):
        asked = item.question
        right = _right(item, answer)
        seen = asked.wording == "seen" and asked.composition == "seen"
        for row in (
            "all",
            f"L{asked.level}",
            f"L{asked.level} {'seen' if seen else 'unseen'}",
            f"wording {asked.wording}",
            f"composition {asked.composition}",
        ):
            rows[row].append(right)
    generated = [sum(a.tokens.get(k, 0) for k in ("rationale", "plan", "answer")) for a in given]
    shares: dict[str, Any] = {k: [round(mean(v), 4), len(v)] for k, v in sorted(rows.items())}
    return shares | {
        "rationale tokens": round(mean(a.tokens.get("rationale", 0) for a in given), 1),
        "generated tokens": round(mean(generated), 1),
        "prompt tokens": round(mean(a.tokens.get("prompt", 0) for a in given), 1),
        "ms median": round(median(a.ms["total"] for a in given), 1),
        "errors": sum(a.status in ("error", "partial") for a in given),
        "warned": sum("does not know" in a.message for a in given),
    }


def compare(
    items: Sequence[Item], one: Sequence[Answer], other: Sequence[Answer]
) -> dict[str, int]:
    """How many answers differ, and how many are right in one of the two only."""
    pairs = list(zip(items, one, other, strict=True))
    return {
        "differ": sum(set(a.ids) != set(b.ids) for _, a, b in pairs),
        "right in the first only": sum(_right(i, a) and not _right(i, b) for i, a, b in pairs),
        "right in the second only": sum(_right(i, b) and not _right(i, a) for i, a, b in pairs),
    }


def _right(item: Item, answer: Answer) -> bool:
    return answer.status not in ("error", "partial") and set(answer.ids) == set(item.question.ids)


def main() -> None:
    """Command line of the check."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--against", type=Path)
    parser.add_argument("--split", choices=("val", "test"), default="val")
    parser.add_argument("--tier", choices=("cell", "wild"), default="cell")
    parser.add_argument("--limit", type=int)
    parser.add_argument("--quick", action="store_true")
    args = parser.parse_args()
    items = load(args.split, args.tier)[: args.limit]
    worlds = {(i.seed, i.tier) for i in items}
    windows = {
        (seed, str(tier)): window_of(seed, tier, render=not args.quick) for seed, tier in worlds
    }
    given = answers(args.bundle, items, windows)
    report = table(items, given)
    if args.against is not None:
        others = answers(args.against, items, windows)
        report |= {"against": table(items, others), **compare(items, given, others)}
    print(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
