"""From all rollouts to the chains worth learning, and what share they are.

A chain is kept if it answered, its mask IoU is above the limit, no result is misread when it is
written back in the form of the training data (at most one plan; reason, description, plan, results,
answer, explanation in this order), and the same chain was not kept for the same question before.

Not covered: choosing among several right chains of a question; all that differ are kept.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from ...reasoner.protocol import EOS, blocks
from ...twin.errors import ProtocolError
from ..reasoner.records import Example, Question, pieces

__all__ = ["Line", "keep", "question_of"]

_MOST = 32  # questions of one twin in an example: what the packed loop holds at once
_AGAIN = "said before"
Line = Mapping[str, Any]


def question_of(line: Line) -> Question | None:
    """A rollout's line as training text; None if that form does not hold it exactly."""
    try:
        found = blocks(line["text"])
    except ProtocolError:
        return None
    bodies = {block.tag: block.body for block in found}
    if len(bodies) < len(found) or "answer" not in bodies:
        return None
    made = Question(
        line["question"],
        bodies.get("reason", ""),
        bodies.get("plan", ""),
        bodies.get("results", ""),
        bodies["answer"],
        line["level"],
        line["mode"],
        bodies.get("describe", ""),
        tuple((asked, tuple(ids)) for asked, ids in line["turns"]),
        bodies.get("explain", ""),
    )
    again = "".join(text for text, _ in pieces(made))
    return made if again.removesuffix(EOS) == line["text"].removesuffix(EOS) else None


def keep(
    lines: Iterable[Line], twins: Mapping[str, Line], keep_iou: float, path: Path
) -> dict[str, Any]:
    """Write the kept chains as examples, a twin with its questions, and say how many they are.

    Args:
        lines: all rollouts (``chains.jsonl``), those of one twin next to each other.
        twins: ``seed`` and ``text`` of the twins by digest.
        keep_iou: chains with a mask IoU above this are kept.
        path: the file to write; it appears under its name only when it is complete.

    Returns:
        The report: ``asked``, ``answered``, ``accepted`` (IoU and form), ``acceptance`` (their
        share), ``kept`` (each chain once per question), ``mean_iou`` (of all asked; without an answer it is 0), ``mean_tokens`` (of what was answered),
        ``mean_tokens_kept``, ``endings``, ``left_out`` (why answered chains were not kept),
        ``by_level``, ``leaks``, ``examples``.
    """
    everything, levels = _Count(), dict[int, _Count]()
    left: Counter[str] = Counter()
    partial, written = path.with_suffix(".part"), 0
    sha, seen = "", set[tuple[Any, ...]]()
    items: list[Question] = []
    with partial.open("w", encoding="utf-8") as file:

        def write() -> int:
            if items:
                twin = twins[sha]
                example = Example(twin["seed"], twin["text"], tuple(items))
                file.write(json.dumps(asdict(example), separators=(",", ":")) + "\n")
                items.clear()
                return 1
            return 0

        for line in lines:
            if line["twin"] != sha or len(items) == _MOST:
                written += write()
            if line["twin"] != sha:
                sha, seen = line["twin"], set()
            made, why = _made(line, keep_iou, seen)
            if made is not None:
                items.append(made)
            elif line["ending"] == "answered":
                left[why] += 1
            for count in (everything, levels.setdefault(line["level"], _Count())):
                count.take(line, made is not None, why in ("", _AGAIN))
        written += write()
    partial.replace(path)
    return {
        **everything.report(),
        "leaks": everything.endings["leak"],
        "endings": dict(sorted(everything.endings.items())),
        "left_out": dict(sorted(left.items())),
        "by_level": {str(level): levels[level].report() for level in sorted(levels)},
        "keep_iou": keep_iou,
        "examples": written,
    }


def _made(line: Line, keep_iou: float, seen: set[tuple[Any, ...]]) -> tuple[Question | None, str]:
    """The chain to keep, or why it is not kept."""
    if line["ending"] != "answered" or line["iou"] <= keep_iou:
        return None, "iou"
    made = question_of(line)
    if made is None:
        return None, "form"
    same = (made.question, made.mode, made.turns, line["text"])
    if same in seen:
        return None, _AGAIN
    seen.add(same)
    return made, ""


@dataclass(slots=True)
class _Count:
    """Sums over rollouts."""

    endings: Counter[str] = field(default_factory=Counter)
    accepted: int = 0
    kept: int = 0
    iou: float = 0.0
    tokens: Counter[str] = field(default_factory=Counter)
    tokens_kept: Counter[str] = field(default_factory=Counter)

    def take(self, line: Line, kept: bool, accepted: bool) -> None:
        """Count a line."""
        self.endings[line["ending"]] += 1
        self.accepted += accepted
        self.kept += kept
        self.iou += line["iou"]
        if line["ending"] == "answered":
            self.tokens.update(line["tokens"])
        if kept:
            self.tokens_kept.update(line["tokens"])

    def report(self) -> dict[str, Any]:
        """Shares and means; questions that leak were not asked."""
        asked = sum(self.endings.values()) - self.endings["leak"]
        answered = self.endings["answered"]
        return {
            "asked": asked,
            "answered": answered,
            "accepted": self.accepted,
            "acceptance": _mean(self.accepted, asked),
            "kept": self.kept,
            "mean_iou": _mean(self.iou, asked),
            "mean_tokens": {k: _mean(v, answered) for k, v in sorted(self.tokens.items())},
            "mean_tokens_kept": {
                k: _mean(v, self.kept) for k, v in sorted(self.tokens_kept.items())
            },
        }


def _mean(total: float, count: int) -> float:
    return round(total / count, 6) if count else 0.0
