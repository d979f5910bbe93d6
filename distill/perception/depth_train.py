"""The embedded depth network, from nothing: metric Depth Anything V2 on simulated pictures.

Resumable and on a time budget, like :mod:`.detector_train`. The loss is the relative error
|d − t| / t, with object pixels three times as heavy, plus half the error of its differences
between neighbours, which keeps edges where they are.

Not covered: relative (scale-free) training, and camera intrinsics other than the simulator's.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from rich.progress import Progress
from torch import Tensor, nn
from transformers import DepthAnythingForDepthEstimation

from ...perception.graphs.configs_depth import IMAGENET_MEAN, IMAGENET_STD, embedded_depth_config
from ...perception.graphs.depth import DepthGraph
from .detector_data import photometric
from .detector_init import sincos_2d
from .muon import Muon
from .runs import Average, Budget, Curve, load_state, save_state

__all__ = ["DepthPictures", "DepthRecipe", "DepthSetup", "depth_loss", "evaluate_depth", "train"]

SAVE_EVERY_S = 60.0
SCORE_EVERY_S = 120.0


class DepthPictures(Protocol):
    """Picture shards with depth: ``rgb`` (N, H, W, 3), ``ids`` and ``depth`` (N, H, W)."""

    @property
    def rgb(self) -> NDArray[np.uint8]: ...  # noqa: D102
    @property
    def ids(self) -> NDArray[np.uint8]: ...  # noqa: D102
    @property
    def depth(self) -> NDArray[np.float16]: ...  # noqa: D102
    def __len__(self) -> int: ...


@dataclass(frozen=True)
class DepthRecipe:
    """What decides a run besides its data and budget; stored with its checkpoint."""

    image_size: int = 224
    layers: int = 4
    width: int = 96
    max_depth: int = 2
    batch: int = 8
    muon_lr: float = 0.02
    adam_lr: float = 1e-3
    warmup_visits: int = 400
    bf16: bool = True
    seed: int = 0


class DepthSetup:
    """Network and optimisers of one run, built the same way at every start."""

    def __init__(self, recipe: DepthRecipe, device: str = "cpu") -> None:
        torch.manual_seed(recipe.seed)
        self.recipe, self.device = recipe, device
        config = embedded_depth_config(
            image_size=recipe.image_size,
            width=recipe.width,
            layers=recipe.layers,
            max_depth=recipe.max_depth,
        )
        self.model: Any = DepthAnythingForDepthEstimation(config)
        _initialise(self.model, recipe)
        self.graph = DepthGraph(self.model)
        self.graph.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.graph.train()
        matrices: list[nn.Parameter] = []
        rest: list[nn.Parameter] = []
        for name, p in self.model.named_parameters():
            inside = name.startswith("backbone.encoder") and p.ndim == 2
            (matrices if inside else rest).append(p)
        fast = torch.bfloat16 if recipe.bf16 else torch.float32
        self.optimisers: list[torch.optim.Optimizer] = [
            Muon(matrices, lr=recipe.muon_lr, dtype=fast),
            torch.optim.AdamW(rest, lr=recipe.adam_lr, betas=(0.9, 0.98), weight_decay=0.01),
        ]

    def predict(self, pixels: Tensor) -> Tensor:
        """Return depth (B, S, S) in metres."""
        kind = self.device.split(":")[0]
        pixels = pixels.to(self.device, memory_format=torch.channels_last)
        with torch.autocast(kind, torch.bfloat16, enabled=self.recipe.bf16):
            depth: Tensor = self.graph(pixels)
        return depth.float()


@torch.no_grad()
def _initialise(model: Any, recipe: DepthRecipe) -> None:
    """Give every layer torch's own initial values; start at a mean depth of .75 m."""
    for module in model.modules():
        if isinstance(module, nn.Linear | nn.Conv2d | nn.ConvTranspose2d | nn.LayerNorm):
            module.reset_parameters()
    embeddings = model.backbone.embeddings
    side = recipe.image_size // 14
    embeddings.position_embeddings.zero_()
    embeddings.position_embeddings[0, 1:] = sincos_2d(side, side, recipe.width) * 0.5
    share = 0.75 / recipe.max_depth
    nn.init.constant_(model.head.conv3.bias, float(np.log(share / (1 - share))))


