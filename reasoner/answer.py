"""What the reasoner gives back: ids and the trace that led to them, never a bare list."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["Answer", "EndedBy", "Status"]

Status = Literal["ok", "none", "stale", "partial", "error"]
EndedBy = Literal["", "tokens", "rounds", "seconds", "context"]


class Answer(BaseModel):
    """An answered question.

    ``status``: ``ok`` the question was answered: objects, or a number or interval asked for;
    ``none`` the twin holds no such object; ``stale`` objects were found but none of them is
    visible in the newest frame; ``partial`` a budget ended before the answer and ``ids`` are
    those of the last computed step; ``error`` no answer, and ``message`` says why.

    ``ended_by`` names the budget that ended an answer before the model did: ``tokens`` generated,
    ``rounds`` of plans, ``seconds``, or the model's ``context``; empty otherwise. ``intervals``
    are (start, end) seconds: the value of the answered step when that step gives intervals, else
    when an answered object is visible. ``value`` is the number that the answered step gave, None
    otherwise. ``plan`` and ``results`` hold the steps of all rounds in order, numbered on from
    round to round. ``rounds`` counts plans that were computed, ``repairs`` what a tolerant parse
    mended and what the model was asked to write again. ``description`` is the self-contained
    description that the description mode writes.

    ``tokens`` counts prompt (of it ``reused`` were taken from the cache), rationale, description,
    plan, results (all inserted text), answer and total, which is the sum without ``reused`` and
    ``forced``; ``forced`` tokens were given by the grammar and cost no step of the model. ``ms``
    holds prompt, generate, tools and total milliseconds; ``model`` its id and sha256.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    status: Status
    ids: list[int] = Field(default_factory=list)
    intervals: list[tuple[float, float]] = Field(default_factory=list)
    value: float | None = None
    mode: str = "concise"
    rationale: str = ""
    description: str = ""
    plan: list[dict[str, Any]] = Field(default_factory=list)
    results: list[Any] = Field(default_factory=list)
    rounds: int = 0
    repairs: int = 0
    ended_by: EndedBy = ""
    tokens: dict[str, int] = Field(default_factory=dict)
    ms: dict[str, float] = Field(default_factory=dict)
    model: dict[str, str] = Field(default_factory=dict)
    message: str = ""
    transcript: str = ""
