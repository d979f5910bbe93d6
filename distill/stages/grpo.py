"""GRPO of a policy on tasks: the stages ``teacher`` and ``grpo`` (FastReasonSeg, sections 3.2, 3.3).

TRL's trainer with our rollouts: the policy plans, pauses, gets its results and answers; what was
inserted is masked out of the loss. Questions are drawn in an order fixed by the seed; every
completion has a seed of its own, so a run that was stopped goes on as if it had not been.

Not covered: several updates on one set of rollouts.
"""

from __future__ import annotations

import itertools
import json
import os
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...twin.errors import InputError
from ..rollouts.engine import Engine
from ..rollouts.record import Rollout
from ..tasks.task import Task
from ..tasks.worlds import held_of, tasks_of, validation_tasks
from .policy import Policy, device_of, load_policy, save_policy
from .recipe import GrpoRecipe, Sampling, write_recipe

if TYPE_CHECKING:
    from ..rewards.choose import NamedReward

__all__ = ["Asker", "passing", "run_grpo", "score_policy", "trainer_of"]

_POOL = 256  # tasks rolled out at once while pass rates are measured


def run_grpo(
    recipe: GrpoRecipe,
    work: Path,
    *,
    device: str = "auto",
    resume: bool = True,
    stage: str | None = None,
) -> dict[str, float]:
    """Train, and write ``model/`` and what tells about it into ``<work>/<stage>/``.

    Args:
        recipe: what to do.
        work: the distillation's folder.
        device: ``auto``, ``cpu`` or ``cuda``.
        resume: go on from the last checkpoint in the folder, if there is one.
        stage: the folder's name, if it is not the recipe's stage.

    Returns:
        the last scores on validation, ``val/exact`` and others.

    Raises:
        InputError: if there is nothing to learn from.
        TrainingError: if the loss is not a number any more.
    """
    from . import card, tracking, watch

    folder, device = work / (stage or recipe.stage), device_of(device)
    policy = load_policy(recipe.model, work, device, recipe.seed)
    _name_reference(recipe, policy, folder)
    tasks = _chosen(recipe, policy, work, folder)
    asker = Asker(recipe, policy, tasks)
    eye = watch.Watch(
        folder,
        recipe.stage,
        minutes=recipe.minutes,
        score_every=recipe.score_every,
        scorer=lambda: score_policy(policy, recipe.score_worlds),
    )
    asker.watch = eye
    trainer = trainer_of(recipe, policy, asker, folder, work, device)
    eye.publish = tracking.publisher(trainer, recipe.track)
    eye.attach(trainer)
    write_recipe(recipe, folder / "recipe.yaml")
    found = watch.last_checkpoint(folder / "last") if resume else None
    if found is None and os.environ.get("RANK", "0") == "0":
        eye.log.fresh(score_policy(policy, recipe.score_worlds))
    try:
        trainer.train(resume_from_checkpoint=None if found is None else str(found))
    finally:
        eye.close()
    save_policy(policy, folder / "model")
    scores = eye.scores or score_policy(policy, recipe.score_worlds)
    card.write_card(folder, recipe, policy, scores, data=asker.data_hash(), judge=trainer.judge)
    return scores


def score_policy(
    policy: Policy,
    worlds: int,
    sampling: Sampling | None = None,
    heard: Callable[[Sequence[Rollout]], None] | None = None,
) -> dict[str, float]:
    """Greedy answers to validation questions: ``val/exact``, ``val/iou``, ``val/tokens`` (of
    rationales), ``val/own`` (all tokens written) and ``val/malformed``; ``heard`` gets them too."""
    engine = Engine(policy, sampling or Sampling())
    rollouts = engine.roll(validation_tasks(worlds), greedy=True)
    if heard is not None:
        heard(rollouts)
    spoken = [r.tokens["rationale"] for r in rollouts if "rationale" in r.tokens]
    return {
        "val/exact": _mean([float(r.ids == r.task.ids) for r in rollouts]),
        "val/iou": _mean([r.iou for r in rollouts]),
        "val/tokens": _mean([float(n) for n in spoken]),
        "val/own": _mean([float(r.tokens["own"]) for r in rollouts]),
        "val/malformed": _mean([float(r.ids is None) for r in rollouts]),
    }


def passing(
    engine: Engine,
    tasks: Sequence[Task],
    bounds: tuple[float, float],
    samples: int,
    seed: int,
    progress: Callable[[int], None] = lambda done: None,
) -> dict[int, float]:
    """Index to pass rate of the tasks that the policy answers rightly (IoU > 0.5) in at least
    and at most these shares of ``samples`` completions."""
    found: dict[int, float] = {}
    for first in range(0, len(tasks), _POOL):
        chosen = range(first, min(first + _POOL, len(tasks)))
        rolled = engine.roll([tasks[i] for i in chosen], samples, seed)
        for place, i in enumerate(chosen):
            group = rolled[place * samples : (place + 1) * samples]
            rate = _mean([float(r.iou > 0.5) for r in group])
            if bounds[0] <= rate <= bounds[1]:
                found[i] = rate
        progress(chosen[-1] + 1)
    return found