def depth_loss(depth_bhw: Tensor, truth_bhw: Tensor, objects_bhw: Tensor) -> Tensor:
    """Return the loss described in the module; pixels without a true depth do not count."""
    valid = torch.isfinite(truth_bhw) & (truth_bhw > 0.05) & (truth_bhw < 10)
    truth = truth_bhw.where(valid, torch.ones_like(truth_bhw))
    error = (depth_bhw - truth) / truth
    weight = valid.float() * (1 + 2 * objects_bhw.float())
    loss = (error.abs() * weight).sum() / weight.sum().clamp(min=1)
    for axis in (1, 2):
        step = error.diff(dim=axis).abs()
        both = valid.narrow(axis, 1, step.shape[axis]) & valid.narrow(axis, 0, step.shape[axis])
        loss = loss + 0.5 * (step * both).sum() / both.sum().clamp(min=1)
    return loss


def train(
    data_dir: str | Path,
    val_dir: str | Path,
    work_dir: str | Path,
    minutes: float,
    device: str = "cpu",
    seed: int = 0,
    *,
    steps: int | None = None,
    stop_after: int | None = None,
    recipe: DepthRecipe | None = None,
    open_images: Callable[[Path], DepthPictures] | None = None,
) -> dict[str, float]:
    """Train, or go on training, the depth network in ``work_dir``; return the last scores.

    Arguments as in :func:`.detector_train.train`.

    Raises:
        ModelError: if ``work_dir`` holds a checkpoint of another network.
    """
    opener = open_images or _open_shards
    work = Path(work_dir)
    work.mkdir(parents=True, exist_ok=True)
    recipe = recipe or DepthRecipe(seed=seed)
    torch.set_num_threads(1)
    setup = DepthSetup(recipe, device)
    data, val = opener(Path(data_dir)), opener(Path(val_dir))
    (work / "recipe.json").write_text(json.dumps(asdict(recipe)), encoding="utf-8")
    average = Average(setup.model)
    counters: dict[str, Any] = {"step": 0, "visits": 0, "seconds": 0.0, "images": len(data)}
    file = work / "state.safetensors"
    if file.exists():
        counters |= load_state(file, setup.model, average, setup.optimisers)
    budget = Budget(minutes, steps, recipe.warmup_visits, seconds=float(counters["seconds"]))
    curve = Curve(work / "curve.jsonl")
    bases = [group["lr"] for o in setup.optimisers for group in o.param_groups]
    saved = scored = budget.tick()
    mean_loss = 0.0
    with Progress(transient=True) as bar:
        task = bar.add_task("depth", total=1.0)
        while budget.share(counters["step"]) < 1 and counters["step"] != stop_after:
            factor = budget.factor(counters["step"], counters["visits"])
            groups = (group for o in setup.optimisers for group in o.param_groups)
            for base, group in zip(bases, groups, strict=True):
                group["lr"] = base * factor
            loss = _step(setup, data, counters["step"])
            mean_loss = loss if counters["step"] == 0 else 0.98 * mean_loss + 0.02 * loss
            average.update(setup.model, counters["step"])
            counters["step"] += 1
            counters["visits"] += recipe.batch
            counters["seconds"] = budget.tick()
            bar.update(task, completed=budget.share(counters["step"]))
            if counters["seconds"] - saved > SAVE_EVERY_S:
                saved = counters["seconds"]
                save_state(file, setup.model, average, setup.optimisers, counters)
            if counters["seconds"] - scored > SCORE_EVERY_S:
                scores = evaluate_depth(_averaged(setup, average), val, limit=64)
                curve.add({**_row(counters), **scores, "loss": mean_loss})
                data = opener(Path(data_dir))
                counters["images"] = len(data)
                scored = budget.tick()
    save_state(file, setup.model, average, setup.optimisers, counters)
    if counters["step"] == stop_after:
        return {"loss": mean_loss}
    scores = evaluate_depth(_averaged(setup, average), val)
    curve.add({**_row(counters), **scores, "loss": mean_loss})
    (work / "scores.json").write_text(json.dumps({**_row(counters), **scores}), encoding="utf-8")
    return {**scores, "loss": mean_loss}


