"""What the reasoner gives back: ids and the trace that led to them, never a bare list."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

__all__ = ["Answer", "Status"]

Status = Literal["ok", "none", "stale", "partial", "error"]


class Answer(BaseModel):
    """An answered question.

    ``status``: ``ok`` objects were found; ``none`` the twin holds no such object; ``stale``
    they were found but none of them is visible in the newest frame; ``partial`` a budget ended
    before the answer and ``ids`` are those of the last computed step; ``error`` no answer, and
    ``message`` says why. ``intervals`` are (start, end) seconds in which an answered object is
    visible. ``tokens`` counts prompt, rationale, plan, results, answer and total; ``ms`` holds
    prompt, generate, tools and total milliseconds; ``model`` its id and sha256.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    status: Status
    ids: list[int] = Field(default_factory=list)
    intervals: list[tuple[float, float]] = Field(default_factory=list)
    rationale: str = ""
    plan: list[dict[str, Any]] = Field(default_factory=list)
    results: list[Any] = Field(default_factory=list)
    tokens: dict[str, int] = Field(default_factory=dict)
    ms: dict[str, float] = Field(default_factory=dict)
    model: dict[str, str] = Field(default_factory=dict)
    message: str = ""
    transcript: str = ""
