"""Do backends answer alike? The same questions to ONNX Runtime GenAI, llama.cpp, transformers.

Questions are drawn anew on TwinBench's validation worlds (true twins, other questions than the
frozen ones) and asked through the real reasoner with its grammars; answers are right if they
name exactly the true ids. Backends agree where they hold the same weights: a graph of int4
matrices is compared with the floats that it stands for (:mod:`..reasoner.quantised`), float
weights with themselves.

Not covered: GPUs, endpoints, sampling.
"""

from __future__ import annotations

import random
import shutil
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, islice
from pathlib import Path
from typing import Any

from ...deploy.export.genai import build_genai
from ...deploy.export.gguf import write_gguf
from ...reasoner.bundle import ReasonerBundle, load_bundle, write_manifest
from ...reasoner.models.base import LanguageModel
from ...reasoner.models.ort_genai import OrtGenAiModel
from ...reasoner.rollout import Reasoner
from ...twin.errors import InputError
from ...twin.window import TwinWindow
from ..reasoner.quantised import set_accuracy_level, write_checkpoint
from ..sim.catalogue import CELL
from ..sim.questions import Question
from ..sim.questions.generate import CATEGORIES, Maker
from ..twinbench import LEVELS, SEEDS
from .report import Table
from .worlds import rendered_world

__all__ = [
    "WEIGHTS",
    "Given",
    "agreement_table",
    "ask",
    "backends",
    "choice_table",
    "describe",
    "evaluate_agreement",
    "questions",
    "weights_folder",
]

Pair = tuple[Question, TwinWindow]

WEIGHTS: dict[str, tuple[str, int | None]] = {
    "shipped": ("", None),
    "int4, int8 activations": ("int4", 4),
    "int4, float activations": ("int4", 1),
    "int8, int8 activations": ("int8", 4),
    "int8, float activations": ("int8", 1),
    "float32": ("fp32", None),
}
"""Form of the weights -> the GenAI builder's precision and the accuracy level of its products."""


@dataclass(frozen=True, slots=True)
class Given:
    """One answer: everything that was written, the ids (None: an error), milliseconds."""

    transcript: str
    ids: tuple[int, ...] | None
    ms: float


