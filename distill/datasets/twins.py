"""Twins of a data set, built once: perception over its pictures, the truth as ids of the twin.

For every picture or video a perceiver is opened anew and its twin is written under a name that is
the hash of everything it depends on: the pictures' bytes, the networks, the words, the rate. The
questions on it with their matched ids are written likewise. So a second run builds nothing, and
one that was killed goes on where it was. At the end the folder is one that
:func:`..tasks.cached.read_tasks` reads.

A sample's truth becomes the ids that cover it best (:mod:`.matching`). Where no ids reach an IoU of
.5 the question cannot be answered from the twin: it is left out and counted, or kept if asked for.
The true masks stay with the task, so the IoU that training sees is that with the data set's own
masks. What leaks (:mod:`..tasks.leaks`) is left out and counted.

Not covered: pixels to be ignored count in matching alone; in training's IoU they are background.
Frame rates: data sets of frames have none, so ``fps`` is what the twin's seconds mean.
"""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Protocol

from ...deploy.models import Observer, bundle_identities, load_perception, set_folders
from ...deploy.stream.source import open_source
from ...perception.bundle import load_bundle
from ...twin.errors import InputError, OutputError, SchemaError
from ...twin.files import replace, sha256_of
from ...twin.frame import Frame
from ...twin.jsonl import read_frames
from ...twin.schema import Rle
from ...twin.window import TwinWindow
from ..tasks.cached import TwinRef, finish, line_of, put_twin
from ..tasks.leaks import held_pictures, leak_of
from ..tasks.task import Task
from .choose import dataset_of, read_dataset
from .matching import best_ids
from .sample import Sample

__all__ = [
    "COVERED",
    "BuildOptions",
    "Builder",
    "Eyes",
    "SetEyes",
    "TwinsReport",
    "build_twins",
    "group_of",
]

COVERED = 0.5
"""IoU from which ids of a twin stand for a truth."""
_VERSION = 1  # of what is perceived and matched: another one builds everything again

Progress = Callable[[str, int, int | None], None]


class Eyes(Protocol):
    """What opens perceivers: :class:`SetEyes` does for model sets."""

    def identity(self) -> Any:
        """What the twins depend on, as JSON: networks with their hashes, words."""
        ...

    def open(self) -> Observer:
        """Return a perceiver that has seen nothing yet."""
        ...


class SetEyes:
    """Perceivers of a model set.

    Args:
        models: ``embedded``, ``edge``, ``server`` or a bundle's folder.
        words: what to look for; None is every word of the set.
        device: as for :func:`~edgetwin.deploy.models.load_perception`.

    Raises:
        ModelError: if the set cannot be had.
        InputError: when opened, if the set knows none of the words, or needs some.
    """

    def __init__(
        self,
        models: str | Path = "embedded",
        words: Iterable[str] | None = None,
        device: str = "auto",
    ) -> None:
        self.models, self.device = models, device
        self.words = None if words is None else tuple(words)
        self._bundle = load_bundle(set_folders(models)[0], device=device)
        self._parts: dict[str, Any] = {}

    def identity(self) -> Any:
        """The networks with their hashes, and the words."""
        return {"networks": bundle_identities(self._bundle), "words": self.words}

    def open(self) -> Observer:
        """A perceiver of its own tracks and memory; the networks are opened once."""
        from ...perception.depth import DepthEstimator
        from ...perception.perceiver import Perceiver
        from ...perception.segmenter import Segmenter

        if not self._parts:
            ready = load_perception(self.models, self.words, device=self.device).perceiver
            if not isinstance(ready, Perceiver):
                return ready
            self._parts = {
                "detector": ready.detector,
                "segmenter": Segmenter(self._bundle),
                "depth": DepthEstimator(self._bundle),
            }
        return Perceiver(self._bundle, self.words, **self._parts)


@dataclass(slots=True)
class TwinsReport:
    """What was built.

    Attributes:
        sha256: the data's hash; empty when no task came out.
        groups: pictures and videos; ``built`` of them now, ``reused`` from before.
        samples: targets; ``no_truth`` had no masks, ``uncovered`` no object of the twin on them.
        questions: of all samples; ``kept`` became tasks, ``leaking`` may not be trained on.
        mean_iou: of the matched ids with the truth, over the samples that were kept.
        leaks: how often each rule refused a question.
    """

    sha256: str = ""
    groups: int = 0
    built: int = 0
    reused: int = 0
    samples: int = 0
    no_truth: int = 0
    uncovered: int = 0
    questions: int = 0
    kept: int = 0
    leaking: int = 0
    mean_iou: float = 0.0
    leaks: dict[str, int] = field(default_factory=dict)

    def text(self) -> str:
        """The report in three lines."""
        share = self.uncovered / self.samples if self.samples else 0.0
        return (
            f"{self.groups} twins: {self.built} built, {self.reused} from before\n"
            f"{self.samples} targets: {self.uncovered} ({share:.0%}) that no object of the twin "
            f"covers, {self.no_truth} without masks; mean IoU of the others {self.mean_iou:.3f}\n"
            f"{self.questions} questions: {self.kept} kept, {self.leaking} may not be trained on"
        )


