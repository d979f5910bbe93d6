"""The embedded detector, from nothing.

Resumable and on a time budget, see :mod:`.loop`; :mod:`.detector_export` may be called at any
time, also while it runs, and takes the last checkpoint's averaged weights.

Not covered: several devices, and vocabularies that differ from the simulator's tier.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import Owlv2ForObjectDetection

from ...perception.detector import Queries
from ...perception.graphs.configs_detector import CLIP_MEAN, CLIP_STD, embedded_detector_config
from ...perception.graphs.detector import DetectorImage, DetectorText
from ...perception.query_words import QueryTokenizer, word_level_json
from ..sim.catalogue import COLOUR_NAMES, HELD_OUT_PAIRS, categories_of
from .detector_data import Pictures, make_batch
from .detector_eval import evaluate
from .detector_init import initialise
from .detector_loss import AuxiliaryHead, Vocabulary, detection_loss
from .loop import fit
from .muon import Muon
from .runs import Average

__all__ = ["DetectorRecipe", "Setup", "train"]

STATS = (CLIP_MEAN, CLIP_STD)


@dataclass(frozen=True)
class DetectorRecipe:
    """What decides a run besides its data and budget; stored with its checkpoint."""

    tier: str = "cell"
    layers: int = 4
    width: int = 128
    batch: int = 8
    muon_lr: float = 0.02
    adam_lr: float = 1e-3
    warmup_visits: int = 800
    bf16: bool = True
    seed: int = 0


class Setup:
    """Network, words and optimisers of one run, built the same way at every start."""

    def __init__(self, recipe: DetectorRecipe, device: str = "cpu") -> None:
        torch.manual_seed(recipe.seed)
        self.recipe = recipe
        self.device = device
        nouns = categories_of("wild" if recipe.tier == "wild" else "cell")
        self.queries = Queries(nouns, COLOUR_NAMES)
        single = dict.fromkeys(
            word for phrase in (*nouns, *COLOUR_NAMES) for word in phrase.split()
        )
        self.tokenizer_json = word_level_json(list(single))
        config: Any = embedded_detector_config(
            len(single) + 4, layers=recipe.layers, width=recipe.width
        )
        length = config.text_config.max_position_embeddings
        self.tokenizer = QueryTokenizer(self.tokenizer_json, length)
        self.tokens = torch.from_numpy(self.tokenizer.encode(self.queries.phrases)).to(device)
        learnt = [(c, n) not in HELD_OUT_PAIRS for n in nouns for c in COLOUR_NAMES]
        self.words = Vocabulary(len(nouns), len(COLOUR_NAMES), torch.tensor(learnt))
        self.model: Any = Owlv2ForObjectDetection(config)
        if recipe.bf16 and device == "cpu":  # 18 % less time a step than the fused attention
            self.model.owlv2.vision_model.config._attn_implementation = "eager"
        self.auxiliary = AuxiliaryHead(recipe.width, len(nouns), len(COLOUR_NAMES))
        # One module for the checkpoint; only the model's part is exported.
        self.module = torch.nn.ModuleDict({"model": self.model, "auxiliary": self.auxiliary})
        self.image, self.text = DetectorImage(self.model), DetectorText(self.model)

    def start(self, data: Pictures) -> None:
        """Set initial values from training patches and build the optimisers."""
        patches = _sample_patches(data, self.recipe.seed)
        initialise(self.model, patches, self.tokens.cpu(), self.recipe.seed)
        self.ready()

    def ready(self) -> None:
        """Move to the device and build the optimisers."""
        self.module.to(self.device).train()
        matrices: list[torch.nn.Parameter] = []
        rest: list[torch.nn.Parameter] = []
        filters: list[torch.nn.Parameter] = []
        for name, p in self.module.named_parameters():
            if ".vision_model.encoder.layers." in name and p.ndim == 2:
                matrices.append(p)
            elif name.endswith("patch_embedding.weight"):
                filters.append(p)
            else:
                rest.append(p)
        fast = torch.bfloat16 if self.recipe.bf16 else torch.float32
        groups: list[dict[str, Any]] = [
            {"params": rest},
            {"params": filters, "lr": 0.1 * self.recipe.adam_lr},
        ]
        self.optimisers: list[torch.optim.Optimizer] = [
            Muon(matrices, lr=self.recipe.muon_lr, dtype=fast),
            # Whitened filters have weights of very different sizes: Adam's equal steps would
            # undo them at the usual rate.
            torch.optim.AdamW(
                groups,
                lr=self.recipe.adam_lr,
                betas=(0.9, 0.98),
                weight_decay=0.01,
            ),
        ]

    def outputs(self, pixels: Tensor) -> tuple[Tensor, tuple[Tensor, Tensor, Tensor]]:
        """Return patch features and the heads' outputs; the encoder runs in bfloat16."""
        kind = self.device.split(":")[0]
        with torch.autocast(kind, torch.bfloat16, enabled=self.recipe.bf16):
            features = self.image.features(pixels)
        features = features.float()  # a box's logit needs more than 8 bits
        return features, self.image.heads(features, self.text(self.tokens))

    def step(self, data: Pictures, number: int) -> dict[str, float]:
        """Take one step; a loss that is not finite is not followed."""
        rng = np.random.default_rng([self.recipe.seed, number])
        rows = np.sort(rng.choice(len(data), min(self.recipe.batch, len(data)), replace=False))
        words = (self.queries.nouns, self.queries.colors)
        batch = make_batch(data, rows, rng, words, STATS).to(self.device)
        features, outputs = self.outputs(batch.pixels)
        loss, parts = detection_loss(outputs, self.auxiliary(features), batch, self.words)
        for optimiser in self.optimisers:
            optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.optimisers[1].param_groups[0]["params"], 10.0)
        if math.isfinite(float(loss.detach())):
            for optimiser in self.optimisers:
                optimiser.step()
        return parts

    def scores(self, average: Average, data: Pictures, limit: int | None) -> dict[str, float]:
        """Score the averaged weights."""
        copy = Setup(self.recipe, self.device)
        copy.module.to(self.device).eval()
        average.copy_to(copy.module)
        return evaluate(copy, data, limit)


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
    recipe: DetectorRecipe | None = None,
    open_images: Callable[[Path], Pictures] | None = None,
) -> dict[str, float]:
    """Train, or go on training, the detector in ``work_dir``; return the last scores.

    ``data_dir`` may still be growing: it is opened again after every scoring. ``steps``
    replaces the time budget (then a resumed run equals an uninterrupted one); ``stop_after``
    ends this start early at that step, leaving the run unfinished. ``open_images`` replaces
    the reader of shards.

    Raises:
        ModelError: if ``work_dir`` holds a checkpoint of another network.
    """
    return fit(
        "detector",
        Setup(recipe or DetectorRecipe(seed=seed), device),
        Path(data_dir),
        Path(val_dir),
        Path(work_dir),
        minutes,
        opener=open_images,
        steps=steps,
        stop_after=stop_after,
    )


def _sample_patches(data: Pictures, seed: int, count: int = 20000) -> NDArray[np.float32]:
    """Return normalised 16 × 16 patches of training pictures, (count, 768) channels first."""
    rng = np.random.default_rng([seed, 1 << 20])
    pictures = rng.integers(0, len(data), 200)
    mean, std = np.array(CLIP_MEAN, np.float32), np.array(CLIP_STD, np.float32)
    found = []
    for index in pictures.tolist():
        image = (np.asarray(data.rgb[index], np.float32) / 255 - mean) / std
        for y, x in rng.integers(0, image.shape[0] - 16, (count // 200, 2)).tolist():
            found.append(image[y : y + 16, x : x + 16].transpose(2, 0, 1).ravel())
    return np.stack(found).astype(np.float32)
