"""The embedded model set from nothing: render, train, judge, and keep what is better.

``distill_embedded`` is the command behind ``edgetwin distill embedded``. Stopped at any
moment it goes on where it was: rendering, every training loop and the comparison can be
repeated. New weights replace the shipped ones only if they score better on the same held-out
data, measured with the device's own code.

Not covered: training the networks at the same time on several devices.
"""

from __future__ import annotations

import json
import os
import random
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from rich.console import Console

from ..perception.bundle import embedded_dir, load_bundle, write_network_entry, write_statistics
from ..twin.errors import EdgeTwinError, InputError, MissingExtraError, ModelError

__all__ = [
    "NETS",
    "EmbeddedRecipe",
    "Outcome",
    "distill_embedded",
    "load_recipe",
    "replace_if_better",
]

NETS = ("detector", "segmenter", "depth", "reasoner")
_VAL_SEED, _VAL_CLIP_SEED, _TRAIN_CLIP_SEED = 1_000_000, 1_010_000, 10_000
_REASONER_SEED = 1_020_000

Count = Annotated[int, Field(ge=1)]
Share = Annotated[float, Field(gt=0)]


class _Strict(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class DataRecipe(_Strict):
    """How much is rendered ahead."""

    train_images: Count
    val_images: Count
    train_clips: Annotated[int, Field(ge=0)]
    val_clips: Annotated[int, Field(ge=0)]
    clip_frames: Count
    clip_fps: Share
    processes: Count


class ValidationRecipe(_Strict):
    """What decides between new and shipped weights."""

    pictures: Count
    worlds: Count
    questions: Count
    margin: Annotated[float, Field(ge=0)]


class EmbeddedRecipe(_Strict):
    """The validated ``recipes/embedded.yaml``."""

    tier: Literal["cell", "wild"]
    data: DataRecipe
    shares: dict[str, Share]
    validation: ValidationRecipe
    start: dict[Literal["reasoner"], str] = Field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Outcome:
    """One network's comparison; ``shipped`` is None where nothing usable was shipped."""

    net: str
    new: float
    shipped: float | None
    replaced: bool

    def __str__(self) -> str:
        before = "none" if self.shipped is None else f"{self.shipped:.4f}"
        verdict = "replaced" if self.replaced else "kept the shipped one"
        return f"{self.net}: new {self.new:.4f}, shipped {before}: {verdict}"


def load_recipe(path: str | Path | None = None) -> EmbeddedRecipe:
    """Read a recipe; the package's own by default.

    Raises:
        InputError: if it cannot be read or holds unknown or impossible values.
        MissingExtraError: without PyYAML.
    """
    try:
        import yaml as module
    except ImportError as error:
        raise MissingExtraError("pyyaml", "train") from error
    yaml: Any = module  # it has no types
    file = Path(path) if path is not None else Path(__file__).parent / "recipes" / "embedded.yaml"
    try:
        return EmbeddedRecipe.model_validate(yaml.safe_load(file.read_text(encoding="utf-8")))
    except (OSError, yaml.YAMLError, ValidationError) as error:
        raise InputError(
            f"expected a recipe like distill/recipes/embedded.yaml at {file}, got: {error}"
        ) from error


def distill_embedded(
    nets: Sequence[str] | None = None,
    *,
    minutes: float = 120.0,
    device: str = "auto",
    data: str | Path = "runs/data",
    work: str | Path = "runs/embedded",
    recipe: str | Path | None = None,
    seed: int = 0,
    weights: str | Path | None = None,
) -> list[Outcome]:
    """Train ``nets`` (all by default) within ``minutes`` together; keep what is better.

    ``data`` receives rendered pictures, ``work`` checkpoints, curves and candidates; both may
    hold what an earlier call left. ``weights`` holds the shipped perception networks, and in
    its folder ``reasoner`` the language model (the package's own folders by default). Rendering and judging are not counted into ``minutes``.

    Raises:
        InputError: for an unknown network or device, or no time.
        MissingExtraError: without the ``[train]`` extra.
        ModelError: if a checkpoint in ``work`` belongs to another network.
    """
    chosen = _chosen(nets)
    if minutes <= 0:
        raise InputError(f"expected minutes above 0, got {minutes}")
    settings = load_recipe(recipe)
    place = None if weights is None else Path(weights)
    run = _Run(settings, Path(data) / settings.tier, Path(work), _device(device), seed, place)
    if set(chosen) - {"reasoner"}:
        run.render(clips="segmenter" in chosen)
    total = sum(settings.shares.get(net, 0.1) for net in chosen)
    outcomes = []
    for net in chosen:
        share = settings.shares.get(net, 0.1) / total
        run.console.print(f"{net}: training for {minutes * share:.1f} minutes on {run.device}")
        outcomes.append(run.one(net, minutes * share))
        run.console.print(str(outcomes[-1]))
    if "detector" in chosen:
        run.statistics()
    return outcomes


def replace_if_better(
    net: str,
    candidate: Path,
    shipped: Path,
    judge: Callable[[Path], float],
    margin: float = 0.0,
) -> Outcome:
    """Judge a candidate's folder and the shipped one; copy the network over if it won.

    A shipped network that is missing or cannot be judged loses; a candidate that cannot be
    judged is an error. Files are replaced one by one, then the manifest.

    Raises:
        ModelError: if the candidate cannot be loaded.
    """
    new = judge(candidate)
    try:
        old: float | None = judge(shipped)
    except EdgeTwinError:
        old = None
    better = old is None or new > old + margin
    if better and net == "reasoner":
        shipped.mkdir(parents=True, exist_ok=True)
        files = sorted(p.name for p in candidate.iterdir() if p.is_file())
        _copy(candidate, shipped, sorted(files, key=lambda name: name == "manifest.json"))
    elif better:
        source = load_bundle(candidate)
        entry = source.network(net)
        _copy(candidate, shipped, list(entry.files))
        words = source.words.model_dump() if net == "detector" else None
        write_network_entry(
            shipped, net, list(entry.files), entry.config, words, fov_deg=source.fov_deg
        )
    return Outcome(net, new, old, better)


class _Run:
    """One call of the command: where things are, and how each network is trained and judged."""

    def __init__(
        self,
        recipe: EmbeddedRecipe,
        data: Path,
        work: Path,
        device: str,
        seed: int,
        weights: Path | None,
    ) -> None:
        self.recipe, self.data, self.work = recipe, data, work
        self.device, self.seed = device, seed
        self.perception = weights or embedded_dir()
        package = embedded_dir().parents[2]
        self.reasoner = (
            weights / "reasoner" if weights else package / "reasoner" / "weights" / "embedded"
        )
        self.console = Console()

    def render(self, clips: bool) -> None:
        """Render what is missing of the recipe's pictures and clips."""
        from .sim.shards import render_clips, render_images

        r, tier = self.recipe.data, self.recipe.tier
        for name, first, count in (
            ("val", _VAL_SEED, r.val_images),
            ("train", 0, r.train_images),
        ):
            self.console.print(f"pictures: {count} in {self.data / name}")
            seeds = range(first, first + count)
            render_images(self.data / name, seeds, tier, r.processes)
        for name, first, count in (
            ("val_clips", _VAL_CLIP_SEED, r.val_clips),
            ("train_clips", _TRAIN_CLIP_SEED, r.train_clips),
        ):
            if clips and count:
                self.console.print(f"clips: {count} in {self.data / name}")
                seeds = range(first, first + count)
                frames, fps = r.clip_frames, r.clip_fps
                render_clips(self.data / name, seeds, tier, frames, fps, r.processes)

    def one(self, net: str, minutes: float) -> Outcome:
        """Train, export and judge one network."""
        place, candidate = self.work / net, self.work / "candidate" / net
        place.mkdir(parents=True, exist_ok=True)
        candidate.mkdir(parents=True, exist_ok=True)
        self._train(net, place, minutes)
        self._export(net, place, candidate)
        shipped = self.reasoner if net == "reasoner" else self.perception
        return replace_if_better(
            net, candidate, shipped, self._judge(net), self.recipe.validation.margin
        )

    def statistics(self) -> None:
        """Measure the training pictures for the warning of foreign video."""
        from .perception.judge import measure_statistics
        from .sim.shards import open_images

        train, val = open_images(self.data / "train"), open_images(self.data / "val")
        limit = self.recipe.validation.pictures
        bundle = load_bundle(self.perception, device="cpu")
        write_statistics(self.perception, measure_statistics(bundle, train, val, limit))

    def _train(self, net: str, place: Path, minutes: float) -> None:
        where = (self.data / "train", self.data / "val", place, minutes, self.device, self.seed)
        if net == "detector":
            from .perception.detector_train import train as train_detector

            scores = train_detector(*where)
        elif net == "segmenter":
            from .perception.segmenter_train import train as train_segmenter

            scores = train_segmenter(*where)
        elif net == "depth":
            from .perception.depth_train import train as train_depth

            starts = (
                self.work / "detector" / "state.safetensors",
                self.perception / "detector.safetensors",
            )
            scores = train_depth(*where, detector=next((p for p in starts if p.exists()), None))
        else:
            from .reasoner.sft_train import train as train_reasoner

            start = self.recipe.start.get("reasoner")
            scores = train_reasoner(
                *(place, minutes, self.device, self.seed),
                data_dir=self._questions,
                start=None if start is None else Path(start),
            )
        (place / "result.json").write_text(json.dumps(scores, indent=1), encoding="utf-8")

    def _export(self, net: str, place: Path, candidate: Path) -> None:
        from .sim.shards import open_images

        if net == "detector":
            from .perception.detector_export import export as export_detector

            export_detector(place, candidate, open_images(self.data / "val"))
        elif net == "segmenter":
            from .perception.segmenter_export import export as export_segmenter

            export_segmenter(place, candidate)
        elif net == "depth":
            from .perception.depth_export import export as export_depth

            export_depth(place, candidate, open_images(self.data / "val"))
        else:
            from .reasoner.export import export as export_reasoner

            scores: dict[str, Any] = json.loads((place / "result.json").read_text())
            export_reasoner(place, candidate, data_dir=self._questions, scores=scores)

    @property
    def _questions(self) -> Path:
        return self.data.parent / "reasoner"

    def _judge(self, net: str) -> Callable[[Path], float]:
        if net == "reasoner":
            return self._judge_reasoner
        from .perception.judge import judge_depth, judge_detector, judge_segmenter
        from .sim.shards import open_images

        pictures, limit = open_images(self.data / "val"), self.recipe.validation.pictures
        judges = {"detector": judge_detector, "segmenter": judge_segmenter, "depth": judge_depth}
        return lambda folder: judges[net](load_bundle(folder, device="cpu"), pictures, limit)

    def _judge_reasoner(self, folder: Path) -> float:
        """Share of exactly right id sets on true twins of held-out worlds."""
        from ..reasoner.models.ort_genai import OrtGenAiModel
        from ..reasoner.rollout import Reasoner
        from .sim.catalogue import categories_of
        from .sim.questions.generate import questions
        from .sim.truth import true_window
        from .sim.worlds import World

        reasoner, words = Reasoner(OrtGenAiModel(str(folder))), categories_of(self.recipe.tier)
        right = asked = 0
        for k in range(self.recipe.validation.worlds):
            window = true_window(World(_REASONER_SEED + k, self.recipe.tier), render=False)
            rng = random.Random(k)
            count = self.recipe.validation.questions
            for question in questions(window, rng, count, "val", vocabulary=words):
                answer = reasoner.answer(question.text, window)
                right += answer.status != "error" and set(answer.ids) == set(question.ids)
                asked += 1
        return right / max(asked, 1)


def _chosen(nets: Sequence[str] | None) -> tuple[str, ...]:
    if not nets or "all" in nets:
        return NETS
    unknown = sorted(set(nets) - set(NETS))
    if unknown:
        raise InputError(f"expected networks among {', '.join(NETS)} or all, got {unknown}")
    return tuple(net for net in NETS if net in nets)


def _device(name: str) -> str:
    if name not in ("auto", "cpu", "cuda"):
        raise InputError(f"expected device auto, cpu or cuda, got {name!r}")
    try:
        import torch
    except ImportError as error:
        raise MissingExtraError("torch", "train") from error
    has_cuda = bool(torch.cuda.is_available())
    if name == "cuda" and not has_cuda:
        raise ModelError(
            f"expected a CUDA device, torch {torch.__version__} sees none; install torch for "
            "CUDA or use --device cpu"
        )
    return "cuda" if name != "cpu" and has_cuda else "cpu"


def _copy(source: Path, target: Path, files: Sequence[str]) -> None:
    target.mkdir(parents=True, exist_ok=True)
    for file in files:
        beside = target / f".{file}.new"
        shutil.copyfile(source / file, beside)
        os.replace(beside, target / file)