@dataclass(frozen=True, slots=True)
class BuildOptions:
    """What decides which twins and tasks are made; see :func:`build_twins`."""

    keep_uncovered: bool
    fps: float
    every: int
    max_frames: int


@dataclass(slots=True)
class _Part:
    """The tasks of one picture or video, as they lie on disk."""

    lines: list[str] = field(default_factory=list)
    ious: list[float] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)
    leaks: dict[str, int] = field(default_factory=dict)
    twin: dict[str, Any] = field(default_factory=dict)

    def count(self, what: str, by: int = 1) -> None:
        self.counts[what] = self.counts.get(what, 0) + by


def build_twins(
    name: str,
    root: str | Path,
    split: str,
    out: str | Path,
    models: str | Path | Eyes = "embedded",
    *,
    words: Iterable[str] | None = None,
    keep_uncovered: bool = False,
    fps: float = 10.0,
    every: int = 1,
    max_frames: int = 600,
    device: str = "auto",
    limit: int | None = None,
    progress: Progress | None = None,
) -> TwinsReport:
    """Build the twins and tasks of a data set's split into a folder.

    Args:
        name: the data set (:data:`.choose.DATASETS`) or a mapping file (:mod:`.mapped`).
        root: where it lies.
        split: as it names it. Tasks of a split that the data set evaluates on are built too, but
            training refuses them.
        out: folder for the tasks; what is in it from before is used.
        models: a set's name or folder, or what opens perceivers.
        words: what to look for; None is every word of the set.
        keep_uncovered: keep questions whose truth no object of the twin covers.
        fps: frames per second of a video's frames.
        every: take every so many-th frame.
        max_frames: at most so many frames of a video.
        device: where the networks run.
        limit: only the first pictures or videos.
        progress: called with ("twins", done, None).

    Raises:
        InputError: for what the readers refuse, a picture of another size than its masks, and
            when no task comes out.
        ModelError: if the models cannot be had.
        OutputError: if the folder cannot be written; what was written is used by the next run.
    """
    if every < 1 or max_frames < 1 or not fps > 0:
        raise InputError(
            f"expected every and max_frames >= 1 and fps > 0, got {every}, {max_frames} and {fps}"
        )
    eyes: Eyes = SetEyes(models, words, device) if isinstance(models, str | Path) else models
    samples = read_dataset(name, root, split)
    training = split not in dataset_of(name).held_out
    held = held_pictures(name, root) if training else frozenset()
    builder = Builder(
        Path(out), eyes, BuildOptions(keep_uncovered, fps, every, max_frames), held, training
    )
    files = []
    for number, (_, group) in enumerate(itertools.groupby(samples, key=group_of)):
        if limit is not None and number >= limit:
            break
        files.append(builder.build(list(group)))
        if progress is not None:
            progress("twins", number + 1, None)
    about = {
        "dataset": name,
        "split": split,
        "eyes": eyes.identity(),
        "options": asdict(builder.options),
        "held": sorted(held),
    }
    return builder.report_of(files, about)


