"""Supervised training on a teacher's chains: the stage ``sft`` (FastReasonSeg, section 3.3).

``packed`` runs the loop of :mod:`..reasoner.sft_train` (Muon, all questions of a twin in one
pack), for small models of Qwen3's kind; ``trl`` runs TRL's trainer on ready tokens, whole or with
an adapter. Both learn only what the model itself writes: prompts and inserted results have no
loss, and every text is encoded for itself as inference does.

``<work>/sft/`` receives ``recipe.yaml``, ``model/``, ``curve.jsonl``, ``samples.jsonl``,
``card.md``, ``result.json`` and ``last/`` (from which a run that was stopped goes on with the same
trajectory; with a budget of ``minutes`` the end depends on the clock).

Options of ``packed`` (``options`` in the recipe): ``muon_lr``, ``adam_lr``, ``momentum``,
``weight_decay``, ``warm_steps``, ``flat``, ``dropout_merges``, ``bfloat16``, ``compile``. Its step
is one twin with its questions; ``batch``, ``micro_batch`` and ``optimiser`` are those of ``trl``.

Under FSDP and ZeRO-3, which divide the weights, there are no scores on the way; the weights are
gathered at the end.

Not covered: packing for pretrained sizes; chains that answer with a number or a time. Gathering
divided weights was not run on several GPUs.
"""

from __future__ import annotations

import json
import math
import random
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import torch

from ...reasoner.prompts import system
from ...twin.errors import InputError
from ...twin.files import sha256_of
from ..reasoner.records import Cursor, Example, read
from ..rollouts.record import Rollout
from ..sim.questions.restricted import TRAINED
from .card import write_card
from .policy import Policy, device_of, load_policy, save_policy
from .recipe import Sampling, SftRecipe, write_recipe
from .watch import Log, Watch, last_checkpoint

__all__ = ["SCORED", "chains_of", "run_sft", "shuffled"]

_OPTIONS = (
    *("muon_lr", "adam_lr", "momentum", "weight_decay", "warm_steps", "flat"),
    *("dropout_merges", "bfloat16", "compile"),
)
_FREE = {"minutes", "track", "log_every", "save_every", "score_every", "score_worlds"}
_SHOWN = 4  # chains shown at each score
SCORED = Sampling(max_tokens=248)
"""How validation questions are answered: room for a detailed rationale, eight steps, an answer."""


def run_sft(
    recipe: SftRecipe, work: Path, *, device: str = "auto", resume: bool = True
) -> dict[str, float]:
    """Train on chains, and write ``model/`` and what tells about it into ``<work>/sft/``.

    Args:
        recipe: what to do.
        work: the distillation's folder.
        device: ``auto``, ``cpu`` or ``cuda``.
        resume: go on with what is in the folder; False begins anew.

    Returns:
        the last scores on validation (``val/exact`` and others), ``steps`` and ``questions``.

    Raises:
        InputError: without chains, or if the folder holds another recipe's run.
        ModelError: if the model cannot be had, or is none that ``packed`` computes.
        TrainingError: if a loss or gradient is not finite; the sample is named.
        MissingExtraError: without TRL, datasets or a tracker that the recipe asks for.
    """
    folder = work / "sft"
    if not resume and folder.exists() and _is_main():
        shutil.rmtree(folder)
    path = chains_of(recipe, work)
    digest = sha256_of(path)
    _same_run(recipe, digest, folder)
    if (folder / "result.json").is_file():
        found: dict[str, float] = json.loads((folder / "result.json").read_text())
        return found
    examples = [example for example in read(path) if example.items]
    if not examples:
        raise InputError(f"expected chains in {path}, got none; see report.json beside it")
    policy = load_policy(recipe.model, work, device_of(device), recipe.seed)
    train = _packed if recipe.method == "packed" else _trl
    scores, policy = train(recipe, policy, examples, folder)
    questions = sum(len(example.items) for example in examples)
    result = {**scores, "questions": float(questions)}
    if _is_main():
        save_policy(policy, folder / "model")
        about = {"Twins": len(examples), "Questions": questions}
        write_card(folder, recipe, policy, scores, data=digest, about=about)
        partial = folder / "result.part"
        partial.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
        partial.replace(folder / "result.json")
    return result


def chains_of(recipe: SftRecipe, work: Path) -> Path:
    """The file of chains that a recipe names: ``stage:chains``, a folder that has
    ``kept.jsonl``, or the file.

    Raises:
        InputError: if it is not there.
    """
    name = recipe.chains
    place = work / name.removeprefix("stage:") if name.startswith("stage:") else Path(name)
    for path in (place, place / "kept.jsonl"):
        if path.is_file():
            return path
    raise InputError(
        f"expected chains in {place / 'kept.jsonl'}, got none; run 'edgetwin distill chains' with "
        "the same --work first, or name a file in 'chains' of the recipe"
    )


def shuffled(examples: Sequence[Example], seed: int) -> Callable[[Cursor], Iterator[Example]]:
    """A source that goes round for ever, in another order each round; the cursor keeps the place."""

    def source(cursor: Cursor) -> Iterator[Example]:
        while True:
            order = list(range(len(examples)))
            random.Random(f"round {seed} {cursor.rounds}").shuffle(order)
            while cursor.line < len(order):
                cursor.line += 1
                yield examples[order[cursor.line - 1]]
            cursor.line, cursor.rounds = 0, cursor.rounds + 1

    return source


