"""The trained detector's files: ONNX graphs, half-precision safetensors, tokenizer, card."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from ...perception.bundle import write_network_entry
from ...perception.detector import DetectorConfig
from ...perception.graphs.detector import export_detector
from .cards import curve_table, write_card
from .detector_data import Pictures
from .detector_eval import detections, runtime_config, score, see
from .detector_train import DetectorRecipe, Setup
from .runs import Average, Curve, load_state, parameter_count, save_half

__all__ = ["FILES", "MIN_RECALL", "best_settings", "export"]

MIN_RECALL = 0.95
FILES = (
    "detector_image.onnx",
    "detector_text.onnx",
    "detector_tokenizer.json",
    "detector.safetensors",
    "detector.card.md",
)


def export(
    work_dir: str | Path, weights_dir: str | Path, val: Pictures | None = None
) -> dict[str, str]:
    """Write the averaged weights of ``work_dir`` into ``weights_dir`` and its manifest.

    Weights are rounded to half precision first, so that the ONNX graphs and the
    safetensors are the same network. ``val`` (pictures of the validation split) sets the
    score threshold and the support (see :func:`best_settings`).

    Returns:
        The SHA-256 of every file, by name.

    Raises:
        ModelError: if there is no checkpoint, or the graphs differ from the network.
    """
    work, folder = Path(work_dir), Path(weights_dir)
    recipe = DetectorRecipe(**json.loads((work / "recipe.json").read_text(encoding="utf-8")))
    setup = Setup(recipe)
    average = Average(setup.module)
    counters = load_state(work / "state.safetensors", setup.module, average)
    average.copy_to(setup.module)
    folder.mkdir(parents=True, exist_ok=True)
    settings = setup.model.config.to_json_string(use_diff=False)
    save_half(folder / "detector.safetensors", setup.model, "Owlv2ForObjectDetection", settings)
    setup.module.eval()
    config = runtime_config(setup.queries.nouns, setup.queries.colors)
    scores: dict[str, float] = {}
    if val is not None:
        config, scores = best_settings(setup, val)
    export_detector(setup.model, folder)
    (folder / "detector_tokenizer.json").write_text(
        json.dumps(setup.tokenizer_json, separators=(",", ":")), encoding="utf-8"
    )
    _card(folder, work, setup, counters, scores)
    manifest = {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(config).items()}
    words = {"nouns": setup.queries.nouns, "colors": setup.queries.colors}
    return write_network_entry(folder, "detector", FILES, manifest, words)


def best_settings(setup: Setup, val: Pictures) -> tuple[DetectorConfig, dict[str, float]]:
    """Return the settings with the best F1 of right nouns, and the scores with them.

    Only settings that keep ``MIN_RECALL`` compete (all of them, where none does): an object
    that is missed is lost to the twin, a false one is often dropped by the tracker. They are
    chosen on the first 300 pictures and scored on all.
    """
    seen = see(setup, val)
    best, best_key = runtime_config(setup.queries.nouns, setup.queries.colors), (False, -1.0)
    for threshold in (0.3, 0.4, 0.5, 0.6):
        for support in (0.0, 0.6, 0.8, 1.0, 1.3):
            config = runtime_config(setup.queries.nouns, setup.queries.colors, threshold, support)
            scores = score(detections(seen[:300], setup.queries, config, val))
            key = (scores["recall"] >= MIN_RECALL, scores["f1"])
            if key > best_key:
                best, best_key = config, key
    return best, score(detections(seen, setup.queries, best, val))


def _card(
    folder: Path, work: Path, setup: Setup, counters: dict[str, Any], scores: dict[str, float]
) -> None:
    rows = Curve(work / "curve.jsonl").rows()
    keys = ("visits", "seconds", "recall", "precision", "label", "color_noun", "unseen")
    facts = {
        "Network": f"OWLv2 (transformers Owlv2ForObjectDetection), {parameter_count(setup.model):,} weights, 256 × 256, 16 × 16 patches",
        "Trained on": f"{counters['images']:,} simulated pictures of the {setup.recipe.tier} tier (world seeds below 1,000,000), {counters['visits']:,} visits, from nothing",
        "Time": f"{counters['seconds'] / 60:.1f} minutes, {counters.get('machine', 'one thread of an x86-64 CPU')}, shared with other work",
        "Recipe": json.dumps(asdict(setup.recipe)),
        "Words": f"{', '.join(setup.queries.nouns)}; {', '.join(setup.queries.colors)}",
        "Precision": "float32 graphs of weights rounded to float16; detector.safetensors is float16",
    }
    note = (
        "Scores are on the validation split (world seeds from 1,000,000): recall of objects with "
        "at least 40 visible pixels at IoU .5, then the share of matched objects with the right "
        "noun, and with the right colour and noun; `unseen` is the latter for the pairs of colour "
        "and noun that no training picture holds. The score threshold and the support were chosen on its first 300 pictures. "
        "It knows simulated objects on a table and nothing else."
    )
    write_card(
        folder / "detector.card.md", "Detector", facts, scores, curve_table(rows, keys), note
    )
