"""A stage's model as what a device runs: adapter merged, exported, described.

The exported bundle says in its manifest what the student was trained for: the words of its chains,
the modes and the earlier questions that its recipes asked, besides what it began with. The card
beside it holds the recipes, the hash of the chains and the scores.

Not covered: networks other than Qwen3, quantisation other than the GenAI builder's and GGUF's.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from ...deploy.export.genai import build_genai
from ...reasoner.bundle import ReasonerBundle, load_bundle, write_manifest
from ...reasoner.prompts import Mode
from ...twin.errors import InputError, MissingExtraError, ModelError
from ..reasoner.export import Learnt, learnt_in
from ..reasoner.records import read
from .pipeline import finished_of, stage_table
from .recipe import STAGES, Recipe, Stage, load_recipe

__all__ = ["Exported", "export_student", "merge", "trained_for"]

_WEIGHTS = "model.safetensors"


@dataclass(frozen=True, slots=True)
class Exported:
    """A bundle with the stage that it came from; ``gguf`` is the file for llama.cpp, if asked."""

    folder: Path
    stage: Stage
    files: Mapping[str, str]
    gguf: Path | None = None


def merge(folder: Path, base: str | Path | None = None) -> Path:
    """The transformers folder of a stage, its adapter merged if that has not been done.

    Args:
        folder: a stage's folder with ``model/``, or with ``adapter/`` alone (a run that was
            stopped keeps one).
        base: what the adapter was trained on; by default what its own configuration names.

    Returns:
        ``folder/model`` with one set of weights and the tokenizer.

    Raises:
        ModelError: if there is neither, or the adapter does not fit its base.
        MissingExtraError: without PEFT where there is an adapter to merge.
    """
    model = folder / "model"
    if (model / "config.json").is_file() and list(model.glob("*.safetensors")):
        return model
    adapter = folder / "adapter"
    if not (adapter / "adapter_config.json").is_file():
        raise ModelError(
            f"expected model/ or adapter/ of a finished stage in {folder}, got neither; "
            "run the stage to its end"
        )
    try:
        from peft import PeftModel
    except ImportError as error:
        raise MissingExtraError("peft", "train") from error
    from transformers import AutoModelForCausalLM

    named = json.loads((adapter / "adapter_config.json").read_text(encoding="utf-8"))
    source = str(base or named.get("base_model_name_or_path") or "")
    if not source or not Path(source).is_dir():
        raise ModelError(
            f"expected the folder of the model that {adapter} was trained on, got {source!r}; "
            "name it"
        )
    try:
        loaded = AutoModelForCausalLM.from_pretrained(source, use_safetensors=True)
        merged = PeftModel.from_pretrained(loaded, str(adapter)).merge_and_unload()
    except (OSError, ValueError, RuntimeError, KeyError) as error:
        raise ModelError(
            f"expected {adapter} to fit {source}, got: {str(error).splitlines()[0]}"
        ) from error
    merged.save_pretrained(model, safe_serialization=True)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        where = next((p for p in (adapter, Path(source)) if (p / name).is_file()), None)
        if where is None:
            raise ModelError(f"expected {name} beside {adapter} or in {source}, got none")
        shutil.copy(where / name, model / name)
    return model


def export_student(
    work: Path,
    stage: Stage,
    out: Path | None = None,
    *,
    precision: str = "int4",
    gguf: str | None = None,
    scores: Mapping[str, Mapping[str, Any]] | None = None,
    name: str = "edgetwin-distilled-reasoner",
) -> Exported:
    """Write the bundle of a stage: GenAI graph, weights, manifest and card.

    Args:
        work: the distillation's folder.
        stage: whose model.
        out: where to; ``<work>/export`` by default. Made anew.
        precision: of the GenAI graph: int4, fp16 or fp32.
        gguf: also write ``student-<kind>.gguf`` beside the folder: f32, f16, q8_0 or q4_k_m.
        scores: figures by stage for the card, see :func:`measure_stages`.
        name: of the bundle.

    Raises:
        ModelError: if the model is missing or the builder fails.
    """
    from ..reasoner.quantised import settle

    folder = out or work / "export"
    model = merge(work / stage)
    recipe = _recipe_of(work, stage)
    build_genai(model, folder, precision)
    shutil.copy(model / "config.json", folder / "config.json")
    if precision == "int4":
        settle(folder)
    else:
        _store(model, folder)
    files = write_manifest(
        folder,
        name,
        style=recipe.model.style,
        layout=recipe.model.layout,
        config={"precision": precision, "max_tokens": 2048},
        **trained_for(work, recipe),
    )
    written = None
    if gguf is not None:
        from ...deploy.export.gguf import KINDS, write_gguf

        kind = next((k for k in KINDS if k == gguf), None)
        if kind is None:
            raise InputError(f"expected a GGUF kind among {', '.join(KINDS)}, got {gguf!r}")
        # the weights that the bundle computes with, so that both say the same
        written = write_gguf(folder, folder.parent / f"student-{kind}.gguf", kind, name=name)
    _write_card(folder, work, stage, scores or {}, precision)
    return Exported(folder, stage, files, written)


def trained_for(work: Path, recipe: Recipe) -> dict[str, Any]:
    """What a student was trained for, as the manifest says it: words, tools, modes and earlier
    questions of its chains, besides those of the bundle that its weights began with."""
    kept = work / "chains" / "kept.jsonl"
    examples = read(kept) if kept.is_file() else []
    learnt = learnt_in(examples)
    items = [item for example in examples for item in example.items]
    modes: set[str] = {"concise", *(item.mode for item in items)}
    turns = max((len(item.turns) for item in items), default=0)
    start = _start_of(work, recipe)
    if start is not None:
        before = set(start.known_words or ()), set(start.plan_words), set(start.tools or ())
        learnt, turns = learnt.joined(Learnt(*before)), max(turns, start.turns)
        modes |= set(start.modes)
    return {
        "words": sorted(learnt.words) or None,
        "plan_words": sorted(learnt.plan_words),
        "tools": sorted(learnt.tools) or None,
        "modes": [mode for mode in get_args(Mode) if mode in modes],
        "turns": turns,
    }


def _start_of(work: Path, recipe: Recipe) -> ReasonerBundle | None:
    """The bundle that a stage's weights began with, through the stages before it."""
    for _ in STAGES:
        source = recipe.model.source
        if source == "embedded":
            return load_bundle("embedded", verify=False)
        before = next((s for s in STAGES if source == f"stage:{s}"), None)
        if before is None:
            has = (Path(source) / "manifest.json").is_file()
            return load_bundle(source, verify=False) if has else None
        recipe = _recipe_of(work, before)
    return None