def _packed(
    recipe: SftRecipe, policy: Policy, examples: Sequence[Example], folder: Path
) -> tuple[dict[str, float], Policy]:
    """The loop of the embedded model, on these examples."""
    from ..reasoner.sft_train import Settings, Trainer, fit

    if recipe.model.lora is not None or policy.model.config.model_type != "qwen3":
        raise InputError(
            f"expected a Qwen3 model without an adapter for the method packed, got "
            f"{policy.model.config.model_type}; choose method: trl"
        )
    unknown = sorted(set(recipe.options) - set(_OPTIONS))
    if unknown:
        raise InputError(f"expected options among {', '.join(_OPTIONS)}, got {unknown[0]!r}")
    settings = Settings(minutes=recipe.minutes or 0.0, seed=recipe.seed)
    if policy.source != "scratch":
        settings = replace(settings.going_on(Path(policy.source)), start="")
    settings = replace(settings, **recipe.options)
    policy.model.float().train()
    trainer = Trainer(
        policy.tokenizer.backend_tokenizer,
        shuffled(examples, recipe.seed),
        settings,
        str(policy.model.device),
        model=policy.model,
        head=system(TRAINED, policy.style, policy.layout),
    )
    if (folder / "last" / "state.safetensors").is_file():
        trainer.load(folder / "last")
    steps = math.ceil(recipe.epochs * len(examples))
    log = Log(folder, "sft", total=steps)
    log.begin(trainer.steps)

    def share() -> float:
        log.tick(trainer.steps)
        done = trainer.steps / steps
        return max(done, trainer.elapsed_s / (60 * recipe.minutes)) if recipe.minutes else done

    def scorer() -> dict[str, float]:
        with log.paused():
            return _scores(policy, recipe, log)

    def note(values: Mapping[str, float]) -> None:
        about = {"epoch": trainer.steps / len(examples), "grad_norm": trainer.norm}
        log.line(trainer.steps, {**values, **about, "visits": trainer.visits})

    try:
        scores = fit(
            trainer,
            folder / "last",
            share,
            scorer,
            note,
            save_due=lambda: trainer.steps % recipe.save_every == 0,
            score_due=lambda: trainer.steps % recipe.score_every == 0,
            log_every=recipe.log_every,
        )
    finally:
        log.close()
    return {**scores, "steps": float(trainer.steps)}, policy


def _trl(
    recipe: SftRecipe, policy: Policy, examples: Sequence[Example], folder: Path
) -> tuple[dict[str, float], Policy]:
    """TRL's trainer on ready tokens."""
    from . import tracking
    from .sft_trl import gathered, is_divided, trainer_of

    trainer = trainer_of(recipe, policy, examples, folder)
    divided = is_divided(trainer)
    watch = Watch(
        folder,
        "sft",
        minutes=recipe.minutes,
        score_every=recipe.score_every,
        scorer=None if divided else lambda: _scores(policy, recipe, watch.log),
        publish=tracking.publisher(trainer, recipe.track),
    ).attach(trainer)
    found = last_checkpoint(folder / "last")
    try:
        trainer.train(resume_from_checkpoint=None if found is None else str(found))
    finally:
        watch.close()
    if divided:
        policy = gathered(trainer, policy, recipe.model, folder.parent)
    scores = watch.scores or ({} if divided else _scores(policy, recipe, watch.log))
    return {**scores, "steps": float(trainer.state.global_step)}, policy


def _scores(policy: Policy, recipe: SftRecipe, log: Log) -> dict[str, float]:
    """Scores on validation; a few of the chains go to the log."""
    from .grpo import score_policy

    def heard(rollouts: Sequence[Rollout]) -> None:
        log.sample(
            {"key": r.task.key, "question": r.task.question, "text": r.text, "iou": r.iou}
            | {"ending": r.ending}
            for r in rollouts[:_SHOWN]
        )

    with torch.no_grad():
        return score_policy(policy, recipe.score_worlds, SCORED, heard)


def _same_run(recipe: SftRecipe, digest: str, folder: Path) -> None:
    """Write the recipe; refuse one that would train something else than what is there."""
    beside = folder / "recipe.json"
    record = recipe.model_dump(mode="json", exclude=_FREE) | {"data": digest}
    if beside.is_file():
        there = json.loads(beside.read_text(encoding="utf-8"))
        other = sorted(k for k in {*there, *record} if there.get(k) != record.get(k))
        if other:
            raise InputError(
                f"expected the recipe and chains whose training is in {folder}, got another "
                f"{', '.join(other)}; begin anew or give another work folder"
            )
    if _is_main():
        write_recipe(recipe, folder / "recipe.yaml")
        beside.write_text(json.dumps(record) + "\n", encoding="utf-8")


def _is_main() -> bool:
    """Whether this is the first of the processes that train together."""
    import os

    return os.environ.get("RANK", "0") == "0"
