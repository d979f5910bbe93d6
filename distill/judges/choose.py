"""The judge that a recipe asks for.

::

    judge: {kind: local, model: {source: "stage:teacher"}, options: {tasks: 300}}
    judge: {kind: endpoint, url: http://localhost:8000/v1,
            options: {model: qwen3-8b, requests_per_minute: 120, budget_requests: 20000}}

What a judge keeps lies in ``<work>/judge/``: ``scores.sqlite`` of an endpoint, ``calibration.json``
of a local one. A local judge without a calibration of its teacher's weights is calibrated first,
on simulated training worlds that the stages do not use by default.

Not covered: several judges in one recipe.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ...reasoner.prompts import Mode
from ...twin.errors import InputError
from .base import Judge
from .endpoint import EndpointJudge, EndpointOptions

if TYPE_CHECKING:
    from ..stages.policy import Policy
    from ..stages.recipe import JudgeChoice

__all__ = ["LocalOptions", "judge_of", "teacher_chains"]

_KEEP_IOU = 0.7  # a teacher's chain to compare with has to be right
_MAX_CHAINS = 500_000  # about 300 MB; the paper's data are fewer


class LocalOptions(BaseModel):
    """What may stand in ``judge.options`` of a local judge.

    ``calibration`` is a file made before; ``tasks`` and ``samples`` say on what it is made if
    there is none, ``first`` is the first of its worlds, ``modes`` how rationales are asked for.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    until: Literal["reason", "plan", "answer"] = "plan"
    calibration: str | None = None
    tasks: int = Field(default=240, ge=40, le=20_000)
    samples: int = Field(default=2, ge=1, le=16)
    first: int = Field(default=480_000, ge=0, le=490_000)
    modes: list[Mode] = ["concise"]
    rows: int = Field(default=64, ge=1, le=1024)
    seed: int = 0


def judge_of(
    choice: JudgeChoice, work: Path, teacher: Policy | None = None, device: str = "cpu"
) -> Judge:
    """The judge of a recipe.

    Args:
        choice: the recipe's ``judge``.
        work: the distillation's folder.
        teacher: what a local judge reads with; None: ``choice.model`` is loaded.
        device: where a model that is loaded here goes.

    Raises:
        InputError: for options that the kind does not have, or a missing url, model or teacher.
        ModelError: if the model cannot be had or hardly separates good from bad chains.
        StoreError: if the cache of scores cannot be used.
    """
    if choice.kind == "endpoint":
        return _endpoint(choice, work)
    return _local(choice, work, teacher, device)


def teacher_chains(work: Path) -> dict[tuple[str, str], str]:
    """The best right chain of every (key, question) in ``<work>/chains/chains.jsonl``, if any.

    Raises:
        InputError: if a line is not a rollout.
    """
    path = work / "chains" / "chains.jsonl"
    best: dict[tuple[str, str], tuple[float, str]] = {}
    if not path.is_file():
        return {}
    with path.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, 1):
            try:
                record = json.loads(line)
                key, iou = (str(record["key"]), str(record["question"])), float(record["iou"])
                text, right = str(record["text"]), record["ending"] == "answered"
            except (ValueError, KeyError, TypeError) as error:
                raise InputError(
                    f"{path}, line {number}: expected a rollout, got {line[:60]!r}; "
                    "run 'edgetwin distill chains' again"
                ) from error
            held = best.get(key, (_KEEP_IOU, ""))
            if right and iou > held[0] and (key in best or len(best) < _MAX_CHAINS):
                best[key] = (iou, text)
    return {key: text for key, (_, text) in best.items()}


def _endpoint(choice: JudgeChoice, work: Path) -> Judge:
    options: EndpointOptions = _checked(EndpointOptions, choice.options)
    model = options.model or (choice.model.source if choice.model else None)
    if not choice.url or not model:
        raise InputError(
            "judge: expected url and options.model for the kind endpoint, got "
            f"url {choice.url!r} and model {model!r}"
        )
    cache = work / "judge" / "scores.sqlite"
    return EndpointJudge(choice.url, model, cache, options, teachers=teacher_chains(work))


def _local(choice: JudgeChoice, work: Path, teacher: Policy | None, device: str) -> Judge:
    from ..rollouts.engine import Engine
    from ..stages.policy import load_policy
    from ..stages.recipe import Sampling, WorldsChoice
    from ..tasks.worlds import Worlds
    from .calibration import load_calibration
    from .local import LocalJudge, calibrate

    options: LocalOptions = _checked(LocalOptions, choice.options)
    if teacher is None and choice.model is not None:
        teacher = load_policy(choice.model, work, device, trained=False)
    if teacher is None:
        raise InputError(
            "judge: expected a model for the kind local, got none; give for instance "
            "model: {source: 'stage:teacher'}"
        )
    path = work / "judge" / "calibration.json"
    if options.calibration is not None:
        return LocalJudge(teacher, load_calibration(Path(options.calibration)), rows=options.rows)
    found = load_calibration(path) if path.is_file() else None
    same = found is not None and found.teacher_sha256 == teacher.sha256 != ""
    if found is None or not same or found.until != options.until:
        worlds = WorldsChoice(
            first=options.first, count=-(-options.tasks // 8), modes=options.modes
        )
        tasks = Worlds(worlds, options.seed)[: options.tasks]
        engine = Engine(teacher, Sampling(group=2, temperature=1.0))
        found = calibrate(
            teacher,
            tasks,
            engine,
            samples=options.samples,
            until=options.until,
            seed=options.seed,
            rows=options.rows,
        )
        found.save(path)
    return LocalJudge(teacher, found, rows=options.rows)


def _checked(kind: type[Any], options: dict[str, Any]) -> Any:
    try:
        return kind.model_validate(options)
    except ValidationError as error:
        one = error.errors()[0]
        place = ".".join(str(part) for part in one["loc"])
        known = ", ".join(kind.model_fields)
        raise InputError(
            f"judge.options.{place}: {one['msg']}, got {str(one['input'])[:80]!r}; known: {known}"
        ) from error
