"""Export a trained reasoner to ONNX Runtime GenAI with the model builder (one precision a call)."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

from ...deploy.export.genai import build_genai
from ...reasoner.bundle import load_bundle, write_manifest
from ...reasoner.prompts import MODES
from ...reasoner.protocol import EOS
from ...reasoner.words import content_words
from ..sim.questions.wider import idle_words
from .card import Training, write_card
from .produce import LAYOUT, TURNS
from .quantised import settle
from .records import Example, chunks, read

__all__ = ["Learnt", "build_genai", "export", "learnt_in", "learnt_of", "model_from_state"]


def export(
    work_dir: Path,
    weights_dir: Path,
    *,
    data_dir: Path | None = Path("runs/data/reasoner"),
    precision: str = "int4",
    words: Iterable[str] = (),
    plan_words: Iterable[str] = (),
    tools: Iterable[str] | None = None,
    scores: dict[str, Any] | None = None,
) -> dict[str, str]:
    """Write the bundle of a trained run; returns file to sha256.

    ``words`` are those of the training questions (what the model knows), ``plan_words`` the
    nouns that its plans use, ``tools`` theirs (None: any); what ``data_dir`` holds is added to
    all three. The form of the twin's text, the modes and the number of earlier questions are
    those that :mod:`.produce` makes. ``model.safetensors`` holds what an int4 graph computes with,
    to the last bit (:func:`~.quantised.settle`), so that every backend says the same.
    """
    from safetensors.torch import load_file, save_file

    if data_dir is not None:
        known = learnt_of(data_dir).joined(_inherited(work_dir))
        words, plan_words = {*words, *known.words}, {*plan_words, *known.plan_words}
        tools = {*(tools or ()), *known.tools}
    build_genai(work_dir / "model", weights_dir, precision)
    tensors = load_file(work_dir / "model" / "model.safetensors")
    shutil.copy(work_dir / "model" / "config.json", weights_dir / "config.json")
    if precision == "int4":
        settle(weights_dir)
    else:
        save_file({k: v.half() for k, v in tensors.items()}, weights_dir / "model.safetensors")
    files = write_manifest(
        weights_dir,
        "edgetwin-embedded-reasoner",
        words=sorted(words) or None,
        plan_words=sorted(plan_words),
        config={"precision": precision, "max_tokens": 2048},
        layout=LAYOUT,
        modes=MODES,
        tools=tools,
        turns=TURNS,
    )
    count = sum(v.numel() for v in tensors.values())
    write_card(weights_dir, precision, count, Training.of(work_dir, data_dir), scores or {})
    return files


def model_from_state(work_dir: Path) -> None:
    """Write ``work_dir/model`` from the last resumable state, for a run that is not over."""
    from safetensors.torch import load_file

    from . import network

    place = work_dir / "tokenizer"
    tensors = load_file(work_dir / "last" / "state.safetensors")
    size = tensors["model.model.embed_tokens.weight"].shape[0]
    vocabulary = json.loads((place / "tokenizer.json").read_text())["added_tokens"]
    eos = next(token["id"] for token in vocabulary if token["content"] == EOS)
    model = network.build(size, eos)
    model.load_state_dict(
        {k[6:]: v for k, v in tensors.items() if k.startswith("model.")}, strict=False
    )
    model.save_pretrained(work_dir / "model")
    for file in place.iterdir():
        shutil.copy(file, work_dir / "model" / file.name)


class Learnt(NamedTuple):
    """Words of the training questions; words and tools of their plans."""

    words: set[str]
    plan_words: set[str]
    tools: set[str]

    def joined(self, other: Learnt) -> Learnt:
        """Both together."""
        return Learnt(
            self.words | other.words,
            self.plan_words | other.plan_words,
            self.tools | other.tools,
        )


def _inherited(work_dir: Path) -> Learnt:
    """What the weights that a run went on from had learnt, by their manifest."""
    place = work_dir / "last" / "place.json"
    start = json.loads(place.read_text())["settings"].get("start") if place.exists() else ""
    if not start or not (Path(start) / "manifest.json").exists():
        return Learnt(set(), set(), set())
    bundle = load_bundle(start, verify=False)
    return Learnt(set(bundle.known_words or ()), set(bundle.plan_words), set(bundle.tools or ()))


def learnt_of(data_dir: Path, rare: float = 1e-4) -> Learnt:
    """What a run's questions and plans hold, see :func:`learnt_in`."""
    return learnt_in((e for path in chunks(data_dir / "train") for e in read(path)), rare)


def learnt_in(examples: Iterable[Example], rare: float = 1e-4) -> Learnt:
    """What the questions and plans of training examples hold.

    A word in fewer than a share ``rare`` of the questions is taken for a typing slip; words that
    occur only in motives that imply nothing are not known (:func:`~.wider.idle_words`).
    """
    asked: Counter[str] = Counter()
    planned: set[str] = set()
    tools: set[str] = set()
    total = 0
    for item in (item for example in examples for item in example.items):
        total += 1
        asked.update(set(content_words(item.question)))
        for step in json.loads(item.plan or "[]"):
            tools.add(step["tool"])
            planned.update(step.get("words", ()))
    floor = max(2, rare * total)
    idle = idle_words()
    known = {word for word, count in asked.items() if count >= floor and word not in idle}
    return Learnt(known, planned, tools)