class Builder:
    """Builds what is not there yet, group by group."""

    def __init__(
        self, out: Path, eyes: Eyes, options: BuildOptions, held: frozenset[str], training: bool
    ) -> None:
        self.out, self.eyes, self.options = out, eyes, options
        self.held, self.training = held, training
        self.built = self.reused = 0
        self._seen = _digest([_VERSION, eyes.identity(), options.fps, options.every,
                              options.max_frames])  # fmt: skip
        self._judged = _digest([options.keep_uncovered, sorted(held), training])

    def build(self, samples: list[Sample]) -> Path:
        """The file of a group's tasks; made with its twin unless both are there and whole."""
        places = range(0, len(samples[0].pictures), self.options.every)[: self.options.max_frames]
        paths = [samples[0].pictures[place] for place in places]
        name = _digest([self._seen, [_sha256(path) for path in paths]])
        asked = _digest([name, self._judged, [_plain(sample) for sample in samples]])
        path = self.out / "parts" / asked[:2] / f"{asked}.json"
        if self._is_whole(path):
            self.reused += 1
            return path
        window, ref = self._twin(name, samples[0], places)
        part = self._part(samples, window, ref)
        _write(path, json.dumps(asdict(part)).encode())
        return path

    def report_of(self, files: list[Path], about: dict[str, Any]) -> TwinsReport:
        """Join all parts into the folder's list of tasks."""
        report = TwinsReport(groups=len(files), built=self.built, reused=self.reused)
        total = 0.0
        matched = 0
        for part in _parts(files):
            for what, count in part.counts.items():
                setattr(report, what, getattr(report, what) + count)
            for rule, count in part.leaks.items():
                report.leaks[rule] = report.leaks.get(rule, 0) + count
            total, matched = total + sum(part.ious), matched + len(part.ious)
        report.mean_iou = total / matched if matched else 0.0
        if not report.kept:
            raise InputError(
                "expected at least one question that the twins can answer, got none of "
                f"{report.questions}: {report.uncovered} of {report.samples} targets are covered "
                f"by no object, {report.leaking} questions may not be trained on; take a set that "
                "knows these things (--models edge), name words (--words) or keep them "
                "(--keep-uncovered)"
            )
        lines = (line for part in _parts(files) for line in part.lines)
        report.sha256 = finish(self.out, lines, {**about, "report": asdict(report)})
        _write(self.out / "report.json", json.dumps(asdict(report), indent=2).encode())
        return report

    def _is_whole(self, path: Path) -> bool:
        """Whether a group's tasks are there and the twin that they name is as it was."""
        try:
            twin = TwinRef(**json.loads(path.read_bytes())["twin"])
            return sha256_of(self.out / twin.file) == twin.sha256
        except (OSError, ValueError, KeyError, TypeError):
            return False

    def _twin(self, name: str, sample: Sample, places: range) -> tuple[TwinWindow, TwinRef]:
        """The twin of a group, read if it is there, else perceived."""
        path = self.out / "twins" / name[:2] / f"{name}.jsonl"
        most = max(self.options.max_frames, 1)
        if path.exists():
            try:
                window = TwinWindow(read_frames(path), most)
                if len(window) == len(places):
                    self.reused += 1
                    return window, put_twin(self.out, window, name)
            except (SchemaError, InputError):
                path.unlink()  # damaged: built again
        perceiver = self.eyes.open()
        window = TwinWindow((perceiver.observe(f) for f in self._frames(sample, places)), most)
        self.built += 1
        return window, put_twin(self.out, window, name)

    def _frames(self, sample: Sample, places: range) -> Iterator[Frame]:
        size: tuple[int, ...] | None = sample.size_hw
        for place in places:
            path = sample.pictures[place]
            image = next(iter(open_source(path))).image_hw3
            size = size or image.shape[:2]
            if image.shape[:2] != size:
                raise InputError(
                    f"{path}: expected a picture of {size[0]} x {size[1]} pixels as its masks and "
                    f"neighbours, got {image.shape[0]} x {image.shape[1]}; download it again"
                )
            yield Frame(place, place / self.options.fps, image, sample.group[-200:])

    def _part(self, samples: list[Sample], window: TwinWindow, ref: TwinRef) -> _Part:
        part = _Part(twin=asdict(ref))
        shown = {frame.index for frame in window.frames}
        for sample in samples:
            part.count("samples")
            part.count("questions", len(sample.questions))
            if sample.truth is None:
                part.count("no_truth")
                continue
            truth = {place: rle for place, rle in sample.truth.items() if place in shown}
            match = best_ids(window, truth, sample.ignore)
            if match.iou < COVERED:
                part.count("uncovered")
                if not self.options.keep_uncovered:
                    continue
            part.ious.append(match.iou)
            for task in _tasks(sample, window, match.ids, truth):
                why = leak_of(task, self.held) if self.training else None
                if why is None:
                    part.count("kept")
                    part.lines.append(line_of(task, ref))
                else:
                    part.count("leaking")
                    rule = why.partition(":")[0]
                    part.leaks[rule] = part.leaks.get(rule, 0) + 1
        return part


def _tasks(
    sample: Sample, window: TwinWindow, ids: tuple[int, ...], truth: dict[int, Rle]
) -> Iterator[Task]:
    """A task per wording."""
    for number, question in enumerate(sample.questions):
        yield Task(
            key=f"{sample.key}/{number}",
            window=window,
            question=question,
            ids=ids,
            truth=truth,
            level=sample.level,
            source=sample.dataset,
            pictures=str(sample.folder or sample.pictures[0]),
        )


def group_of(sample: Sample) -> tuple[str, Path]:
    """Samples that share a twin."""
    return sample.group, sample.pictures[0]


def _parts(files: Iterable[Path]) -> Iterator[_Part]:
    for file in files:
        yield _Part(**json.loads(file.read_bytes()))


def _plain(sample: Sample) -> list[Any]:
    """What a sample's tasks depend on, as JSON."""
    masks = [
        None if m is None else {str(place): rle.counts for place, rle in m.items()}
        for m in (sample.truth, sample.ignore)
    ]
    return [sample.key, sample.questions, masks, sample.level, str(sample.folder),
            str(sample.pictures[0])]  # fmt: skip


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def _sha256(path: Path) -> str:
    try:
        return sha256_of(path)
    except OSError as error:
        raise InputError(f"expected the picture {path}, got: {error.strerror}") from error


def _write(path: Path, data: bytes) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        replace(path, data)
    except OSError as error:
        raise OutputError(
            f"expected to write {path}, got: {error}; free space and run the command again, which "
            "goes on where it was"
        ) from error
