"""The embedded depth network: metric Depth Anything V2 on simulated pictures.

Resumable and on a time budget, see :mod:`.loop`. It starts at the embedded detector's image
encoder (:mod:`.depth_init`) and learns nouns, heights and the table's plane beside the depth
(:mod:`.depth_loss`).

Not covered: relative (scale-free) training, and camera intrinsics other than the simulator's.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from transformers import DepthAnythingForDepthEstimation

from ...perception.graphs.configs_depth import embedded_depth_config
from ...perception.graphs.depth import DepthGraph
from ..sim.catalogue import CATEGORIES
from .depth_data import DepthPictures, chances, depth_batch, pixels_of
from .depth_eval import evaluate_depth
from .depth_init import borrow_encoder, initialise
from .depth_loss import AuxiliaryDepthHead, auxiliary_losses, depth_loss
from .loop import fit
from .muon import Muon
from .runs import Average

__all__ = ["DepthRecipe", "DepthSetup", "train"]

NOUNS = {name: index for index, name in enumerate(CATEGORIES)}


@dataclass(frozen=True)
class DepthRecipe:
    """What decides a run besides its data and budget; stored with its checkpoint."""

    image_size: int = 256
    patch: int = 16
    layers: int = 4
    width: int = 128
    max_depth: int = 2
    batch: int = 8
    muon_lr: float = 0.008  # at .02 the table's plane is not learnt until the rate falls
    adam_lr: float = 4e-4
    warmup_visits: int = 400
    auxiliary: float = 1.0
    lifted: float = 3.0  # how much more often pictures with an object in the air are drawn
    bf16: bool = True
    seed: int = 0


class DepthSetup:
    """Network and optimisers of one run, built the same way at every start.

    ``detector`` is a checkpoint or a weights file of the embedded detector; None starts the
    encoder from torch's own initial values.
    """

    def __init__(
        self, recipe: DepthRecipe, device: str = "cpu", detector: Path | None = None
    ) -> None:
        torch.manual_seed(recipe.seed)
        self.recipe, self.device, self.detector = recipe, device, detector
        config: Any = embedded_depth_config(
            image_size=recipe.image_size,
            patch=recipe.patch,
            width=recipe.width,
            layers=recipe.layers,
            max_depth=recipe.max_depth,
        )
        self.model: Any = DepthAnythingForDepthEstimation(config)
        if recipe.bf16 and device == "cpu":  # 11 % less time a step than the fused attention
            self.model.backbone.config._attn_implementation = "eager"
        self.auxiliary = AuxiliaryDepthHead(recipe.width, len(NOUNS))
        # One module for the checkpoint; only the model's part is exported.
        self.module: nn.Module = nn.ModuleDict({"model": self.model, "auxiliary": self.auxiliary})
        self.graph = DepthGraph(self.model)
        self.optimisers: list[torch.optim.Optimizer] = []
        self._tokens: Tensor | None = None
        self._chances = np.zeros(0)
        self.model.backbone.layernorm.register_forward_hook(self._keep)

    def start(self, data: DepthPictures) -> None:
        """Set initial values."""
        initialise(self.model)
        if self.detector is not None:
            frames = [np.array(data.rgb[i]) for i in range(min(32, len(data)))]
            pixels = nn.functional.interpolate(
                pixels_of(frames), self.recipe.image_size, mode="area"
            )
            borrow_encoder(self.model, self.detector, pixels)
        self.ready()

    def ready(self) -> None:
        """Move to the device and build the optimisers."""
        self.module.to(self.device)
        self.graph.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.module.train()
        matrices: list[nn.Parameter] = []
        rest: list[nn.Parameter] = []
        for name, p in self.module.named_parameters():
            inside = name.startswith("model.backbone.encoder") and p.ndim == 2
            (matrices if inside else rest).append(p)
        fast = torch.bfloat16 if self.recipe.bf16 else torch.float32
        self.optimisers = [
            Muon(matrices, lr=self.recipe.muon_lr, dtype=fast),
            torch.optim.AdamW(rest, lr=self.recipe.adam_lr, betas=(0.9, 0.98), weight_decay=0.01),
        ]

    def predict(self, pixels: Tensor) -> Tensor:
        """Return depth (B, S, S) in metres."""
        kind = self.device.split(":")[0]
        pixels = pixels.to(self.device, memory_format=torch.channels_last)
        with torch.autocast(kind, torch.bfloat16, enabled=self.recipe.bf16):
            depth: Tensor = self.graph(pixels)
        return depth.float()

    def step(self, data: DepthPictures, number: int) -> dict[str, float]:
        """Take one step; a loss that is not finite is not followed."""
        recipe = self.recipe
        rng = np.random.default_rng([recipe.seed, number])
        if len(self._chances) != len(data):
            self._chances = chances(data.objects, recipe.lifted)
        count = min(recipe.batch, len(data))
        rows = np.sort(rng.choice(len(data), count, replace=False, p=self._chances))
        batch = depth_batch(data, rows, rng, recipe.image_size, recipe.patch, NOUNS)
        batch = batch.to(self.device)
        parts = {"depth": depth_loss(self.predict(batch.pixels), batch.depth, batch.objects)}
        assert self._tokens is not None
        outputs = self.auxiliary(self._tokens[:, 1:].float())
        for name, loss in auxiliary_losses(outputs, batch).items():
            parts[name] = recipe.auxiliary * loss
        for optimiser in self.optimisers:
            optimiser.zero_grad(set_to_none=True)
        total = torch.stack(list(parts.values())).sum()
        total.backward()
        if torch.isfinite(total):
            for optimiser in self.optimisers:
                optimiser.step()
        return {name: float(loss.detach()) for name, loss in parts.items()}

    def scores(self, average: Average, data: DepthPictures, limit: int | None) -> dict[str, float]:
        """Score the averaged weights."""
        copy = DepthSetup(self.recipe, self.device)
        average.copy_to(copy.module)
        copy.module.to(self.device).eval()
        return evaluate_depth(copy.predict, data, self.recipe.image_size, limit)

    def _keep(self, _module: nn.Module, _inputs: Any, output: Tensor) -> None:
        self._tokens = output  # of the last layer, for the auxiliary head


def train(
    data_dir: str | Path,
    val_dir: str | Path,
    work_dir: str | Path,
    minutes: float,
    device: str = "cpu",
    seed: int = 0,
    *,
    detector: Path | None = None,
    steps: int | None = None,
    stop_after: int | None = None,
    recipe: DepthRecipe | None = None,
    open_images: Callable[[Path], DepthPictures] | None = None,
) -> dict[str, float]:
    """Train, or go on training, the depth network in ``work_dir``; return the last scores.

    ``detector`` is the checkpoint or weights file of a detector that a new run starts from
    (see :class:`DepthSetup`). Other arguments as in :func:`.detector_train.train`.

    Raises:
        ModelError: if ``work_dir`` holds a checkpoint of another network, or ``detector`` is
            of another size.
    """
    return fit(
        "depth",
        DepthSetup(recipe or DepthRecipe(seed=seed), device, detector),
        Path(data_dir),
        Path(val_dir),
        Path(work_dir),
        minutes,
        opener=open_images,
        steps=steps,
        stop_after=stop_after,
    )
