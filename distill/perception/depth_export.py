"""The trained depth network's files: ONNX graph, half-precision safetensors, card."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

import torch

from ...perception.bundle import write_network_entry
from ...perception.depth import DepthConfig
from ...perception.graphs.configs_depth import IMAGENET_MEAN, IMAGENET_STD
from ...perception.graphs.depth import export_depth
from .cards import curve_table, write_card
from .depth_data import DepthPictures
from .depth_eval import evaluate_depth
from .depth_train import DepthRecipe, DepthSetup
from .runs import Average, Curve, load_state, parameter_count, save_half

__all__ = ["FILES", "export"]

FILES = ("depth.onnx", "depth.safetensors", "depth.card.md")


def export(
    work_dir: str | Path, weights_dir: str | Path, val: DepthPictures | None = None
) -> dict[str, str]:
    """Write the averaged weights of ``work_dir`` into ``weights_dir`` and its manifest.

    Weights are rounded to half precision first, so that graph and safetensors are the same
    network. ``val`` adds final scores to the card.

    Returns:
        The SHA-256 of every file, by name.

    Raises:
        ModelError: if there is no checkpoint, or the graph differs from the network.
    """
    work, folder = Path(work_dir), Path(weights_dir)
    recipe = DepthRecipe(**json.loads((work / "recipe.json").read_text(encoding="utf-8")))
    setup = DepthSetup(recipe)
    average = Average(setup.module)
    counters = load_state(work / "state.safetensors", setup.module, average)
    average.copy_to(setup.module)
    folder.mkdir(parents=True, exist_ok=True)
    setup.module.eval()
    setup.graph.to(memory_format=torch.contiguous_format)  # type: ignore[call-overload]
    settings = setup.model.config.to_json_string(use_diff=False)
    name = "DepthAnythingForDepthEstimation"
    save_half(folder / "depth.safetensors", setup.model, name, settings)
    scores = evaluate_depth(setup.predict, val, recipe.image_size) if val is not None else {}
    export_depth(setup.model, folder)
    config = DepthConfig(
        image_size=recipe.image_size,
        mean=IMAGENET_MEAN,
        std=IMAGENET_STD,
        max_depth=float(recipe.max_depth),
        multiple=recipe.patch,
    )
    facts = {
        "Network": f"Depth Anything V2 (transformers DepthAnythingForDepthEstimation, metric, up to {recipe.max_depth} m), {parameter_count(setup.model):,} weights, {recipe.image_size} × {recipe.image_size}",
        "Trained on": f"{counters['images']:,} simulated pictures (world seeds below 1,000,000), {counters['visits']:,} visits, from the embedded detector's image encoder",
        "Time": f"{counters['seconds'] / 60:.1f} minutes, {counters.get('machine', 'one thread of an x86-64 CPU')}, shared with other work",
        "Recipe": json.dumps(asdict(recipe)),
        "Precision": "float32 graph of weights rounded to float16; depth.safetensors is float16",
    }
    note = (
        "Scores are on the validation split (world seeds from 1,000,000), at the pictures' own "
        "size: `objects_10` is the mean share of object pixels within 10 % of the true metres. It "
        "knows one camera (vertical field of view 45°) over a simulated table and nothing else."
    )
    keys = ("visits", "seconds", "objects_10", "objects_25", "objects_relative", "all_10")
    table = curve_table(Curve(work / "curve.jsonl").rows(), keys)
    write_card(folder / "depth.card.md", "Depth", facts, scores, table, note)
    manifest = {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(config).items()}
    return write_network_entry(folder, "depth", FILES, manifest)
