"""The model card of the embedded reasoner: what it is, what it was trained on, what it scores."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..sim.questions import wider
from ..sim.questions.families import Split, pool, slots
from ..sim.questions.noise import PERCEPTION
from .records import chunks, read

__all__ = ["Training", "language_rows", "write_card"]

_KINDS: dict[str, tuple[str, ...]] = {
    "requests and questions": ("open", "which", "what", "versus", "cmp"),
    "colours, exclusion, joining": ("colour", "not", "or", "head"),
    "places and distances": (
        *("left_of", "right_of", "above", "below", "in_front_of", "behind", "inside", "on"),
        *("nearest", "farthest"),
    ),
    "extremes and ordinals": ("ex", "nth", "fastest"),
    "events": (
        *("moved", "appeared", "disappeared", "still", "during", "occluded_by"),
        *("before", "after", "first", "last"),
    ),
    "properties, after a noun": ("use",),
    "properties, as a question": ("ask",),
    "properties, as a motive": ("why",),
    "properties, as an action": ("verb",),
    "frames and fillers": ("frame", "filler", "implicit"),
    "going on from an earlier question": ("given", "again"),
    "numbers and times": ("count", "when", "distance"),
}
_IDLE = "why.any"
_SPLITS: tuple[Split, ...] = ("train", "val", "test")


@dataclass(frozen=True, slots=True)
class Training:
    """What a run went through; ``twins`` and ``questions`` are those that lie in its data."""

    questions_seen: int
    steps: int
    minutes: float
    settings: Mapping[str, Any]
    twins: int = 0
    questions: int = 0

    @staticmethod
    def of(work_dir: Path, data_dir: Path | None) -> Training | None:
        """Read from a run's folder; None if it kept no state."""
        path = work_dir / "last" / "place.json"
        if not path.exists():
            return None
        place = json.loads(path.read_text())
        examples = (
            [len(e.items) for chunk in chunks(data_dir / "train") for e in read(chunk)]
            if data_dir is not None
            else []
        )
        minutes = place["elapsed_s"] / 60
        return Training(
            place["visits"],
            place["steps"],
            minutes,
            place["settings"],
            twins=len(examples),
            questions=sum(examples),
        )


def language_rows() -> list[tuple[str, int, int, int, int, int]]:
    """Per group of slots: name, slots, phrasings of train, val and test, wider phrasings."""
    rows = []
    for name, kinds in _KINDS.items():
        chosen = [s for s in slots() if s.partition(".")[0] in kinds and s != _IDLE]
        rows.append(_row(name, chosen))
    return [*rows, _row("motives that imply nothing", [_IDLE])]


def _row(name: str, chosen: Sequence[str]) -> tuple[str, int, int, int, int, int]:
    train, val, test = (sum(len(pool(s, split)) for s in chosen) for split in _SPLITS)
    return name, len(chosen), train, val, test, sum(wider.count(s) for s in chosen)


def write_card(
    weights_dir: Path,
    precision: str,
    parameters: int,
    training: Training | None,
    scores: Mapping[str, Any],
) -> None:
    """Write ``card.md`` beside the weights; ``scores`` are rows of its table of figures."""
    figures = "\n".join(f"| {name} | {value} |" for name, value in scores.items())
    text = f"""# EdgeTwin embedded reasoner

A Qwen3 network ({parameters / 1e6:.1f}M parameters, 5 layers, 256 wide, 4/2 heads of 64, tied
embeddings) trained from random values by `distill/reasoner/sft_train.py` on questions about
simulated tabletop scenes (`distill/sim`). It reads the twin's text in the compact layout and at
most one earlier question with its answer, writes a rationale in one of four modes (concise,
sentence, detailed, description) and a plan of tool calls, and answers with object ids, a number
or times. Where only some words were looked for, its plans call `detect` for the others.

- `model.onnx`, `genai_config.json`, `tokenizer.json`: ONNX Runtime GenAI, {precision}.
- `model.safetensors`, `config.json`: the same weights for transformers and llama.cpp, to the
  last bit where the graph is int4; to fine-tune from.
- `manifest.json`: sha256 of every file; the words of its training questions.

Made for: English questions about the categories and colours of the simulated catalogue. It
knows no other words: a question with unknown ones gets a warning. No data from people, no
downloaded weights. Licence: Apache-2.0.

| held-out validation | |
|---|---|
{figures}

Regenerate: `edgetwin eval twinbench --split val`, and for weights that are not shipped yet
`python -m edgetwin.distill.reasoner.check FOLDER`.
{_training(training)}
## Language

Phrasings are written by hand and split by a hash of their text; validation and test ones are
never trained on. The wider language (lines with alternatives, `distill/sim/questions/wider.py`)
serves training only: what it yields is thrown away where shared words are {wider.LIKENESS:.0%} or
more of all words of it and a held-out phrasing together. Words are exchanged for others of the
same meaning, invented words stand where nothing hangs on them, and some questions have slips of
the finger, dropped articles, contractions and stray case (`slips.py`).

| slots | number | train | val | test | wider, train only |
|---|---:|---:|---:|---:|---:|
{_language()}

Of the questions, 15 % go on from an earlier one, 6 % ask for a number or times, and 40 % ask
for another mode than concise; of 15 % of the twins only some nouns were looked for
(`distill/sim/questions/mixed.py`, `restricted.py`).

## Noise

Half of the training twins carry these errors (`distill/sim/questions/noise.py`; standard
deviations, and probabilities per object); the reference answer is what the program gives on the
noisy twin: {_noise()}.
"""
    (weights_dir / "card.md").write_text(text, encoding="utf-8")


def _training(training: Training | None) -> str:
    if training is None:
        return ""
    start = str(training.settings.get("start") or "")
    begin = (
        f" They went on from the weights in `{Path(start).name}` as they were then."
        if start
        else ""
    )
    settings = ", ".join(
        f"{key} {training.settings[key]:g}"
        for key in ("muon_lr", "adam_lr", "weight_decay", "flat", "dropout_merges", "vocabulary")
        if key in training.settings
    )
    return f"""
## Training

{training.questions_seen:,} questions in {training.steps:,} steps and {training.minutes:.0f} minutes
of a shared CPU core; {training.questions:,} questions on {training.twins:,} simulated twins lie in
the folder of the last part of the run.{begin} Settings: {settings}.
"""


def _language() -> str:
    return "\n".join(
        f"| {name} | {number} | {train:,} | {val} | {test} | {_rounded(wide)} |"
        for name, number, train, val, test, wide in language_rows()
    )


def _rounded(count: int) -> str:
    return f"{count:,}" if count < 1_000_000 else f"{count:.1e}"


def _noise() -> str:
    values = dataclasses.asdict(PERCEPTION)
    return ", ".join(f"{name.replace('_', ' ')} {value:g}" for name, value in values.items())
