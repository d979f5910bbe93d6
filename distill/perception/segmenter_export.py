"""A trained segmenter into the embedded set: four ONNX files, safetensors, a card, the manifest."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import save_file
from transformers import Sam2VideoConfig, Sam2VideoModel

from ...perception.bundle import write_network_entry
from ...perception.graphs.configs_segmenter import embedded_segmenter_config
from ...perception.graphs.segmenter import build_segmenter
from ...perception.graphs.segmenter_bundle import segmenter_manifest
from ...perception.graphs.segmenter_export import export_segmenter
from ...perception.graphs.torch_bundle import load_safetensors
from ...twin.errors import ModelError
from .runs import Average, Curve, load_state, parameter_count

__all__ = ["export", "load_segmenter", "load_trained"]

_WEIGHTS, _CARD = "segmenter.safetensors", "segmenter.card.md"


def load_trained(work_dir: str | Path, config: Sam2VideoConfig | None = None) -> Sam2VideoModel:
    """Return the averaged weights of a training run, with its memory part if there is one.

    Raises:
        ModelError: if the directory holds no checkpoint, or one of another network.
    """
    work = Path(work_dir)
    states = [work / "state_memory.safetensors", work / "state.safetensors"]
    path = next((p for p in states if p.exists()), None)
    if path is None:
        raise ModelError(
            f"expected a segmenter's checkpoint in {work}, got none; "
            "train first (edgetwin distill embedded --net segmenter)"
        )
    model = build_segmenter(config or embedded_segmenter_config())
    average = Average(model)
    load_state(path, model, average)
    average.copy_to(model)
    model.eval()
    return model


def load_segmenter(path: str | Path) -> Sam2VideoModel:
    """Return the model of an exported ``segmenter.safetensors``, float32, for fine-tuning.

    Raises:
        ModelError: if the file is no exported segmenter.
    """
    model: Sam2VideoModel = load_safetensors(path, "segmenter")
    return model.requires_grad_(True)


def export(
    work_dir: str | Path, weights_dir: str | Path, config: Sam2VideoConfig | None = None
) -> dict[str, str]:
    """Write the trained segmenter into a bundle directory; returns sha256 by file name.

    Half-precision safetensors are for fine-tuning; the ONNX files come from the same rounded
    weights, so that both are one model.

    Raises:
        ModelError: if there is no checkpoint or a graph differs from its ONNX file.
    """
    folder = Path(weights_dir)
    folder.mkdir(parents=True, exist_ok=True)
    model = load_trained(work_dir, config)
    half = {k: v.detach().half().contiguous().clone() for k, v in model.state_dict().items()}
    model.load_state_dict({k: v.float() for k, v in half.items()})
    about = json.dumps(model.config.to_dict(), default=str)
    save_file(half, str(folder / _WEIGHTS), {"format": "pt", "config": about})
    (folder / _WEIGHTS).chmod(0o644)
    files = export_segmenter(model, folder)
    (folder / _CARD).write_text(_card(model, Curve(Path(work_dir) / "curve.jsonl").rows()))
    with torch.no_grad():
        loaded = load_segmenter(folder / _WEIGHTS)
        worst = max(
            float((a - b).abs().max())
            for a, b in zip(loaded.parameters(), model.parameters(), strict=True)
        )
    if worst > 0:
        raise ModelError(
            f"expected {_WEIGHTS} to hold the exported weights, got a difference of {worst:.3g}; "
            "the configuration did not survive the file, report it"
        )
    about_memory = {"memory": (Path(work_dir) / "state_memory.safetensors").exists()}
    return write_network_entry(
        folder, "segmenter", (*files, _WEIGHTS, _CARD), segmenter_manifest(model) | about_memory
    )


def _card(model: Sam2VideoModel, curve: list[dict[str, float]]) -> str:
    images = next((r for r in reversed(curve) if "box" in r), {})
    clips = next((r for r in reversed(curve) if "tracked" in r), {})
    lines = [
        "# Segmenter of the embedded set",
        "",
        f"SAM 2 (transformers `Sam2VideoModel`), {parameter_count(model) / 1e6:.2f} M parameters,"
        f" {model.config.image_size} x {model.config.image_size} pixels, trained from nothing on"
        " simulated tabletop pictures (cell tier) by `distill/perception/segmenter_train.py`.",
        "",
        "Held-out worlds of the same simulator (mean IoU at picture size, objects of at least 40"
        " pixels; the baselines use the prompt alone):",
        "",
        "| from | IoU |",
        "|---|---|",
        *_rows(
            images,
            {
                "box": "true boxes",
                "jitter": "boxes with sides off by up to 5 %",
                "point": "one inner point",
                "ellipse": "baseline: ellipse in the true box",
                "fill": "baseline: the filled true box",
                "odd": "true boxes, odd shapes (ellipse below .6)",
                "odd_ellipse": "baseline: ellipse, odd shapes",
            },
        ),
    ]
    if clips:
        lines += [
            "",
            "Clips of 8 frames at 5 frames/s, true boxes on the first frame only:",
            "",
            "| over the later frames | IoU |",
            "|---|---|",
            *_rows(
                clips,
                {
                    "tracked": "tracked by memory",
                    "copied": "baseline: first mask kept",
                    "tracked_moving": "tracked, objects that move",
                    "copied_moving": "baseline, objects that move",
                },
            ),
        ]
    visits = int(max((r.get("visits", 0) for r in curve), default=0))
    lines += [
        "",
        f"Prompts seen in training: {visits}. Licence: Apache-2.0. It knows simulated tables; on real"
        " video expect worse. Several masks per prompt are not trained.",
        "",
    ]
    return "\n".join(lines)


def _rows(scores: Mapping[str, float], names: Mapping[str, str]) -> list[str]:
    return [f"| {text} | {scores[key]:.3f} |" for key, text in names.items() if key in scores]