def _recipe_of(work: Path, stage: Stage) -> Recipe:
    """The recipe that a stage was run with."""
    recipe: Recipe = load_recipe(work / stage / "recipe.yaml", stage)
    return recipe


def _store(model: Path, folder: Path) -> None:
    """Copy the weights as float16."""
    from safetensors.torch import load_file, save_file

    tensors: dict[str, Any] = {}
    for file in sorted(model.glob("*.safetensors")):
        tensors |= {k: v.half().contiguous() for k, v in load_file(file).items()}
    save_file(tensors, folder / _WEIGHTS)


def _write_card(
    folder: Path,
    work: Path,
    stage: Stage,
    scores: Mapping[str, Mapping[str, Any]],
    precision: str,
) -> None:
    """``card.md``: what the student is, how it was made, what it scores."""
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    finished = [done for s in STAGES if (done := finished_of(work, s)) is not None]
    table = stage_table(work, finished, scores)
    kept = work / "chains" / "kept.jsonl"
    data = hashlib.sha256(kept.read_bytes()).hexdigest() if kept.is_file() else "none"
    made = "\n".join(_recipe_lines(work, STAGES))
    text = f"""# Distilled reasoner

A {config.get("model_type")} network of {config.get("num_hidden_layers")} layers,
{config.get("hidden_size")} wide, after the stage `{stage}` of a distillation
(`edgetwin distill reasoner`). It reads a twin's text and a question, writes a rationale and a plan
of tool calls, and answers with object ids.

- `model.onnx`, `genai_config.json`, `tokenizer.json`: ONNX Runtime GenAI, {precision}.
- `model.safetensors`, `config.json`: the same weights for transformers and llama.cpp.
- `manifest.json`: sha256 of every file; modes, tools and words that it was trained for.

{table.markdown()}

SHA-256 of the kept chains: `{data}`.

## Recipes

{made}
"""
    (folder / "card.md").write_text(text, encoding="utf-8")


def _recipe_lines(work: Path, stages: Iterable[Stage]) -> Iterable[str]:
    for stage in stages:
        file = work / stage / "recipe.yaml"
        if file.is_file():
            yield f"`{stage}`\n\n```yaml\n{file.read_text(encoding='utf-8').strip()}\n```\n"
