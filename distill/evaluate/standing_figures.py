"""What came of watching wishes, in figures: precision, recall, delay, and whose fault it was.

Not covered: spreads over worlds; a few hundred events give the second digit.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from .report import Table
from .standing import CREATED_S, SETTINGS, Raised, Watched

__all__ = ["TOLERANCE_S", "figures_of", "matched", "record_of", "standing_tables"]

TOLERANCE_S = 2.0


def matched(truth: Sequence[Raised], raised: Sequence[Raised]) -> list[tuple[int, int]]:
    """Pairs (place in ``truth``, place in ``raised``) of the same object, the closest first."""
    pairs = sorted(
        (abs(a.at_s - b.at_s), i, j)
        for i, a in enumerate(truth)
        for j, b in enumerate(raised)
        if a.key == b.key and abs(a.at_s - b.at_s) <= TOLERANCE_S
    )
    found: list[tuple[int, int]] = []
    for _, i, j in pairs:
        if all(i != a and j != b for a, b in found):
            found.append((i, j))
    return found


def _figures(watched: Sequence[Watched], setting: str) -> dict[str, Any]:
    true = raised = right = 0
    delays: list[float] = []
    blame = {"missed": {"compilation": 0, "perception": 0}, "false": {"compilation": 0, "perception": 0}}  # fmt: skip
    for one in watched:
        events, plain = one.events[setting], one.events[SETTINGS[0]]
        pairs = matched(one.truth, events)
        true, raised, right = true + len(one.truth), raised + len(events), right + len(pairs)
        delays += [events[j].at_s - one.truth[i].at_s for i, j in pairs]
        if setting == SETTINGS[2]:
            _blame(one, events, plain, pairs, blame)
    figures: dict[str, Any] = {
        "wishes": len(watched),
        "true": true,
        "raised": raised,
        "right": right,
        "precision": right / raised if raised else None,
        "recall": right / true if true else None,
    }
    for name, share in (("delay_p50_s", 50), ("delay_p95_s", 95)):
        figures[name] = float(np.percentile(delays, share)) if delays else None
    return {**figures, "fault": blame} if setting == SETTINGS[2] else figures


def _blame(
    one: Watched,
    events: Sequence[Raised],
    plain: Sequence[Raised],
    pairs: Sequence[tuple[int, int]],
    blame: dict[str, dict[str, int]],
) -> None:
    """Count who missed what, and who raised what was none."""
    on_truth = matched(one.truth, plain)
    hit, known = {i for i, _ in pairs}, {i for i, _ in on_truth}
    for i in range(len(one.truth)):
        if i not in hit:
            blame["missed"]["perception" if i in known else "compilation"] += 1
    false = [e for j, e in enumerate(events) if j not in {j for _, j in pairs}]
    also = [e for j, e in enumerate(plain) if j not in {j for _, j in on_truth}]
    shared = len(matched(also, false))
    blame["false"]["compilation"] += shared
    blame["false"]["perception"] += len(false) - shared


def figures_of(watched: Sequence[Watched]) -> dict[str, Any]:
    """Everything: per setting, per kind of wish, per wording, and the share of exact plans."""
    kinds = sorted({one.wish.kind for one in watched})
    wordings = {"seen wordings": False, "held-out wordings": True}
    return {
        "settings": {name: _figures(watched, name) for name in SETTINGS},
        "kinds": {
            kind: {
                "exact_plans": _exact([w for w in watched if w.wish.kind == kind]),
                **_figures([w for w in watched if w.wish.kind == kind], SETTINGS[2]),
            }
            for kind in kinds
        },
        "wordings": {
            name: {
                "exact_plans": _exact(chosen),
                **{s: _figures(chosen, s) for s in (SETTINGS[0], SETTINGS[2])},
            }
            for name, held in wordings.items()
            if (chosen := [w for w in watched if w.wish.held == held])
        },
        "exact_plans": _exact(watched),
        "compilations": float(np.mean([w.compiled for w in watched])) if watched else None,
        "created_s": CREATED_S,
        "tolerance_s": TOLERANCE_S,
    }


def _exact(watched: Sequence[Watched]) -> float | None:
    return float(np.mean([w.exact for w in watched])) if watched else None


def standing_tables(watched: Sequence[Watched], where: str) -> list[Table]:
    """Precision, recall and delay per setting, per kind, per wording."""
    figures = figures_of(watched)
    keys = (
        "wishes",
        "true",
        "raised",
        "right",
        "precision",
        "recall",
        "delay_p50_s",
        "delay_p95_s",
    )
    names = (
        "wishes",
        "true events",
        "raised",
        "right",
        "precision",
        "recall",
        "delay p50 s",
        "p95 s",
    )
    note = (
        f"right: the same object within {TOLERANCE_S:g} s of a true event; delay: after the event "
        "on the true twins by the plan that was meant; exact: the plan that was meant, step by step"
    )
    settings = figures["settings"].items()
    fault = figures["settings"][SETTINGS[2]]["fault"]
    return [
        Table(
            f"Events of standing questions, {where}",
            ("setting", *names),
            tuple((name, *(row[key] for key in keys)) for name, row in settings),
            (note,),
        ),
        Table(
            f"Whose fault, {SETTINGS[2]}, {where}",
            ("events", "compilation", "perception"),
            tuple(
                (f"{what}", row["compilation"], row["perception"]) for what, row in fault.items()
            ),
        ),
        Table(
            f"By kind, {SETTINGS[2]}, {where}",
            ("kind", "exact plans", *names),
            tuple(
                (kind, row["exact_plans"], *(row[key] for key in keys))
                for kind, row in figures["kinds"].items()
            ),
        ),
        Table(
            f"By wording, {where}",
            ("wording", "exact plans", *names),
            tuple(
                (f"{name}: {setting}", row["exact_plans"], *(row[setting][key] for key in keys))
                for name, row in figures["wordings"].items()
                for setting in (SETTINGS[0], SETTINGS[2])
            ),
        ),
    ]


def record_of(one: Watched) -> dict[str, Any]:
    """A wish with its events as plain values, for the JSON."""
    return {
        "seed": one.seed,
        "kind": one.wish.kind,
        "text": one.wish.text,
        "held": one.wish.held,
        "meant": one.wish.rule.plan,
        "plan": one.plan,
        "exact": one.exact,
        "truth": [(e.at_s, e.key) for e in one.truth],
        "events": {name: [(e.at_s, e.key) for e in events] for name, events in one.events.items()},
    }