def questions(count: int, cache: Path, seed: int = 0) -> list[Pair]:
    """``count`` questions on the true twins of TwinBench's validation worlds, cell tier.

    Categories, levels, seen and unseen wordings take turns, as in the benchmark.
    """
    worlds = SEEDS["val", "cell"]
    per_world = -(-count // len(worlds))
    cells = [(category, level) for category in CATEGORIES for level in LEVELS]
    pairs: list[Pair] = []
    for number, world in enumerate(worlds):
        window = rendered_world(world, "cell", cache).window
        rng = random.Random(f"agreement {seed} {world}")
        maker = Maker(window, rng, "val", CELL)
        order = cells[number % len(cells) :] + cells[: number % len(cells)]
        made = (maker.make(*cell, unseen=rng.random() < 0.5) for cell in order * 2)
        found = islice((question for question in made if question is not None), per_world)
        pairs += [(question, window) for question in found]
        if len(pairs) >= count:
            break
    return pairs[:count]


def ask(model: LanguageModel, pairs: Sequence[Pair], nouns: Sequence[str]) -> list[Given]:
    """Answer every question on its twin."""
    reasoner = Reasoner(model, vocabulary=nouns)
    given: list[Given] = []
    for question, window in pairs:
        began = time.perf_counter()
        answer = reasoner.answer(question.text, window)
        ms = 1000 * (time.perf_counter() - began)
        ids = None if answer.status == "error" else tuple(sorted(answer.ids))
        given.append(Given(answer.transcript, ids, ms))
    return given


def weights_folder(bundle: ReasonerBundle, form: str, work: Path) -> tuple[Path, Path]:
    """(folder for ONNX Runtime GenAI, transformers folder of the same weights) of one form.

    Raises:
        InputError: if the form is unknown.
    """
    if form not in WEIGHTS:
        raise InputError(f"expected weights among {', '.join(WEIGHTS)}, got {form!r}")
    kind, level = WEIGHTS[form]
    if not kind:
        return bundle.path, bundle.path
    graph, floats = work / form.replace(", ", "-").replace(" ", "-"), work / f"{kind}-floats"
    build_genai(bundle.path, graph, kind)
    shutil.copy(bundle.path / "config.json", graph / "config.json")
    if level is not None:
        set_accuracy_level(graph / "model.onnx", graph / "model.onnx", level)
        write_checkpoint(graph, floats)
    else:
        shutil.copytree(bundle.path, floats, dirs_exist_ok=True)
    for folder in (graph, floats):
        describe(bundle, folder, form)
    return graph, floats


def backends(
    bundle: ReasonerBundle, graph: Path, floats: Path, work: Path
) -> dict[str, Callable[[], LanguageModel]]:
    """Name -> how to open it; GGUF files are written under ``work``.

    ``graph`` is a folder for ONNX Runtime GenAI, ``floats`` one of transformers.
    """
    from ...reasoner.models.llama_cpp import LlamaCppModel
    from ...reasoner.models.transformers import TransformersModel

    def llama(kind: Any) -> LanguageModel:
        folder = work / f"gguf-{kind}"
        write_gguf(floats, folder / "model.gguf", kind)
        shutil.copy(floats / "tokenizer.json", folder / "tokenizer.json")
        describe(bundle, folder, kind)
        return LlamaCppModel(folder, cache="f32" if kind == "f32" else "f16")

    return {
        "ORT GenAI": lambda: OrtGenAiModel(load_bundle(graph)),
        "transformers": lambda: TransformersModel(floats),
        "llama.cpp f32": lambda: llama("f32"),
        "llama.cpp f16": lambda: llama("f16"),
        "llama.cpp Q8_0": lambda: llama("q8_0"),
    }


def evaluate_agreement(
    models: str | Path = "embedded",
    *,
    count: int = 300,
    forms: Sequence[str] = ("shipped",),
    only: Sequence[str] | None = None,
    work: Path = Path("runs/language"),
    cache: Path = Path("runs/twinbench"),
) -> tuple[list[Table], dict[str, Any]]:
    """Ask every backend with every form of the weights; tables and all figures.

    ``only`` names backends (:func:`backends`); all of them when None. Forms other than
    ``shipped`` are built from the bundle's model.safetensors.

    Raises:
        InputError: if a form or backend is unknown, or ``count`` is not positive.
        MissingExtraError: without the packages of a backend.
    """
    if count < 1:
        raise InputError(f"expected a positive number of questions, got {count}")
    bundle = load_bundle(models)
    pairs = questions(count, cache)
    truth = [tuple(sorted(question.ids)) for question, _ in pairs]
    nouns = sorted(CELL)
    tables: list[Table] = []
    figures: dict[str, Any] = {"questions": len(pairs)}
    found: list[tuple[str, float, dict[str, list[Given]]]] = []
    for form in forms:
        graph, floats = weights_folder(bundle, form, work)
        openers = backends(bundle, graph, floats, work / "llama")
        chosen = list(openers) if only is None else list(only)
        if unknown := set(chosen) - set(openers):
            raise InputError(f"expected backends among {', '.join(openers)}, got {unknown}")
        given = {name: ask(openers[name](), pairs, nouns) for name in chosen}
        tables.append(agreement_table(given, f"Weights: {form}"))
        found.append((form, (graph / "model.onnx").stat().st_size / 1e6, given))
        figures[form] = _figures(given, truth)
    tables.append(choice_table(found, truth))
    return tables, figures


def agreement_table(given: Mapping[str, Sequence[Given]], title: str) -> Table:
    """Share of questions on which two backends write and answer the same, pair by pair."""
    rows = tuple(
        (f"{a} / {b}", same_text, same_ids, count)
        for (a, b), (same_text, same_ids, count) in _pairwise(given).items()
    )
    return Table(title, ("backends", "same transcript", "same answer", "questions"), rows)


def choice_table(
    found: Sequence[tuple[str, float, Mapping[str, Sequence[Given]]]],
    truth: Sequence[tuple[int, ...]],
) -> Table:
    """What each form of the weights costs and gives on each backend."""
    rows = tuple(
        (form, name, size, _exact(given, truth), statistics.median(g.ms for g in given))
        for form, size, each in found
        for name, given in each.items()
    )
    return Table(
        "Forms of the weights",
        ("weights", "backend", "MB as ONNX", "exact ids", "median ms"),
        rows,
        (f"{len(truth)} questions on true twins of validation worlds",),
    )


def _pairwise(
    given: Mapping[str, Sequence[Given]],
) -> dict[tuple[str, str], tuple[float, float, int]]:
    found: dict[tuple[str, str], tuple[float, float, int]] = {}
    for a, b in combinations(given, 2):
        both = list(zip(given[a], given[b], strict=True))
        text = sum(x.transcript == y.transcript for x, y in both) / len(both)
        ids = sum(x.ids == y.ids for x, y in both) / len(both)
        found[a, b] = text, ids, len(both)
    return found


def _exact(given: Sequence[Given], truth: Sequence[tuple[int, ...]]) -> float:
    return sum(g.ids == ids for g, ids in zip(given, truth, strict=True)) / len(truth)


def _figures(
    given: Mapping[str, Sequence[Given]], truth: Sequence[tuple[int, ...]]
) -> dict[str, Any]:
    pairs = [
        {"backends": list(names), "same_transcript": text, "same_answer": ids, "questions": count}
        for names, (text, ids, count) in _pairwise(given).items()
    ]
    each = {
        name: {"exact": _exact(found, truth), "ms": statistics.median(g.ms for g in found)}
        for name, found in given.items()
    }
    return {"pairs": pairs, "backends": each}


def describe(bundle: ReasonerBundle, folder: Path, form: str) -> None:
    """A manifest that says of this folder what the bundle's says of its own."""
    write_manifest(
        folder,
        f"{bundle.name}-{form}",
        style=bundle.style,
        words=None if bundle.known_words is None else sorted(bundle.known_words),
        plan_words=bundle.plan_words,
        config={**bundle.config, "precision": form},
        layout=bundle.layout,
        modes=bundle.modes,
        tools=bundle.tools,
        turns=bundle.turns,
    )
