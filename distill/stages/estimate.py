"""A dry run: what a stage needs per GPU, and what its batch comes to, before anything is loaded.

Weights, gradients, optimiser states and the rollouts' cache follow from the sizes. Activations are
counted tensor by tensor, as transformers' Qwen3 keeps them for the backward pass
(:func:`activation_bytes`; tests/distill/test_estimate.py compares with what torch keeps).

Assumed, and said in every report: AdamW in full precision; adapters in fp32 (PEFT) on weights in
the recipe's precision; prompts as long as the longest of a few, at three characters a token where
the tokenizer is not here; chains of SFT half as long as ``max_tokens`` of the same set; completions
as long as they may be; 1.2 GiB for CUDA and fragments; during a rollout no activations are kept.

Not covered: time, CPU memory, vLLM's own share, offloading, activations that are divided among
GPUs.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Literal

from ...reasoner.prompts import Layout, Style, prefix, question
from ...twin.errors import InputError
from ..evaluate.report import Table, show
from ..sim.questions.restricted import TRAINED
from ..tasks.worlds import Worlds
from .recipe import (
    STAGES,
    ChainsRecipe,
    GrpoRecipe,
    ModelChoice,
    Recipe,
    SftRecipe,
    Stage,
    WorldsChoice,
    load_recipe,
)
from .shapes import Shape, shape_of

__all__ = [
    "Estimate",
    "Launch",
    "activation_bytes",
    "estimate",
    "estimate_command",
    "estimate_set",
    "trained_bytes",
]

Launch = Literal["ddp", "zero2", "zero3", "fsdp2"]
GIB = 2**30
_BYTES = {"fp32": 4, "bf16": 2, "fp16": 2}
_OVERHEAD = 1.2  # GiB: CUDA context, cuBLAS workspaces, what the allocator cannot reuse
_CHARACTERS = 3.0  # per token of Qwen's tokenizer on our prompts; short of what BPE usually reaches
_RESULTS = 64  # tokens that tools insert
_CHAIN = 256  # tokens of a chain where no set says how long they may be
_ASSUMED = (
    f"assumed: AdamW; adapters in fp32; {_CHARACTERS:g} characters a token where the tokenizer is "
    f"not here; completions as long as they may be; {_OVERHEAD:g} GiB for CUDA and fragments"
)
_LOGIT_BYTES = {"sft": 12, "grpo": 16}  # logits, float copy, log-probabilities, their gradient
_DECODE_BYTES = 16  # per logit of a sampled token: as given, float, softmax, cumulated


@dataclass(frozen=True, slots=True)
class Estimate:
    """One stage under one launch configuration; ``gib`` is per GPU, by part."""

    stage: Stage
    model: str
    launch: Launch
    gpus: int
    parameters: int
    trained: int
    gib: dict[str, float]
    effective_batch: int
    micro_batch: int
    accumulation: int
    tokens_per_row: int
    notes: list[str] = field(default_factory=list)

    @property
    def total_gib(self) -> float:
        """Peak per GPU: what always lies there and the larger of training and rolling out."""
        resident = sum(self.gib[k] for k in ("weights", "optimiser", "judge", "overhead"))
        training = self.gib["gradients"] + self.gib["activations"]
        return resident + max(training, self.gib["rollout"])

    @property
    def tokens_per_step(self) -> int:
        """Tokens of an optimiser step, prompts included (of a part, for chains)."""
        return self.effective_batch * self.tokens_per_row

    def fits(self, gib: float) -> bool:
        """Whether a GPU of this memory holds it."""
        return self.total_gib <= gib


def estimate(
    recipe: Recipe,
    *,
    gpus: int = 1,
    launch: Launch = "ddp",
    shape: Shape | None = None,
    **known: Any,
) -> Estimate:
    """What a stage needs.

    Args:
        recipe: any stage's.
        gpus: processes, one GPU each.
        launch: how weights, gradients and states are divided.
        shape: the model's sizes, where its source does not tell (``stage:…``).
        known: ``prompt`` and ``chain`` tokens, ``judge`` (its :class:`.shapes.Shape`).

    Raises:
        InputError: if the batch cannot be spread over so many GPUs, or the model is unknown.
    """
    shape = shape or shape_of(recipe.model)
    model, width = recipe.model, _BYTES[recipe.model.dtype]
    prompt = int(known.get("prompt") or prompt_tokens(recipe))
    chain = int(known.get("chain") or _CHAIN)
    if isinstance(recipe, SftRecipe):
        micro, batch, said = recipe.micro_batch, recipe.batch, chain
    else:
        said = recipe.sampling.max_tokens + _RESULTS
        batch = recipe.sampling.group * _tasks(recipe)
        micro = recipe.micro_batch if isinstance(recipe, GrpoRecipe) else 0
    accumulation = _accumulation(batch, micro, gpus) if micro else 1
    row = prompt + said
    trained = 0 if not micro else shape.lora(model.lora.r) if model.lora else shape.parameters
    gib = dict.fromkeys(("gradients", "optimiser", "activations", "rollout", "judge"), 0.0)
    gib["weights"] = shape.parameters * width / GIB
    gib["overhead"] = _OVERHEAD
    if micro:
        gib |= {k: v / GIB for k, v in trained_bytes(shape, model, gpus, launch).items()}
        rows, logits = (micro * row, micro * (row if recipe.stage == "sft" else said))
        if isinstance(recipe, GrpoRecipe) and gpus == 1 and not model.gradient_checkpointing:
            rows = -(-micro // recipe.sampling.group) * prompt + micro * said
        kind = "sft" if recipe.stage == "sft" else "grpo"
        gib["activations"] = activation_bytes(shape, model, rows, logits, kind) / GIB
    if not isinstance(recipe, SftRecipe):
        at_once = min(rows_of(recipe), batch // (gpus if micro else 1))
        gib["rollout"] = rollout_bytes(shape, width, at_once, row, recipe.sampling.group) / GIB
    judge = known.get("judge")
    if judge is not None:
        gib["judge"] = judge.parameters * width / GIB
    if isinstance(recipe, GrpoRecipe) and recipe.beta > 0 and not model.lora:
        gib["judge"] += shape.parameters * width / GIB
    return Estimate(
        recipe.stage, model.source, launch, gpus, shape.parameters, trained,
        {k: round(v, 3) for k, v in gib.items()}, batch, micro, accumulation, row,
        _notes(recipe, launch, prompt, said),
    )  # fmt: skip


def rows_of(recipe: GrpoRecipe | ChainsRecipe) -> int:
    """Completions that the recipe rolls out at once."""
    return recipe.sampling.rows


def trained_bytes(shape: Shape, model: ModelChoice, gpus: int, launch: Launch) -> dict[str, float]:
    """``weights``, ``gradients`` and ``optimiser`` per GPU in bytes.

    DDP keeps a second copy of the gradients in its buckets; ZeRO keeps fp32 copies of what is
    trained in half precision; divided weights are gathered two layers at a time.
    """
    width = _BYTES[model.dtype]
    if model.lora is not None:
        count, own = shape.lora(model.lora.r), 4  # adapters are fp32 whatever the weights are
        weights = shape.parameters * width + count * own
    else:
        count, own = shape.parameters, width
        weights = count * own
    gradients, states = count * own, 2 * count * own
    if launch == "ddp":
        return {
            "weights": weights,
            "gradients": gradients * (2 if gpus > 1 else 1),
            "optimiser": states,
        }
    states += count * 4 if own < 4 and launch != "fsdp2" else 0
    if launch == "zero2":
        return {"weights": weights, "gradients": gradients / gpus, "optimiser": states / gpus}
    gathered = 2 * shape.layer * width if gpus > 1 else 0
    return {
        "weights": weights / gpus + gathered,
        "gradients": gradients / gpus,
        "optimiser": states / gpus,
    }


def activation_bytes(
    shape: Shape, model: ModelChoice, rows: int, logits: int, kind: str = "sft"
) -> float:
    """What the backward pass needs of the forward pass, at its peak.

    Args:
        shape: the model's sizes.
        model: its precision, adapter and whether layers are computed twice.
        rows: tokens that go through the layers.
        logits: tokens whose logits are computed.
        kind: ``sft`` or ``grpo``: how the loss is computed from the logits.
    """
    width = _BYTES[model.dtype]
    layer = rows * _layer_bytes(shape, model)
    top = (4 if model.lora else 4 + 2 * width) * shape.hidden
    tops = rows * top + logits * shape.vocabulary * _LOGIT_BYTES[kind]
    if model.lora is not None and width < 4:
        tops += shape.lora(model.lora.r) * width  # autocast's copies of the adapters
    if not model.gradient_checkpointing:
        return shape.layers * layer + tops
    return shape.layers * rows * shape.hidden * width + layer + tops


def rollout_bytes(shape: Shape, width: int, rows: int, tokens: int, group: int) -> float:
    """Cache of ``rows`` completions and the largest other tensors while they are drawn."""
    cached = rows * tokens * shape.layers * 2 * shape.kv * width
    reading = max(1, rows // group) * tokens * (4 * shape.hidden + 3 * shape.mlp) * width
    return cached + max(reading, rows * shape.vocabulary * _DECODE_BYTES)


def _layer_bytes(shape: Shape, model: ModelChoice) -> int:
    """What a layer keeps per token (transformers' Qwen3, scaled-dot-product attention, no padding).

    The four norms keep their inputs in fp32. Attention keeps turned queries and keys, values and
    its output; the MLP gate, its silu and up. Matrices that are trained keep their inputs and
    norms that are trained what they scale. Adapters keep inputs and r inner values: on weights in
    half precision each of the seven a copy of its own, in fp32 those that share an input one.
    """
    h, q, k, m = shape.hidden, shape.heads * shape.head_dim, shape.kv, shape.mlp
    width = _BYTES[model.dtype]
    kept = 4 * (2 * h + q + k) + width * (2 * q + 2 * k + 3 * m)
    if model.lora is None:
        return kept + width * (4 * h + q + k + m)
    inputs = 2 * h + m if width == 4 else 5 * h + q + m
    return kept + width * (inputs + 7 * model.lora.r)


def _accumulation(batch: int, micro: int, gpus: int) -> int:
    if batch % (micro * gpus):
        raise InputError(
            f"expected an effective batch that is a multiple of micro_batch x GPUs "
            f"({micro * gpus}), got {batch}; change micro_batch or the number of GPUs"
        )
    return batch // (micro * gpus)


def _tasks(recipe: GrpoRecipe | ChainsRecipe) -> int:
    return recipe.prompts if isinstance(recipe, GrpoRecipe) else recipe.batch


def prompt_tokens(recipe: Recipe) -> int:
    """Tokens of a long prompt of the recipe's style; of the embedded tokenizer exactly."""
    model = recipe.model
    texts = _texts(model.style, model.layout)
    if model.source in ("embedded", "scratch"):
        from tokenizers import Tokenizer

        from ...reasoner.bundle import EMBEDDED

        tokenizer = Tokenizer.from_file(str(EMBEDDED / "tokenizer.json"))
        return max(len(tokenizer.encode(text).ids) for text in texts)
    return round(max(map(len, texts)) / _CHARACTERS)


@cache
def _texts(style: Style, layout: Layout) -> tuple[str, ...]:
    """Prompts of sixteen training worlds."""
    tasks = Worlds(WorldsChoice(count=16, per_world=1, modes=["detailed"]))
    return tuple(
        prefix(task.window, TRAINED, style, layout=layout) + question(task.question, task.mode)
        for task in (tasks[i] for i in range(len(tasks)))
    )


def _notes(recipe: Recipe, launch: Launch, prompt: int, said: int) -> list[str]:
    notes = [f"{recipe.stage}: rows of {prompt} tokens of prompt and {said} of chain"]
    if isinstance(recipe, SftRecipe) and recipe.method == "packed":
        notes.append("sft: packed takes one twin with its questions a step, whatever batch says")
    if not isinstance(recipe, SftRecipe):
        notes[0] += f", {rows_of(recipe)} completions at once"
    if recipe.model.dtype == "fp16" and recipe.model.lora is None and recipe.stage != "chains":
        notes.append(f"{recipe.stage}: fp16 weights without an adapter cannot be trained; use bf16")
    if recipe.stage in ("teacher", "grpo") and launch in ("zero3", "fsdp2"):
        notes.append(f"{recipe.stage}: {launch} divides weights that rollouts need whole")
    return notes


def estimate_set(
    name: str | Path, *, gpus: int = 8, launches: tuple[Launch, ...] = ("ddp", "zero2", "zero3")
) -> list[Estimate]:
    """All stages of a set; ``stage:…`` is followed to the recipe that makes that model.

    GRPO is left out where the launch configuration divides weights, chains are one process each.

    Raises:
        InputError: if there is no such set.
    """
    recipes: dict[Stage, Recipe] = {}
    for stage in STAGES:
        try:
            recipes[stage] = load_recipe(name, stage)
        except InputError:
            if stage == STAGES[-1] and not recipes:
                raise
    sampled = [r.sampling.max_tokens for r in recipes.values() if isinstance(r, ChainsRecipe)]
    found = []
    for stage, recipe in recipes.items():
        judge = None
        if isinstance(recipe, GrpoRecipe) and recipe.judge is not None and recipe.judge.model:
            judge = shape_of(_followed(recipe.judge.model, recipes))
        known: dict[str, Any] = {
            "judge": judge,
            "chain": sampled[0] // 2 if sampled else None,
            "shape": shape_of(_followed(recipe.model, recipes)),
            "prompt": prompt_tokens(recipe.model_copy(update={"model": _told(recipe, recipes)})),
        }
        usable = launches if stage == "sft" else tuple(x for x in launches if x in ("ddp", "zero2"))
        for launch in usable[:1] if stage == "chains" else usable:
            found.append(
                estimate(recipe, gpus=1 if stage == "chains" else gpus, launch=launch, **known)
            )
    return found


def _followed(choice: ModelChoice, recipes: Mapping[Stage, Recipe]) -> ModelChoice:
    """The model at the beginning of a chain of ``stage:…``."""
    for _ in STAGES:
        if not choice.source.startswith("stage:"):
            return choice
        stage = next((s for s in recipes if choice.source == f"stage:{s}"), None)
        if stage is None:
            raise InputError(f"expected a recipe for {choice.source} in the same set, got none")
        choice = recipes[stage].model
    raise InputError(f"expected stages that do not go round, got {choice.source}")


def _told(recipe: Recipe, recipes: Mapping[Stage, Recipe]) -> ModelChoice:
    """The recipe's own style and layout with the tokenizer of the model behind it."""
    return recipe.model.model_copy(update={"source": _followed(recipe.model, recipes).source})


def estimate_command(
    recipe: str, *, gpus: int = 8, gpu_gib: float = 24.0, as_json: bool = False
) -> None:
    """Print memory per GPU and the effective batch of every stage of a set."""
    found = estimate_set(recipe, gpus=gpus)
    sizes = sorted({24.0, 80.0, gpu_gib})
    if as_json:
        rows = [
            asdict(one)
            | {"total_gib": round(one.total_gib, 2), "tokens_per_step": one.tokens_per_step}
            | {"fits": {f"{size:g}": one.fits(size) for size in sizes}}
            for one in found
        ]
        print(json.dumps({"recipe": recipe, "gpu_gib": gpu_gib, "stages": rows}, indent=1))
        return
    show(_tables(recipe, found, sizes[-2:]))


def _tables(recipe: str, found: list[Estimate], sizes: list[float]) -> list[Table]:
    """Memory of every stage and launch, and the batches."""
    parts = ("weights", "gradients", "optimiser", "activations", "rollout")
    rows, batches = [], []
    for one in found:
        cells = [f"{one.gib[part]:.1f}" for part in parts]
        verdicts = ["fits" if one.fits(size) else "no" for size in sizes]
        rows.append((one.stage, one.launch, one.gpus, *cells, f"{one.total_gib:.1f}", *verdicts))
        batches.append(
            (
                *(one.stage, one.parameters, one.trained, one.effective_batch),
                *(one.micro_batch, one.accumulation, one.tokens_per_step),
            )
        )
    columns = ("stage", "launch", "GPUs", "weights", "grads", "Adam", "activ.", "rollout", "total")
    wanted = ("stage", "parameters", "trained", "effective batch", "micro", "accumulated", "tokens")
    notes = dict.fromkeys(note for one in found for note in one.notes)
    return [
        Table(
            f"{recipe}: GiB per GPU, and whether it fits",
            (*columns, *(f"{size:g}" for size in sizes)),
            tuple(rows),
            (*notes, _ASSUMED),
        ),
        Table(f"{recipe}: batches of a step", wanted, tuple(dict.fromkeys(batches))),
    ]
