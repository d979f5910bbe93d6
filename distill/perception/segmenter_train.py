"""Train the embedded segmenter from nothing: geometry, windows, whole pictures, memory.

1. *Geometry*: the decoder alone, on noise features, learns what a box prompt means.
2. *Windows*: encoder and decoder on 128-pixel windows, encoded once for all their objects;
   the last part on whole pictures, where objects at the frame's edge matter.
3. *Memory* (:mod:`.segmenter_memory`): encoder frozen, 4-frame clips.

Images and memory keep one resumable checkpoint each; scores go to ``curve.jsonl``.
Not covered: several devices; mask prompts; multimask tokens.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import nn
from transformers import Sam2VideoConfig, Sam2VideoModel

from ...perception.graphs.configs_segmenter import SAM2_MEAN, SAM2_STD, embedded_segmenter_config
from ...perception.graphs.segmenter import build_segmenter
from .runs import Average, Budget, Curve, load_state, save_state
from .segmenter_data import Pictures, PromptMix, geometry_batch, window_batch
from .segmenter_eval import evaluate_images
from .segmenter_export import export
from .segmenter_loss import batch_loss, encode, noise_features

__all__ = ["Recipe", "export", "fit_images", "train"]

Scores = dict[str, float]


@dataclass(frozen=True)
class Recipe:
    """Numbers of the image part; the defaults are the embedded set's."""

    geometry_steps: int = 700
    geometry_prompts: int = 40
    geometry_rate: float = 2e-3
    windows: int = 10
    side: int = 128
    rate: float = 1.5e-3
    decay: float = 0.02
    warmup_steps: int = 40
    whole_from: float = 0.85  # share of the budget from which whole pictures are used
    whole_pictures: int = 3
    both_from: float = 0.5
    validate_every_s: float = 180.0
    validate_pictures: int = 48
    save_every_s: float = 60.0
    reduced: bool = False  # bfloat16 autocast
    config: Callable[[], Sam2VideoConfig] = field(default=embedded_segmenter_config)


def train(
    data_dir: str | Path,
    val_dir: str | Path,
    work_dir: str | Path,
    minutes: float,
    device: str = "cpu",
    seed: int = 0,
    *,
    clips_dir: str | Path | None = None,
    val_clips_dir: str | Path | None = None,
    recipe: Recipe | None = None,
) -> Scores:
    """Train for about ``minutes`` and return the held-out scores; call again to resume.

    The memory part gets 28 % of the minutes when clips exist: ``clips_dir`` defaults to
    ``train_clips`` beside ``data_dir`` and ``val_clips_dir`` to ``val_clips``.

    Raises:
        ModelError: if ``work_dir`` holds another network's checkpoint.
        InputError: if the data directories hold no finished shard.
    """
    from ..sim.shards import open_images
    from .segmenter_memory import train_memory

    torch.set_num_threads(1)
    recipe = recipe or Recipe()
    root = Path(data_dir).parent
    clips = Path(clips_dir or root / "train_clips")
    val_clips = Path(val_clips_dir or root / "val_clips")
    share = 0.72 if clips.is_dir() else 1.0
    work = Path(work_dir)
    model, scores = fit_images(
        lambda: open_images(Path(data_dir)),
        open_images(Path(val_dir)),
        work,
        Budget(minutes=minutes * share, flat=0.05),
        device=device,
        seed=seed,
        recipe=recipe,
    )
    if clips.is_dir():
        budget = Budget(minutes=minutes * (1 - share), flat=0.3)
        scores |= train_memory(model, clips, val_clips, work, budget, seed=seed)
        model.eval()
        after = evaluate_images(
            model, open_images(Path(val_dir)), limit=200, mean=SAM2_MEAN, std=SAM2_STD
        )
        Curve(work / "curve.jsonl").add({"phase": 4, **after})
        scores |= after
    return scores


def fit_images(
    open_pictures: Callable[[], Pictures],
    held_out: Pictures,
    work_dir: Path,
    budget: Budget,
    *,
    device: str = "cpu",
    seed: int = 0,
    recipe: Recipe | None = None,
) -> tuple[Sam2VideoModel, Scores]:
    """Run (or resume) phases 1 and 2; return the averaged model and its held-out scores.

    ``open_pictures`` is called again now and then, since rendering may still be going on.
    """
    recipe = recipe or Recipe()
    work_dir.mkdir(parents=True, exist_ok=True)
    run = _Run(recipe, work_dir, budget, device, seed)
    run.resume()
    with _progress() as show:
        for step in range(run.step, recipe.geometry_steps):
            run.geometry(step)
            show("geometry", step / recipe.geometry_steps, run.loss)
        pictures = open_pictures()
        while (used := budget.share(run.step)) < 1.0:
            if run.step % 200 == 0:
                pictures = open_pictures()
            run.images(pictures, used)
            show(f"segmenter {len(pictures)} pictures", used, run.loss)
            if run.due("save", recipe.save_every_s):
                run.save()
            if run.due("validate", recipe.validate_every_s):
                run.validate(held_out)
    run.save()
    model = run.averaged()
    scores = run.validate(held_out, limit=200)
    return model, scores