def _step(setup: DepthSetup, data: DepthPictures, step: int) -> float:
    rng = np.random.default_rng([setup.recipe.seed, step])
    rows = np.sort(rng.choice(len(data), min(setup.recipe.batch, len(data)), replace=False))
    pixels, truth, objects = _batch(data, rows, rng, setup.recipe.image_size)
    depth = setup.predict(pixels)
    loss = depth_loss(depth, truth.to(setup.device), objects.to(setup.device))
    for optimiser in setup.optimisers:
        optimiser.zero_grad(set_to_none=True)
    loss.backward()
    value = float(loss.detach())
    if np.isfinite(value):
        for optimiser in setup.optimisers:
            optimiser.step()
    return value


def _batch(
    data: DepthPictures, rows: NDArray[np.int64], rng: np.random.Generator | None, size: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Return pixels (B, 3, S, S), true depth (B, S, S) and object pixels (B, S, S)."""
    frames, depths, masks = [], [], []
    for row in rows.tolist():
        rgb, ids = np.array(data.rgb[row]), np.array(data.ids[row])
        depth = np.asarray(data.depth[row], np.float32)
        if rng is not None:
            if rng.random() < 0.5:
                rgb, ids, depth = (np.ascontiguousarray(a[:, ::-1]) for a in (rgb, ids, depth))
            rgb = photometric(rgb, rng)
        small = (size, size)
        frames.append(cv2.resize(rgb, small, interpolation=cv2.INTER_AREA))
        depths.append(cv2.resize(depth, small, interpolation=cv2.INTER_NEAREST))
        masks.append(cv2.resize(ids, small, interpolation=cv2.INTER_NEAREST) > 0)
    pixels = torch.from_numpy(np.stack(frames)).permute(0, 3, 1, 2).float() / 255
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in (IMAGENET_MEAN, IMAGENET_STD))
    return (
        (pixels - mean) / std,
        torch.from_numpy(np.stack(depths)),
        torch.from_numpy(np.stack(masks)),
    )


@torch.no_grad()
def evaluate_depth(
    setup: DepthSetup, pictures: DepthPictures, limit: int | None = None
) -> dict[str, float]:
    """Score at the pictures' own size, as the device does it.

    ``objects_10``: share of object pixels within 10 % of the truth; ``all_10`` of all
    pixels; ``objects_25`` the usual δ1; ``objects_relative`` the mean relative error;
    ``objects_median_10``: share of objects whose median depth is within 10 %.
    """
    near, wide, errors, everywhere, medians = [], [], [], [], []
    count = len(pictures) if limit is None else min(limit, len(pictures))
    for start in range(0, count, 8):
        rows = np.arange(start, min(start + 8, count))
        pixels, _, _ = _batch(pictures, rows, None, setup.recipe.image_size)
        for row, small in zip(rows.tolist(), setup.predict(pixels).cpu().numpy(), strict=True):
            truth, ids = np.asarray(pictures.depth[row], np.float32), np.asarray(pictures.ids[row])
            depth = cv2.resize(small, truth.shape[::-1], interpolation=cv2.INTER_LINEAR)
            valid = np.isfinite(truth) & (truth > 0.05) & (truth < 10)
            error = np.abs(depth - truth) / np.where(valid, truth, 1)
            objects = valid & (ids > 0)
            everywhere.append(float((error[valid] < 0.1).mean()))
            if objects.any():
                near.append(float((error[objects] < 0.1).mean()))
                wide.append(float((error[objects] < 0.25).mean()))
                errors.append(float(error[objects].mean()))
            for k in range(1, int(ids.max()) + 1):
                mine = valid & (ids == k)
                if mine.sum() >= 40:
                    got, want = np.median(depth[mine]), np.median(truth[mine])
                    medians.append(float(abs(got - want) < 0.1 * want))

    def mean(values: list[float]) -> float:
        return float(np.mean(values)) if values else 0.0

    return {
        "objects_10": mean(near),
        "objects_25": mean(wide),
        "objects_relative": mean(errors),
        "objects_median_10": mean(medians),
        "all_10": mean(everywhere),
    }


def _averaged(setup: DepthSetup, average: Average) -> DepthSetup:
    copy = DepthSetup(setup.recipe, setup.device)
    average.copy_to(copy.model)
    copy.model.eval()
    return copy


def _open_shards(path: Path) -> DepthPictures:
    from ..sim.shards import open_images

    return open_images(path)


def _row(counters: dict[str, Any]) -> dict[str, float | int]:
    return {k: counters[k] for k in ("visits", "seconds", "images")}
