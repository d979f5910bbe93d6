"""The rows of FastReasonSeg's table 3 at embedded scale, and two other papers' modes, as data.

Every row is the base recipes (``distill/recipes/ablation``) with changes. Students begin at a base
model of two million parameters (``distill/recipes/base``), which stands for the pretrained language
model that the paper's student is. What a row of the paper means here is said in its ``meaning``; the paper's mean J (1.7B student, JiTBench) stands beside it for the order of rows,
not for the size of the numbers.

Not covered: the paper's figure 3 (columns of the twin taken away one by one).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from ...reasoner.prompts import Mode
from ...twin.errors import InputError
from ..stages.recipe import Stage

__all__ = ["BASE", "ROWS", "Conversion", "Row", "rows_of"]

BASE = "ablation"
"""The set of recipes that rows change."""

Conversion = Literal["none", "direct", "caption", "explained"]
"""What becomes of the kept chains before SFT, see :mod:`.convert`."""


@dataclass(frozen=True, slots=True)
class Row:
    """One configuration.

    Args:
        name: short, for folders and ``--only``.
        title: as the paper's table calls it.
        meaning: what it is here.
        paper_j: the paper's mean J, None for rows that it does not have.
        changes: values by ``<stage>.<key>`` in place of the base recipes'.
        without: stages that are left out.
        chains: what becomes of the kept chains.
        mode: how questions are asked in the evaluation.
        teacher: the row whose student, of the first seed, teaches in place of the teacher.
    """

    name: str
    title: str
    meaning: str
    paper_j: float | None = None
    changes: Mapping[str, Any] = field(default_factory=dict)
    without: tuple[Stage, ...] = ()
    chains: Conversion = "none"
    mode: Mode = "concise"
    teacher: str | None = None


def _reward(name: str, weight: float = 1.0, **options: Any) -> dict[str, Any]:
    return {"name": name, "weight": weight, "options": options}


_CAPTION = {"sft.model.view": "caption", "grpo.model.view": "caption"}

ROWS: tuple[Row, ...] = (
    Row(
        "full",
        "full model",
        "teacher by GRPO, its chains with IoU > 0.7, SFT, GRPO with format, accuracy and half of "
        "a judged reward (the teacher's calibrated likelihood of the student's chain)",
        0.760,
    ),
    Row(
        "sft_only", "w/o RL (SFT only)", "the SFT stage of the full model", 0.716, without=("grpo",)
    ),
    Row(
        "no_judge",
        "w/o reasoning reward",
        "GRPO with format and accuracy",
        0.736,
        {"grpo.rewards": [_reward("format"), _reward("accuracy")], "grpo.judge": None},
    ),
    Row(
        "no_format",
        "w/o format reward",
        "GRPO with accuracy and the judged reward",
        0.691,
        {"grpo.rewards": [_reward("accuracy"), _reward("judged", 0.5)]},
    ),
    Row(
        "no_guidance",
        "w/o teacher guidance",
        "GRPO with accuracy alone: neither judged nor format reward; SFT on the teacher's chains "
        "stays, as the paper's text has it",
        0.677,
        {"grpo.rewards": [_reward("accuracy")], "grpo.judge": None},
    ),
    Row(
        "rl_only",
        "w/o two stages (RL only)",
        "GRPO as in the full model from the base model: it can write plans for simple questions, "
        "as a pretrained language model would, and has seen no chain of the teacher",
        0.669,
        without=("sft",),
    ),
    Row(
        "static",
        "w/o DT refinement (static twin)",
        "no tool is called: chains are the teacher's without plan and results, and the student "
        "answers from the twin's text, trained and measured",
        0.699,
        chains="direct",
    ),
    Row(
        "caption",
        "w/o DT (direct visual tokens)",
        "a prose caption without coordinates stands for the picture that a text model cannot see; "
        "no tools; nothing is taken from vision's real advantages",
        0.588,
        _CAPTION,
        chains="caption",
    ),
    Row(
        "teacher_sft",
        "teacher without RL",
        "chains and judged reward come from the shipped reasoner as it was after its own SFT",
        0.709,
        {"chains.model.source": "embedded", "grpo.judge.model.source": "embedded"},
        without=("teacher",),
    ),
    Row(
        "small_teacher",
        "smaller teacher",
        "a student of the full model, a quarter of the teacher's size, teaches the next one",
        None,
        teacher="full",
    ),
    Row(
        "wise",
        "WISE mode",
        "concise rationale, answer, detailed explanation, in training only; GRPO with format, "
        "accuracy and self-distillation; asked without the explanation",
        None,
        {
            "grpo.sampling.explain": True,
            "grpo.sampling.max_tokens": 320,
            "grpo.judge": None,
            "grpo.rewards": [
                _reward("format", needs=["reason", "explain"]),
                _reward("accuracy"),
                _reward("self_distillation"),
            ],
        },
        chains="explained",
    ),
    Row(
        "dr2seg",
        "DR2Seg mode",
        "rationale, self-contained description, answer; the description is asked again alone; "
        "GRPO with format, non-repeat, accuracy and description, times the gated length",
        None,
        {
            "chains.data.worlds.modes": ["description"],
            "grpo.data.worlds.modes": ["description"],
            "grpo.sampling.second": True,
            "grpo.judge": None,
            "grpo.rewards": [
                _reward("format", needs=["reason", "describe"]),
                _reward("non_repeat"),
                _reward("accuracy"),
                _reward("description"),
                _reward("gated_length"),
            ],
        },
        mode="description",
    ),
)


def rows_of(names: Sequence[str] | None = None) -> tuple[Row, ...]:
    """The rows of these names, in the order of the table; all of them without names.

    Raises:
        InputError: for a name that no row has.
    """
    if not names:
        return ROWS
    known = [row.name for row in ROWS]
    unknown = [name for name in names if name not in known]
    if unknown:
        raise InputError(f"expected rows among {', '.join(known)}, got {unknown[0]!r}")
    return tuple(row for row in ROWS if row.name in names)