class Asker:
    """The trainer's way to its rollouts: ``asker(prompts, trainer)`` is TRL's ``rollout_func``.

    A prompt is the number of a task as text; those of one group stand together.
    """

    def __init__(self, recipe: GrpoRecipe, policy: Policy, tasks: Sequence[Task]) -> None:
        self.recipe, self.policy, self.tasks = recipe, policy, tasks
        self.engine = Engine(policy, recipe.sampling)
        self.watch: Any = None
        self.last: list[Rollout] = []

    def rows(self) -> list[str]:
        """Prompts for all steps: every task once in a random order, then again in another."""
        rng = random.Random(f"order {self.recipe.seed}")
        wanted = self.recipe.steps * self.recipe.prompts
        rounds = itertools.repeat(range(len(self.tasks)))
        order = itertools.chain.from_iterable(rng.sample(r, len(r)) for r in rounds)
        return [str(i) for i in itertools.islice(order, wanted)]

    def __call__(self, prompts: list[str], trainer: Any) -> dict[str, Any]:
        """Roll out every prompt as often as it stands there."""
        group = self.recipe.sampling.group
        if len(prompts) % group or any(p != prompts[i - i % group] for i, p in enumerate(prompts)):
            raise InputError(
                f"expected whole groups of {group} completions per process, got {len(prompts)}; "
                "choose micro_batch as a multiple of sampling.group"
            )
        tasks = [self.tasks[int(prompt)] for prompt in prompts[::group]]
        step = int(trainer.state.global_step)
        rollouts = self.engine.roll(tasks, group, self.recipe.seed * 1_000_003 + step)
        self.last = rollouts
        self._note(rollouts)
        return {
            "prompt_ids": [list(r.prompt_ids) for r in rollouts],
            "completion_ids": [list(r.completion_ids) for r in rollouts],
            "env_mask": [list(r.env_mask) for r in rollouts],
            "logprobs": None,
            "rollout": rollouts,
        }

    def data_hash(self) -> str:
        """A hash of the questions in the order in which they are asked."""
        import hashlib

        asked = [int(prompt) for prompt in dict.fromkeys(self.rows())]
        told: dict[int, bytes] = {}
        for place in sorted(asked):  # neighbours share a world, which takes long to make
            task = self.tasks[place]
            told[place] = f"{task.key}\n{task.question}\n{task.ids}\n".encode()
        digest = hashlib.sha256(b"".join(told[place] for place in asked))
        return digest.hexdigest()

    def _note(self, rollouts: Sequence[Rollout]) -> None:
        if self.watch is None:
            return
        spoken = [r.tokens["rationale"] for r in rollouts if "rationale" in r.tokens]
        self.watch.note(
            {
                "exact": _mean([float(r.ids == r.task.ids) for r in rollouts]),
                "iou": _mean([r.iou for r in rollouts]),
                "malformed": _mean([float(r.ids is None) for r in rollouts]),
                "tokens/rationale": _mean([float(n) for n in spoken]),
                "tokens/own": _mean([float(r.tokens["own"]) for r in rollouts]),
            }
        )
        self.watch.sample(
            {"key": r.task.key, "question": r.task.question, "text": r.text, "iou": r.iou}
            for r in rollouts[:: self.recipe.sampling.group][:4]
        )


def trainer_of(
    recipe: GrpoRecipe, policy: Policy, asker: Asker, folder: Path, work: Path, device: str
) -> Any:
    """The trainer with its rewards."""
    os.environ.setdefault("TRL_EXPERIMENTAL_SILENCE", "1")  # rollout_func is marked as such
    from datasets import Dataset

    from ..judges.choose import judge_of
    from ..rewards.choose import rewards_of
    from .trainer import SharedPromptTrainer

    judge = None
    if recipe.judge is not None:
        judge = judge_of(recipe.judge, work, _judging(recipe, work, device))
    chosen = rewards_of(recipe.rewards, judge=judge, device=device)
    arguments = _arguments(recipe, folder, device)
    trainer = SharedPromptTrainer(
        model=policy.model,
        processing_class=policy.tokenizer,
        args=arguments,
        train_dataset=Dataset.from_dict({"prompt": asker.rows()}),
        reward_funcs=_total(chosen, asker.watch),
        rollout_func=asker,
    )
    trainer.named, trainer.judge = lambda: asker.last, judge
    return trainer


def _judging(recipe: GrpoRecipe, work: Path, device: str) -> Policy | None:
    """The model of a local judge, without gradients."""
    judge = recipe.judge
    if judge is None or judge.kind != "local" or judge.model is None:
        return None
    return load_policy(judge.model, work, device, recipe.seed, trained=False)