class _Run:
    """The state of phases 1 and 2: model, average, optimiser, counters, clocks."""

    def __init__(self, recipe: Recipe, work: Path, budget: Budget, device: str, seed: int) -> None:
        self.recipe, self.budget, self.device, self.seed = recipe, budget, device, seed
        self.model = build_segmenter(recipe.config(), seed).train()
        nn.Module.to(self.model, device)
        self.average = Average(self.model)
        self.optimiser = torch.optim.AdamW(
            _groups(self.model, recipe.decay), lr=recipe.rate, betas=(0.9, 0.98)
        )
        self.path = work / "state.safetensors"
        self.curve = Curve(work / "curve.jsonl")
        self.step, self.visits, self.loss, self.iou = 0, 0, 0.0, 0.0
        self._clock: dict[str, float] = {}

    def resume(self) -> None:
        """Load the last checkpoint, if there is one."""
        if self.path.exists():
            counters = load_state(self.path, self.model, self.average, [self.optimiser])
            self.step, self.visits = counters["step"], counters["visits"]
            self.budget.seconds = self.budget._before = counters["seconds"]

    def save(self) -> None:
        """Write the checkpoint."""
        counters = {"step": self.step, "visits": self.visits, "seconds": self.budget.tick()}
        save_state(self.path, self.model, self.average, [self.optimiser], counters)

    def due(self, name: str, every_s: float) -> bool:
        """Tell whether ``every_s`` have passed since this last said yes."""
        now = self.budget.tick()
        if now - self._clock.setdefault(name, now) < every_s:
            return False
        self._clock[name] = now
        return True

    def geometry(self, step: int) -> None:
        """One step of phase 1."""
        recipe, rng = self.recipe, np.random.default_rng((self.seed, step, 1))
        size = self.model.config.image_size
        tokens = min(8, size // 32)
        batch = geometry_batch(rng, prompts=recipe.geometry_prompts, picture=size, tokens=tokens)
        features = noise_features(self.model, recipe.geometry_prompts, tokens, self.seed + step)
        rate = recipe.geometry_rate * min(1.0, (step + 1) / recipe.warmup_steps)
        with self.precision():
            loss, iou = batch_loss(self.model, batch.to(self.device), features)
        self._update(loss, rate)
        self._note(loss.item(), iou.item(), 0)

    def images(self, pictures: Pictures, used: float) -> None:
        """One step of phase 2."""
        recipe, rng = self.recipe, np.random.default_rng((self.seed, self.step, 2))
        whole = used >= recipe.whole_from
        both = 0.17 if used >= recipe.both_from else 0.0
        batch = window_batch(
            pictures,
            rng,
            windows=recipe.whole_pictures if whole else recipe.windows,
            side=self.model.config.image_size if whole else recipe.side,
            mix=PromptMix(box=0.8 - 0.8 * both, point=0.2 - 0.2 * both, both=both),
            mean=SAM2_MEAN,
            std=SAM2_STD,
        ).to(self.device)
        start = self.step - recipe.geometry_steps
        rise = min(1.0, (start + 1) / recipe.warmup_steps)
        rate = recipe.rate * rise * min(1.0, (1 - used) / (1 - self.budget.flat))
        with self.precision():
            features = encode(self.model, batch.pixels, batch.offsets)
            loss, iou = batch_loss(self.model, batch, features)
        self._update(loss, rate)
        self._note(loss.item(), iou.item(), len(batch.row))

    def _update(self, loss: torch.Tensor, rate: float) -> None:
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimiser.step()
        self.average.update(self.model, self.step)

    def _note(self, loss: float, iou: float, visits: int) -> None:
        self.step += 1
        self.visits += visits
        keep = 0.98 if self.loss else 0.0
        self.loss = keep * self.loss + (1 - keep) * loss
        self.iou = keep * self.iou + (1 - keep) * iou

    def averaged(self) -> Sam2VideoModel:
        """Return a copy of the model with the averaged weights."""
        copy = build_segmenter(self.recipe.config(), self.seed)
        nn.Module.to(copy, self.device)
        copy.load_state_dict(self.model.state_dict())
        self.average.copy_to(copy)
        copy.eval()
        return copy

    def validate(self, held_out: Pictures, limit: int | None = None) -> Scores:
        """Score the averaged weights and add a line to the curve."""
        count = limit or self.recipe.validate_pictures
        scores = evaluate_images(
            self.averaged(), held_out, limit=count, mean=SAM2_MEAN, std=SAM2_STD
        )
        row = {"phase": 2, "step": self.step, "visits": self.visits, "seconds": self.budget.tick()}
        self.curve.add(row | {"loss": self.loss, "train_iou": self.iou} | scores)
        return scores

    def precision(self) -> AbstractContextManager[object]:
        """Return the autocast context of the recipe."""
        if not self.recipe.reduced:
            return nullcontext()
        return torch.autocast(torch.device(self.device).type, torch.bfloat16)


def _groups(model: nn.Module, decay: float) -> list[dict[str, object]]:
    """Weight decay on matrices only; the memory parts are not trained here."""
    matrices: list[nn.Parameter] = []
    rest: list[nn.Parameter] = []
    for name, value in model.named_parameters():
        if name.startswith(("memory_", "mask_downsample", "temporal_")):
            continue
        (matrices if value.ndim >= 2 and "embed" not in name else rest).append(value)
    return [{"params": matrices, "weight_decay": decay}, {"params": rest, "weight_decay": 0.0}]


class _progress:
    """One rich progress bar: ``with _progress() as show: show(text, share, loss)``."""

    def __enter__(self) -> Callable[[str, float, float], None]:
        from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

        text = TextColumn("{task.description}")
        self.bar = Progress(
            text, BarColumn(), TimeElapsedColumn(), TextColumn("loss {task.fields[loss]:.3f}")
        )
        self.bar.start()
        task = self.bar.add_task("segmenter", total=1.0, loss=0.0)
        return lambda name, share, loss: self.bar.update(
            task, description=name, completed=share, loss=loss
        )

    def __exit__(self, *error: object) -> None:
        self.bar.stop()