def _total(chosen: Sequence[NamedReward], watch: Any) -> Any:
    """The rewards' total as TRL asks for it; the parts, and how many were skipped, are noted."""
    from ..rewards.choose import total_of

    def total(prompts: Any, completions: Any, rollout: list[Rollout], **_: Any) -> Any:
        scored = total_of(chosen, rollout)
        for name, values in scored.parts.items():
            known = [value for value in values if value is not None]
            if known:
                watch.note({f"rewards/{name}": _mean(known)})
            watch.note({f"skipped/{name}": 1 - len(known) / len(values)})
        return scored.totals

    return total


def _arguments(recipe: GrpoRecipe, folder: Path, device: str) -> Any:
    import trl

    from .tracking import report_to
    from .watch import plain_arguments

    processes = int(os.environ.get("WORLD_SIZE", "1"))
    completions = recipe.prompts * recipe.sampling.group
    accumulation = completions // (recipe.micro_batch * processes)
    if accumulation * recipe.micro_batch * processes != completions:
        raise InputError(
            f"expected prompts x group ({completions}) to be a multiple of micro_batch x processes "
            f"({recipe.micro_batch} x {processes}); change prompts or micro_batch"
        )
    choice = recipe.optimiser
    return trl.GRPOConfig(
        output_dir=str(folder / "last"),
        seed=recipe.seed,
        max_steps=recipe.steps,
        per_device_train_batch_size=recipe.micro_batch,
        gradient_accumulation_steps=accumulation,
        steps_per_generation=accumulation,
        num_generations=recipe.sampling.group,
        max_completion_length=recipe.sampling.max_tokens,
        temperature=recipe.sampling.temperature or 1.0,
        learning_rate=choice.learning_rate,
        weight_decay=choice.weight_decay,
        adam_beta1=choice.betas[0],
        adam_beta2=choice.betas[1],
        max_grad_norm=choice.max_grad_norm,
        warmup_steps=round(choice.warmup * recipe.steps),
        lr_scheduler_type={"constant": "constant_with_warmup"}.get(
            choice.schedule, choice.schedule
        ),
        beta=recipe.beta,
        epsilon=recipe.epsilon,
        loss_type=recipe.loss,
        scale_rewards=recipe.scale_rewards,
        shuffle_dataset=False,
        bf16=recipe.model.dtype == "bf16",
        fp16=device == "cuda" and recipe.model.dtype == "fp16",
        use_cpu=device == "cpu",
        save_steps=recipe.save_every,
        save_total_limit=1,
        logging_steps=recipe.log_every,
        **report_to(recipe.track, folder, recipe.stage),
        **plain_arguments(recipe.model.gradient_checkpointing),
        **_vllm(recipe),
    )


def _vllm(recipe: GrpoRecipe) -> dict[str, Any]:
    """TRL keeps vLLM's weights those of the policy; our rollouts ask its engine."""
    return {"use_vllm": True, "vllm_mode": "colocate"} if recipe.sampling.engine == "vllm" else {}


def _chosen(recipe: GrpoRecipe, policy: Policy, work: Path, folder: Path) -> Sequence[Task]:
    """The tasks to learn from; those within the pass rates, which are measured once per folder."""
    from rich.progress import track

    from ..tasks.leaks import without_leaks

    tasks = without_leaks(tasks_of(recipe.data, recipe.seed), held_of(recipe.data))[0]
    bounds = recipe.data.pass_rate
    if bounds is None:
        return tasks
    file = folder / "pass_rates.json"
    if not file.exists():
        engine = Engine(policy, recipe.sampling.model_copy(update={"second": False}))
        rates: dict[int, float] = {}
        for first in track(range(0, len(tasks), _POOL), "pass rates"):
            part = tasks[first : first + _POOL]
            found = passing(engine, part, bounds, recipe.data.pass_samples, recipe.seed)
            rates |= {first + i: rate for i, rate in found.items()}
        folder.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps({"of": len(tasks), "rates": rates}) + "\n")
    kept = [int(i) for i in json.loads(file.read_text())["rates"]]
    if not kept:
        raise InputError(
            f"expected questions that the policy answers in {bounds[0]:g} to {bounds[1]:g} of its "
            f"samples, got none of {len(tasks)}; widen data.pass_rate or ask harder questions"
        )
    return [tasks[i] for i in kept]


def _name_reference(recipe: GrpoRecipe, policy: Policy, folder: Path) -> None:
    """TRL loads the reference of the KL term from where the model says that it is from."""
    if recipe.beta and recipe.model.lora is None and recipe.model.source == "scratch":
        save_policy(policy, folder / "start")
        policy.model.config._name_or_path = str(folder / "start")


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values) if values else 0.0
